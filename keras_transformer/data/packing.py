"""Several texts in one row: which texts share which row of which batch, from nothing but (seed, epoch, step)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from keras_transformer.data.plan import Epoch, Plan
from keras_transformer.data.randomness import permutation

# Streams of the seed, none of which `BatchPlan` has: packed rows are ordered apart from the texts in them.
_PACKED, _TEXTS = 2, 3
# Texts that are packed together: more of them fill rows better, fewer leave more of it to chance who meets whom.
_WINDOW = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class PackedEpoch(Epoch):
    """All batches of one epoch of packed rows.

    Args:
        rows: int64 `(num_rows,)`, the texts (rows of tokens) of all batches, one batch after the other, and within it
            one packed row after the other.
        splits: int64 `(steps + 1,)`, where each batch begins and ends in `rows`.
        bucket_lengths: int64 `(steps,)`, the length of the packed rows.
        packed_sizes: int64 `(steps,)`, the number of packed rows of each batch.
        packed_rows: int64 `(num_rows,)`, the packed row of each text within its batch, from 0.
        slots: int64 `(num_rows,)`, the number of each text within its packed row, from 0.
        starts: int64 `(num_rows,)`, the place of its first token there.
    """

    packed_sizes: np.ndarray
    packed_rows: np.ndarray
    slots: np.ndarray
    starts: np.ndarray

    of_rows: ClassVar[tuple[str, ...]] = ("rows", "packed_rows", "slots", "starts")
    of_steps: ClassVar[tuple[str, ...]] = ("bucket_lengths", "packed_sizes")


class PackedPlan(Plan):
    """A plan of batches of packed rows: each row holds whole texts, one after the other, and little padding.

    Texts are shuffled; of each 2,048 the longest come first, and each goes into the fullest row that still has room
    (best fit decreasing). So a text meets others in every epoch, and a batch has `tokens_per_batch // row_length` rows
    or a little less, however long its texts are. The interface is that of `BatchPlan`, and batch `(epoch, step)`
    depends on nothing but the arguments.

    An epoch may take a few rows more or less than another. All take the steps of the first, over which their rows are
    spread evenly; so a batch may exceed the budget, by one row, in an epoch of more rows than fit its steps.

    Args:
        lengths: int array `(num_rows,)`, tokens per text.
        row_length: int, tokens of a packed row, at least those of the longest text. Default 512.
        tokens_per_batch: int, budget of tokens, padding included. Default 8192.
        seed: int, default 0.
        shuffle: bool, whether texts and rows are shuffled, anew for every epoch. Default True.

    Raises:
        ValueError: if there is no text, a text is empty or longer than a row, or the budget is less than a row.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        plan = data.PackedPlan(np.array([3, 5, 8, 4, 4]), row_length=8, tokens_per_batch=16)
        assert (plan.steps_per_epoch, plan.fill_rate()) == (2, 1.0)
        texts = np.concatenate([plan.batch(0, step)[1] for step in range(2)])
        assert sorted(texts) == [0, 1, 2, 3, 4]
        ```
    """

    def __init__(
        self,
        lengths: np.ndarray | Sequence[int],
        row_length: int = 512,
        tokens_per_batch: int = 8192,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        if row_length < 1:
            raise ValueError(f"`row_length` must be at least 1. Received: {row_length}.")
        super().__init__(lengths, row_length, tokens_per_batch, seed, shuffle)
        if tokens_per_batch < row_length:
            raise ValueError(
                f"`tokens_per_batch` must be at least {row_length}, so that a row fits. Received: {tokens_per_batch}."
            )
        self.row_length = int(row_length)
        self.steps_per_epoch = -(-len(self._pack(0)) // (self.tokens_per_batch // self.row_length))

    def fill_rate(self, epoch: int = 0) -> float:
        """Return the share of the tokens of an epoch that are no padding.

        Args:
            epoch: int, from 0. Default 0.
        """
        return float(self.lengths.sum() / (self.epoch(epoch).packed_sizes.sum() * self.row_length))

    def _make(self, epoch: int) -> PackedEpoch:
        packed = self._pack(epoch)
        while len(packed) < self.steps_per_epoch:  # in an epoch that took fewer rows than there are steps
            fullest = max(range(len(packed)), key=lambda row: len(packed[row]))
            packed.append([packed[fullest].pop()])
        if self.shuffle:
            packed = [packed[row] for row in permutation(len(packed), self.seed, epoch, _PACKED)]
        counts = np.array([len(texts) for texts in packed])
        rows = np.concatenate(packed).astype(np.int64)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        before = np.cumsum(self.lengths[rows]) - self.lengths[rows]
        steps = self.steps_per_epoch
        ends = np.arange(steps + 1) * len(packed) // steps
        in_batch = np.arange(len(packed)) - np.repeat(ends[:-1], np.diff(ends))
        return PackedEpoch(
            rows=rows,
            splits=np.concatenate([[0], np.cumsum(counts)])[ends].astype(np.int64),
            bucket_lengths=np.full(steps, self.row_length, np.int64),
            packed_sizes=np.diff(ends).astype(np.int64),
            packed_rows=np.repeat(in_batch, counts),
            slots=np.arange(len(rows)) - firsts,
            starts=before - before[firsts],
        )

    def _pack(self, epoch: int) -> list[list[int]]:
        """The texts of each row."""
        order = permutation(self.num_rows, self.seed, epoch, _TEXTS) if self.shuffle else np.arange(self.num_rows)
        packed = []
        for start in range(0, len(order), _WINDOW):
            window = order[start : start + _WINDOW]
            window = window[np.argsort(-self.lengths[window], kind="stable")]
            packed += _best_fit(window.tolist(), self.lengths[window].tolist(), self.row_length)
        return packed


def _best_fit(texts: list[int], lengths: list[int], row_length: int) -> list[list[int]]:
    """Puts each text into the row with the least room that it fits, or into a new one."""
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(row_length + 1)]
    rooms = 0  # bit n is set where a row has room for n tokens: the least room that fits is then one operation
    for text, length in zip(texts, lengths, strict=True):
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            row, room = len(rows), row_length
            rows.append([])
        rows[row].append(text)
        if room > length:
            with_room[room - length].append(row)
            rooms |= 1 << (room - length)
    return rows
