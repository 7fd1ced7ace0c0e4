"""Which tokens are masked, and what stands in their place: BERT (arXiv 1810.04805), SpanBERT (arXiv 1907.10529)."""

import dataclasses
import math

import numpy as np

from keras_transformer.objectives.row_numbers import RowNumbers
from keras_transformer.objectives.specials import Specials

UNITS = ("token", "word", "span")
# SpanBERT, section 3.1: lengths in words from a geometric distribution, cut off at 10.
_P, _LONGEST = 0.2, 10


@dataclasses.dataclass(frozen=True)
class Masked:
    """Rows with masked tokens.

    Args:
        token_ids: int32 `(n, length)`, what the model reads.
        positions: int32 `(n, count)`, the places of the masked tokens, ascending, then 0.
        labels: int32 `(n, count)`, the tokens that stood there, then 0.
        weights: float32 `(n, count)`, 1 for each of them, then 0.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Masking:
    """How tokens are chosen and hidden.

    Of the maskable tokens of a row, `round(rate * number)` are chosen, at least one: the budget. Units (tokens, words,
    or spans of words) come in random order; each word is chosen if it is not longer than what is left of it, and
    left out otherwise, so no word is ever split, and a row has fewer tokens chosen only where no word left is short
    enough. A word goes from a token with which a word begins (`Specials.begins_word`) to the next; it also begins after
    a special token, and where a row or a text of it begins. (Scripts without blanks have no such words: use "token"
    there.) For "span", each row is cut into runs of words whose lengths have SpanBERT's distribution (geometric with
    p = 0.2, from 1 to 10), and the words of a run come one after the other.

    A chosen token becomes the mask token with probability `mask_share`, a random maskable token with probability
    `random_share`, and else stays; for "span" all tokens of a run meet the same fate.

    Args:
        rate: float in (0, 1), share of the tokens that are chosen. Default 0.15.
        unit: "token", "word" (default) or "span".
        mask_share: float in [0, 1]. Default 0.8.
        random_share: float in [0, 1 - mask_share]. Default 0.1.

    Raises:
        ValueError: if a share is out of its range, or the unit unknown.

    Example:
        ```python
        import numpy as np
        from keras_transformer.objectives import Masking, RowNumbers, Specials

        specials = Specials(vocabulary_size=50, pad_id=0, start_ids=[2], end_ids=[3], mask_id=4)
        rows = np.array([[2, *range(10, 30), 3]], "int32")
        masked = Masking(rate=0.2).mask(rows, specials, RowNumbers(seed=0, epoch=0, places=[0]))
        assert masked.weights.sum() == 4  # of 20 tokens
        assert (rows[0, masked.positions[0, :4]] == masked.labels[0, :4]).all()
        ```
    """

    rate: float = 0.15
    unit: str = "word"
    mask_share: float = 0.8
    random_share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"rate must be above 0 and below 1. Received: {self.rate!r}.")
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}. Received: {self.unit!r}.")
        if self.mask_share < 0 or self.random_share < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                "mask_share and random_share must be at least 0, and together at most 1. "
                f"Received: {self.mask_share!r} and {self.random_share!r}."
            )

    def num_positions(self, row_length: int) -> int:
        """Return the number of places that are kept for masked tokens of a row: `ceil(rate * row_length)`.

        Args:
            row_length: int, tokens of a row.
        """
        return math.ceil(self.rate * row_length - 1e-9)

    def mask(
        self, token_ids: np.ndarray, specials: Specials, numbers: RowNumbers, example_ids: np.ndarray | None = None
    ) -> Masked:
        """Mask tokens of some rows.

        Args:
            token_ids: int32 `(n, length)`.
            specials: `Specials` of the vocabulary, with a mask token.
            numbers: `RowNumbers` of the n rows.
            example_ids: int32 `(n, length)`, the text of each token, or None (default) for one text a row.

        Returns:
            `Masked`.
        """
        length = token_ids.shape[1]
        maskable = specials.maskable[token_ids]
        chosen, runs = self._choose(maskable, specials.begins_word[token_ids], example_ids, numbers)
        fate = numbers.uniforms("fate", length)
        if self.unit == "span":
            fate = np.take_along_axis(fate, runs, axis=1)
        pool = np.flatnonzero(specials.maskable)
        drawn = pool[numbers.integers("drawn", length, len(pool))]
        hidden = np.where(fate < self.mask_share + self.random_share, drawn, token_ids)
        hidden = np.where(fate < self.mask_share, specials.mask_id, hidden)

        count = self.num_positions(length)
        places = np.argsort(~chosen, axis=1, kind="stable")[:, :count]
        used = np.arange(count) < chosen.sum(axis=1, keepdims=True)
        return Masked(
            np.where(chosen, hidden, token_ids).astype(np.int32),
            np.where(used, places, 0).astype(np.int32),
            np.where(used, np.take_along_axis(token_ids, places, axis=1), 0).astype(np.int32),
            used.astype(np.float32),
        )

    def _choose(
        self, maskable: np.ndarray, begins: np.ndarray, example_ids: np.ndarray | None, numbers: RowNumbers
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which tokens are chosen, and the run of each: bool and int64 `(n, length)`."""
        words = word_numbers(maskable, np.ones_like(begins) if self.unit == "token" else begins, example_ids)
        rows, most = len(words), max(int(words.max(initial=-1)) + 1, 1)
        flat = (words + most * np.arange(rows)[:, None])[maskable]
        lengths = np.bincount(flat, minlength=rows * most).reshape(rows, most)
        runs = np.broadcast_to(np.arange(most), lengths.shape)
        if self.unit == "span":
            runs = _cut(np.searchsorted(_span_lengths(), numbers.uniforms("lengths", most), side="right") + 1)
        keys = np.take_along_axis(numbers.uniforms("order", most), runs, axis=1)
        order = np.argsort(np.where(lengths > 0, keys, 2.0), axis=1, kind="stable")  # the words of a run as they stand
        total = maskable.sum(axis=1)
        budget = np.where(total > 0, np.maximum(np.rint(self.rate * total), 1), 0).astype(np.int64)
        taken = np.zeros(lengths.shape, bool)
        np.put_along_axis(taken, order, _take(np.take_along_axis(lengths, order, axis=1), budget), axis=1)
        words = np.maximum(words, 0)
        return np.take_along_axis(taken, words, axis=1) & maskable, np.take_along_axis(runs, words, axis=1)


