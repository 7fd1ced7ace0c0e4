"""Logits processors: each changes the logits of the next token, and does nothing else.

All are frozen and compare by value, so that a compiled function serves every equal configuration. A processor of your
own is a frozen dataclass with the same `__call__`, in `keras.ops`.
"""

import dataclasses
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.generation.checks import check_integer, check_number


@dataclasses.dataclass(frozen=True)
class TokensSoFar:
    """What a processor may know beside the logits.

    Args:
        token_ids: Int32 tensor of shape (rows, places): prompt and new tokens, with padding before and after.
        is_token: Boolean tensor of shape (rows, places): True where there is a token.
        num_new: Int32 scalar tensor: how many of them are new.
    """

    token_ids: Any
    is_token: Any
    num_new: Any


@dataclasses.dataclass(frozen=True)
class Temperature:
    """Divides the logits: below 1 the distribution becomes sharper, above 1 flatter.

    Args:
        temperature: Above 0.

    Raises:
        ValueError: For another value.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import Temperature

        assert np.allclose(Temperature(0.5)(np.array([[1.0, 2.0]], "float32")), [[2, 4]])
        ```
    """

    temperature: float

    def __post_init__(self) -> None:
        if self.temperature == 0:
            raise ValueError("temperature must be above 0; at 0 it is Greedy(). Received: 0")
        check_number("temperature", self.temperature, above=0)

    def __call__(self, logits, tokens: TokensSoFar | None = None):
        """Returns the new logits, float32 of shape (rows, vocabulary_size)."""
        return logits / self.temperature


@dataclasses.dataclass(frozen=True)
class TopK:
    """Keeps the k most probable tokens, and all that are as probable as the last of them.

    Args:
        k: At least 1; more than the vocabulary keeps all.

    Raises:
        ValueError: For another value.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import TopK

        assert np.isfinite(np.array(TopK(2)(np.array([[1.0, 3.0, 2.0]], "float32")))).tolist() == [[False, True, True]]
        ```
    """

    k: int

    def __post_init__(self) -> None:
        check_integer("top_k", self.k, 1)

    def __call__(self, logits, tokens: TokensSoFar | None = None):
        """Returns the new logits, float32 of shape (rows, vocabulary_size)."""
        best = ops.top_k(logits, min(self.k, logits.shape[-1]), sorted=True)[0]
        return _keep(logits, logits >= best[:, -1:])


@dataclasses.dataclass(frozen=True)
class TopP:
    """Keeps the smallest set of most probable tokens that reaches the probability p (arXiv 1904.09751).

    Args:
        p: In (0, 1]. At least one token is kept, and all that are as probable as the last kept one.

    Raises:
        ValueError: For another value.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import TopP

        logits = np.log(np.array([[0.5, 0.3, 0.2]], "float32"))
        assert np.isfinite(np.array(TopP(0.6)(logits))).tolist() == [[True, True, False]]
        ```
    """

    p: float

    def __post_init__(self) -> None:
        check_number("top_p", self.p, above=0, at_most=1)

    def __call__(self, logits, tokens: TokensSoFar | None = None):
        """Returns the new logits, float32 of shape (rows, vocabulary_size)."""
        ordered = ops.top_k(logits, logits.shape[-1], sorted=True)[0]
        probabilities = ops.softmax(ordered, axis=-1)
        more_probable = ops.cumsum(probabilities, axis=-1) - probabilities
        last = ops.min(ops.where(more_probable < self.p, ordered, np.inf), axis=-1, keepdims=True)
        return _keep(logits, logits >= last)


@dataclasses.dataclass(frozen=True)
class MinP:
    """Keeps the tokens that are at least p times as probable as the most probable one (arXiv 2407.01082).

    Args:
        p: In (0, 1].

    Raises:
        ValueError: For another value.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import MinP

        logits = np.log(np.array([[0.6, 0.3, 0.1]], "float32"))
        assert np.isfinite(np.array(MinP(0.4)(logits))).tolist() == [[True, True, False]]
        ```
    """

    p: float

    def __post_init__(self) -> None:
        check_number("min_p", self.p, above=0, at_most=1)

    def __call__(self, logits, tokens: TokensSoFar | None = None):
        """Returns the new logits, float32 of shape (rows, vocabulary_size)."""
        return _keep(logits, logits >= ops.max(logits, axis=-1, keepdims=True) + math.log(self.p))


