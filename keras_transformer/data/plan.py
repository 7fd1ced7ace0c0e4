"""Which rows make which batch: length buckets, each with its own batch size, from nothing but (seed, epoch, step)."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from keras_transformer.data.randomness import permutation

BUCKET_LENGTHS = tuple(range(32, 513, 32))
"""Lengths that batches are padded to, in tokens. A training step is compiled once for each: more of them pad less."""
# Streams of the seed: the order of batches is drawn apart from the order of rows in each bucket.
_BATCHES, _ROWS = 0, 1


@dataclasses.dataclass(frozen=True, eq=False)
class Epoch:
    """All batches of one epoch.

    Args:
        rows: int64 `(num_rows,)`, the rows of all batches, one batch after the other.
        splits: int64 `(steps + 1,)`, where each batch begins and ends in `rows`.
        bucket_lengths: int64 `(steps,)`, the length to which each batch is padded.
    """

    rows: np.ndarray
    splits: np.ndarray
    bucket_lengths: np.ndarray

    # What a batch is gathered from: a part of what stands for each row, and what stands for its step.
    of_rows: ClassVar[tuple[str, ...]] = ("rows",)
    of_steps: ClassVar[tuple[str, ...]] = ("bucket_lengths",)


class Plan(abc.ABC):
    """Base of the plans: batches of rows, each a function of epoch and step; a subclass says how an epoch is made.

    Args:
        lengths: int array `(num_rows,)`, tokens per row.
        longest: int, tokens of the longest row that fits.
        tokens_per_batch: int, budget of tokens, padding included.
        seed: int.
        shuffle: bool.

    Raises:
        ValueError: if there is no row, or a row is empty or longer than `longest`.
    """

    steps_per_epoch: int

    def __init__(
        self, lengths: np.ndarray | Sequence[int], longest: int, tokens_per_batch: int, seed: int, shuffle: bool
    ) -> None:
        lengths = np.asarray(lengths)
        if lengths.ndim != 1 or not lengths.size or lengths.dtype.kind not in "iu":
            raise ValueError(
                "`lengths` must be whole numbers, one per row, for at least one row. "
                f"Received: {lengths.dtype} of shape {lengths.shape}."
            )
        if lengths.min() < 1:
            raise ValueError(f"Every row must have at least one token. Received: row {lengths.argmin()} without any.")
        if lengths.max() > longest:
            raise ValueError(
                f"No row may be longer than {longest} tokens: truncate them, or allow for longer ones. "
                f"Received: row {lengths.argmax()} of {lengths.max()} tokens."
            )
        self.lengths = lengths.astype(np.int64)
        self.num_rows = len(lengths)
        self.tokens_per_batch = int(tokens_per_batch)
        self.seed = int(seed)
        self.shuffle = bool(shuffle)
        self._last: tuple[int, Epoch] | None = None

    @abc.abstractmethod
    def _make(self, epoch: int) -> Epoch:
        """Makes all batches of an epoch, from nothing but the arguments."""

    def epoch(self, epoch: int) -> Epoch:
        """Return all batches of an epoch.

        Args:
            epoch: int, from 0.

        Returns:
            `Epoch`.
        """
        if epoch < 0:
            raise ValueError(f"`epoch` must not be negative. Received: {epoch}.")
        if self._last is None or self._last[0] != epoch:  # Kept for speed only: the same call gives the same answer.
            self._last = (epoch, self._make(epoch))
        return self._last[1]

    def batch(self, epoch: int, step: int) -> tuple[int, np.ndarray]:
        """Return one batch.

        Args:
            epoch: int, from 0.
            step: int, from 0 to `steps_per_epoch - 1`.

        Returns:
            The length to which the batch is padded, and int64 `(batch,)` rows.
        """
        if not 0 <= step < self.steps_per_epoch:
            raise ValueError(f"`step` must be from 0 to {self.steps_per_epoch - 1}. Received: {step}.")
        plan = self.epoch(epoch)
        return int(plan.bucket_lengths[step]), plan.rows[plan.splits[step] : plan.splits[step + 1]].copy()

    def locate(self, global_step: int) -> tuple[int, int]:
        """Return where a run stands after so many steps.

        Args:
            global_step: int, number of finished steps.

        Returns:
            The epoch and the step of the next batch.
        """
        if global_step < 0:
            raise ValueError(f"`global_step` must not be negative. Received: {global_step}.")
        return divmod(int(global_step), self.steps_per_epoch)


class BatchPlan(Plan):
    """A plan of batches over rows of tokens.

    Rows of similar length share a batch, so little is spent on padding; a batch holds as many rows as fit the token
    budget, so all batches cost about the same. Every row comes exactly once per epoch (unless `drop_remainder`), and
    the last batch of a bucket may be smaller. Batch `(epoch, step)` depends on nothing but the arguments: a run that
    resumes asks for the next step.

    Args:
        lengths: int array `(num_rows,)`, tokens per row.
        bucket_lengths: ascending ints; a row goes to the first that is not shorter. Default 64, 128, ... 512.
        tokens_per_batch: int, budget of tokens, padding included. Default 8192.
        seed: int, default 0.
        shuffle: bool, whether rows and batches are shuffled, anew for every epoch. Default True.
        drop_remainder: bool, whether a bucket's smaller last batch is left out. Default False.

    Raises:
        ValueError: if there is no row, a row is empty or longer than the last bucket, or the budget is too small.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        plan = data.BatchPlan(np.array([3, 5, 4, 9, 12]), bucket_lengths=(8, 16), tokens_per_batch=16, seed=0)
        assert (plan.batch_sizes, plan.steps_per_epoch) == ((2, 1), 4)
        rows = np.concatenate([plan.batch(0, step)[1] for step in range(4)])
        assert sorted(rows) == [0, 1, 2, 3, 4]
        ```
    """

    def __init__(
        self,
        lengths: np.ndarray | Sequence[int],
        bucket_lengths: Sequence[int] = BUCKET_LENGTHS,
        tokens_per_batch: int = 8192,
        seed: int = 0,
        shuffle: bool = True,
        drop_remainder: bool = False,
    ) -> None:
        buckets = np.asarray(bucket_lengths)
        if buckets.ndim != 1 or not buckets.size or buckets.dtype.kind not in "iu" or buckets[0] < 1:
            raise ValueError(f"`bucket_lengths` must be positive whole numbers. Received: {bucket_lengths!r}.")
        if (np.diff(buckets) <= 0).any():
            raise ValueError(f"`bucket_lengths` must ascend. Received: {bucket_lengths!r}.")
        super().__init__(lengths, int(buckets[-1]), tokens_per_batch, seed, shuffle)
        of_row = np.searchsorted(buckets, self.lengths)
        longest = buckets[of_row.max()]
        if tokens_per_batch < longest:
            raise ValueError(
                f"`tokens_per_batch` must be at least {longest}, so that a row of the longest bucket fits. "
                f"Received: {tokens_per_batch}."
            )
        self.drop_remainder = bool(drop_remainder)
        self.bucket_lengths: tuple[int, ...] = tuple(int(bucket) for bucket in buckets)
        self.batch_sizes: tuple[int, ...] = tuple(
            max(1, self.tokens_per_batch // bucket) for bucket in self.bucket_lengths
        )
        self._rows_of_bucket = [np.flatnonzero(of_row == bucket) for bucket in range(len(buckets))]
        self._steps_of_bucket = [
            len(rows) // size if self.drop_remainder else -(-len(rows) // size)
            for rows, size in zip(self._rows_of_bucket, self.batch_sizes, strict=True)
        ]
        self.steps_per_epoch: int = sum(self._steps_of_bucket)
        if not self.steps_per_epoch:
            raise ValueError(
                "No bucket fills a batch: use drop_remainder=False, or fewer tokens_per_batch. "
                f"Received: {self.num_rows} rows, batch sizes {self.batch_sizes}."
            )

    def _make(self, epoch: int) -> Epoch:
        batches: list[np.ndarray] = []
        lengths: list[int] = []
        for bucket, (rows, size) in enumerate(zip(self._rows_of_bucket, self.batch_sizes, strict=True)):
            if self.shuffle:
                rows = rows[permutation(len(rows), self.seed, epoch, _ROWS, bucket)]
            steps = self._steps_of_bucket[bucket]
            batches += [rows[step * size : (step + 1) * size] for step in range(steps)]
            lengths += [self.bucket_lengths[bucket]] * steps
        order = permutation(len(batches), self.seed, epoch, _BATCHES) if self.shuffle else np.arange(len(batches))
        ordered = [batches[place] for place in order]
        splits = np.cumsum([0, *map(len, ordered)], dtype=np.int64)
        return Epoch(np.concatenate(ordered), splits, np.array(lengths, np.int64)[order])
