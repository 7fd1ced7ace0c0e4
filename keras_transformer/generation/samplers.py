"""How the next token is chosen: the most probable one, a random one, or by beam search."""

import dataclasses

import keras
from keras import ops

from keras_transformer.generation.checks import check_integer, check_number
from keras_transformer.generation.processors import MinP, Temperature, TopK, TopP


@dataclasses.dataclass(frozen=True)
class Greedy:
    """Takes the most probable token; of equally probable ones that with the lowest id.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import Greedy

        assert np.array(Greedy().choose(np.array([[1.0, 3.0, 2.0]]))).tolist() == [1]
        ```
    """

    @property
    def processors(self) -> tuple:
        """Logits processors that it brings: none."""
        return ()

    def choose(self, logits, key=None):
        """Returns int32 token ids of shape (rows,) for logits of shape (rows, vocabulary_size)."""
        return ops.cast(ops.argmax(logits, axis=-1), "int32")


@dataclasses.dataclass(frozen=True)
class Sample:
    """Draws the token from the distribution, after the processors in the order of the arguments.

    Args:
        temperature: Divides the logits; above 0. Default 1.
        top_k: Keep this many of the most probable tokens; None for all.
        top_p: Keep the most probable tokens that together reach this probability, in (0, 1]; None for all.
        min_p: Keep the tokens that are at least this many times as probable as the first, in (0, 1]; None for all.
        seed: Integer from 0 to 2 ** 31 - 1: every call with the same seed and inputs gives the same tokens. None
            draws one from Python's `random` at every call, which `keras.utils.set_random_seed` seeds.

    Raises:
        ValueError: For a value out of range.

    Example:
        ```python
        import numpy as np
        from keras_transformer.generation import Sample

        sampler = Sample(temperature=0.7, top_k=40, top_p=0.95, seed=1)
        assert [type(processor).__name__ for processor in sampler.processors] == ["Temperature", "TopK", "TopP"]
        ```
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.seed is not None:
            check_integer("seed", self.seed, 0)
            if self.seed >= 2**31:
                raise ValueError(f"seed must be below 2 ** 31. Received: {self.seed!r}")
        _ = self.processors

    @property
    def processors(self) -> tuple:
        """Logits processors that it brings."""
        wanted = (
            (Temperature, None if self.temperature == 1 else self.temperature),
            (TopK, self.top_k),
            (TopP, self.top_p),
            (MinP, self.min_p),
        )
        return tuple(processor(value) for processor, value in wanted if value is not None)

    def choose(self, logits, key):
        """Draws tokens.

        Args:
            logits: Float32 tensor of shape (rows, vocabulary_size), processed.
            key: Integer tensor of shape (2,): equal keys draw equal tokens.

        Returns:
            Int32 token ids of shape (rows,).
        """
        return ops.cast(keras.random.categorical(logits, 1, seed=_Key(key))[:, 0], "int32")


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """Follows the `num_beams` most probable sequences, by the rules of Hugging Face.

    Args:
        num_beams: Number of sequences followed. Default 4.
        length_penalty: The score of a sequence is the sum of its log-probabilities, divided by its number of new tokens
            to this power: above 0 favours longer ones. Default 1.
        early_stopping: When a prompt is done. True: with `num_beams` finished sequences. False (default): when the best
            running one, at its length so far, is no better than the worst of the finished. "never": when no running one
            can become better.
        num_return_sequences: How many of the finished are returned, best first. Default 1.

    Raises:
        ValueError: For a value out of range.

    Example:
        ```python
        from keras_transformer.generation import BeamSearch

        assert BeamSearch(num_beams=5, length_penalty=0.6).num_return_sequences == 1
        ```
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1

    def __post_init__(self) -> None:
        check_integer("num_beams", self.num_beams, 1)
        check_number("length_penalty", self.length_penalty)
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ValueError(f"early_stopping must be True, False or 'never'. Received: {self.early_stopping!r}")
        check_integer("num_return_sequences", self.num_return_sequences, 1)
        if self.num_return_sequences > self.num_beams:
            raise ValueError(
                "num_return_sequences must not exceed num_beams. Received: "
                f"num_return_sequences={self.num_return_sequences}, num_beams={self.num_beams}"
            )

    @property
    def processors(self) -> tuple:
        """Logits processors that it brings: none."""
        return ()


class _Key(keras.random.SeedGenerator):
    """A seed that is a tensor of a compiled function, where Keras otherwise takes a number or a stateful generator."""

    def __init__(self, key):
        self._key = key

    def next(self, ordered: bool = True):
        """Returns the key."""
        return ops.cast(self._key, "int32" if keras.backend.backend() == "tensorflow" else "uint32")