def word_numbers(maskable: np.ndarray, begins: np.ndarray, example_ids: np.ndarray | None = None) -> np.ndarray:
    """Number the words of each row.

    Args:
        maskable: bool `(n, length)`, tokens that are part of words.
        begins: bool `(n, length)`, tokens with which a word begins.
        example_ids: int32 `(n, length)`, the text of each token, or None for one text a row.

    Returns:
        int64 `(n, length)`: the word of each maskable token, from 0; for other tokens that before them, or -1.
    """
    first = np.ones_like(maskable)
    first[:, 1:] = ~maskable[:, :-1]
    if example_ids is not None:
        first[:, 1:] |= example_ids[:, 1:] != example_ids[:, :-1]
    return np.cumsum(maskable & (begins | first), axis=1) - 1


def _span_lengths() -> np.ndarray:
    """The cumulative probabilities of the lengths 1, 2, ... but for the last."""
    probabilities = _P * (1 - _P) ** np.arange(_LONGEST)
    return np.cumsum(probabilities / probabilities.sum())[:-1]


def _cut(lengths: np.ndarray) -> np.ndarray:
    """The run of each of `m` words, int64 `(n, m)`, if runs of these lengths, `(n, m)`, follow each other."""
    most = lengths.shape[1]
    ends = np.zeros((len(lengths), most + 1), np.int64)
    np.put_along_axis(ends, np.minimum(np.cumsum(lengths, axis=1), most), 1, axis=1)
    return np.cumsum(ends[:, :-1], axis=1)


def _take(lengths: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Goes through the words of each row in order and takes each that fits into what is left; 0 is no word."""
    taken = np.zeros(lengths.shape, bool)
    left, candidates = left.copy(), lengths > 0
    while True:
        # What does not fit now never will: so the words up to the first that does not are taken at once.
        candidates &= lengths <= left[:, None]
        if not candidates.any():
            return taken
        fits = candidates & (np.cumsum(np.where(candidates, lengths, 0), axis=1) <= left[:, None])
        taken |= fits
        candidates &= ~fits
        left -= np.where(fits, lengths, 0).sum(axis=1)