@dataclasses.dataclass(frozen=True)
class RepetitionPenalty:
    """Makes tokens that have occurred less probable (Keskar et al., arXiv 1909.05858, as Hugging Face defines it).

    Positive logits of such tokens are divided by the penalty, negative ones multiplied. The prompt of a decoder counts,
    padding does not.

    Args:
        penalty: Above 0; 1 changes nothing, below 1 repetition becomes more probable.

    Raises:
        ValueError: For another value.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import RepetitionPenalty, TokensSoFar

        tokens = TokensSoFar(np.array([[0, 1, 1]]), np.array([[False, True, True]]), 1)
        logits = RepetitionPenalty(2.0)(np.array([[3.0, 3.0, -1.0]], "float32"), tokens)
        assert np.allclose(logits, [[3, 1.5, -1]])
        ```
    """

    penalty: float

    def __post_init__(self) -> None:
        check_number("repetition_penalty", self.penalty, above=0)

    def __call__(self, logits, tokens: TokensSoFar):
        """Returns the new logits, float32 of shape (rows, vocabulary_size)."""
        ids = ops.cast(tokens.token_ids, "int32")
        rows = ops.broadcast_to(ops.expand_dims(ops.arange(ops.shape(ids)[0], dtype="int32"), 1), ops.shape(ids))
        places = ops.reshape(ops.stack([rows, ids], axis=-1), (-1, 2))
        counted = ops.reshape(ops.cast(tokens.is_token, "int32"), (-1,))
        times = ops.scatter_update(ops.zeros_like(logits, dtype="int32"), places, counted, reduction="add")
        return ops.where(times > 0, ops.where(logits < 0, logits * self.penalty, logits / self.penalty), logits)


@dataclasses.dataclass(frozen=True)
class MinNewTokens:
    """Forbids the stop tokens until so many tokens are made.

    Args:
        num_tokens: At least 0.
        stop_token_ids: The tokens.

    Raises:
        ValueError: For a negative number.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import MinNewTokens, TokensSoFar

        tokens = TokensSoFar(np.zeros((1, 4)), np.zeros((1, 4)), num_new=1)
        logits = MinNewTokens(2, (0,))(np.zeros((1, 3), "float32"), tokens)
        assert np.isneginf(logits).tolist() == [[True, False, False]]
        ```
    """

    num_tokens: int
    stop_token_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        check_integer("min_new_tokens", self.num_tokens, 0)

    def __call__(self, logits, tokens: TokensSoFar):
        """Returns the new logits, float32 of shape (rows, vocabulary_size)."""
        stops = np.isin(np.arange(logits.shape[-1]), self.stop_token_ids)[np.newaxis]
        return _keep(logits, ops.logical_or(tokens.num_new >= self.num_tokens, np.logical_not(stops)))


@dataclasses.dataclass(frozen=True)
class ForcedToken:
    """Allows one token only at one place, as BART's first new token.

    Args:
        token_id: The token.
        place: Its place among the new tokens, counted from 0.

    Raises:
        ValueError: For a negative place or token.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import ForcedToken, TokensSoFar

        tokens = TokensSoFar(np.zeros((1, 4)), np.zeros((1, 4)), num_new=0)
        assert np.isneginf(ForcedToken(2)(np.zeros((1, 3), "float32"), tokens)).tolist() == [[True, True, False]]
        ```
    """

    token_id: int
    place: int = 0

    def __post_init__(self) -> None:
        check_integer("token_id", self.token_id, 0)
        check_integer("place", self.place, 0)

    def __call__(self, logits, tokens: TokensSoFar):
        """Returns the new logits, float32 of shape (rows, vocabulary_size)."""
        is_forced = (np.arange(logits.shape[-1]) == self.token_id)[np.newaxis]
        here = ops.equal(tokens.num_new, self.place)
        # As sure as can be, so that a sum of log-probabilities does not change.
        return ops.where(ops.logical_and(here, is_forced), 0.0, _keep(logits, ops.logical_not(here)))


def is_one_of(token_ids, wanted: tuple[int, ...]):
    """Says which tokens are among the wanted ones, boolean of the shape of `token_ids`."""
    if not wanted:
        return ops.zeros_like(token_ids, dtype="bool")
    return ops.any(ops.equal(ops.expand_dims(token_ids, -1), np.array(wanted, "int32")), axis=-1)


def _keep(logits, kept):
    return ops.where(kept, logits, ops.cast(-np.inf, keras.backend.standardize_dtype(logits.dtype)))
