"""Which rows make which batch: length buckets, each with its own batch size, from nothing but (seed, epoch, step)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_transformer.data.randomness import permutation

BUCKET_LENGTHS = (64, 128, 192, 256, 320, 384, 448, 512)
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


class BatchPlan:
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
        lengths = np.asarray(lengths)
        buckets = np.asarray(bucket_lengths)
        if lengths.ndim != 1 or not lengths.size or lengths.dtype.kind not in "iu":
            raise ValueError(
                "`lengths` must be whole numbers, one per row, for at least one row. "
                f"Received: {lengths.dtype} of shape {lengths.shape}."
            )
        if buckets.ndim != 1 or not buckets.size or buckets.dtype.kind not in "iu" or buckets[0] < 1:
            raise ValueError(f"`bucket_lengths` must be positive whole numbers. Received: {bucket_lengths!r}.")
        if (np.diff(buckets) <= 0).any():
            raise ValueError(f"`bucket_lengths` must ascend. Received: {bucket_lengths!r}.")
        if lengths.min() < 1:
            raise ValueError(f"Every row must have at least one token. Received: row {lengths.argmin()} without any.")
        if lengths.max() > buckets[-1]:
            raise ValueError(
                f"Rows must fit the last bucket of {buckets[-1]} tokens: truncate them, or add a bucket. "
                f"Received: a row of {lengths.max()} tokens."
            )
        of_row = np.searchsorted(buckets, lengths)
        longest = buckets[of_row.max()]
        if tokens_per_batch < longest:
            raise ValueError(
                f"`tokens_per_batch` must be at least {longest}, so that a row of the longest bucket fits. "
                f"Received: {tokens_per_batch}."
            )
        self.seed = int(seed)
        self.shuffle = bool(shuffle)
        self.drop_remainder = bool(drop_remainder)
        self.tokens_per_batch = int(tokens_per_batch)
        self.num_rows = len(lengths)
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
        self._last: tuple[int, Epoch] | None = None

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
