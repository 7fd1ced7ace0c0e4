"""Short texts first, long ones later (Press et al., arXiv 2012.15832): the same batches, with each text cut."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from keras_transformer.data.plan import BatchPlan, Epoch
from keras_transformer.data.rows import TokenRows


def shorten(rows: TokenRows, length: int, head_fraction: float = 1.0, before: int = 1, after: int = 1) -> TokenRows:
    """Cut rows as a `TextPacker` of a smaller `max_length` would have.

    Args:
        rows: `TokenRows`, each of one text: head, or head and tail, of a longer text, or a whole one.
        length: int, tokens that are left at most.
        head_fraction: float in [0, 1], share that is kept of the beginning; what the rows were made with. Default 1:
            the head only.
        before: int, tokens of the frame before the text. Default 1.
        after: int, tokens of the frame after it. Default 1.

    Returns:
        `TokenRows`.

    Raises:
        ValueError: if no token of a text would be left.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        rows = data.TokenRows(np.array([2, 11, 12, 13, 14, 3, 2, 11, 3]), np.array([0, 6, 9]), np.arange(2))
        short = data.shorten(rows, 4)
        assert [short.row(i).tolist() for i in range(2)] == [[2, 11, 12, 3], [2, 11, 3]]
        ```
    """
    budget = length - before - after
    if budget < 1:
        raise ValueError(f"`length` must be at least {before + after + 1}. Received: {length}.")
    kept = np.minimum(rows.lengths, length)
    splits = np.concatenate([[0], np.cumsum(kept)])
    columns = np.arange(splits[-1]) - np.repeat(splits[:-1], kept)
    tail = columns >= before + round(head_fraction * budget)
    places = np.repeat(rows.row_splits[:-1], kept) + columns + tail * np.repeat(rows.lengths - kept, kept)
    return TokenRows(rows.values[places], splits, rows.example_ids)


class Curriculum:
    """Stages of a training in which texts are cut to a length; after the last stage they are whole.

    Batches stay those of the plan, text by text, so the number of steps and what an update sees do not change: a step
    of a cut batch is cheaper. Which stage a step is in depends on its number only.

    Args:
        rows: `TokenRows` of the training, one a text.
        plan: `BatchPlan` over them.
        stages: pairs of a length and the share of all steps at which its stage ends, both ascending.
        epochs: int, epochs of the whole training.
        head_fraction: float in [0, 1], see `shorten`. Default 1.
        frame: pair of ints, tokens of the frame before and after a text. Default (1, 1).

    Raises:
        ValueError: if a stage leaves no token of a text.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        rows = data.TokenRows(np.arange(40), np.array([0, 10, 20, 30, 40]), np.arange(4))
        plan = data.BatchPlan(rows.lengths, bucket_lengths=(10,), tokens_per_batch=10)
        curriculum = data.Curriculum(rows, plan, [(5, 0.25)], epochs=2)
        assert [curriculum.length(step) for step in range(8)] == [5, 5] + 6 * [None]
        ```
    """

    def __init__(
        self,
        rows: TokenRows,
        plan: BatchPlan,
        stages: Sequence[tuple[int, float]],
        epochs: int,
        head_fraction: float = 1.0,
        frame: tuple[int, int] = (1, 1),
    ) -> None:
        self.plan = plan
        self.epochs = epochs
        total = plan.steps_per_epoch * epochs
        self._ends = [round(until * total) for _, until in stages]
        self._lengths = [length for length, _ in stages]
        self._parts = [(shorten(rows, length, head_fraction, *frame), _Cut(plan, length)) for length in self._lengths]
        self._parts.append((rows, plan))

    def length(self, global_step: int) -> int | None:
        """Return to how many tokens the texts of a step are cut; None for not at all."""
        stage = self._stage(global_step)
        return self._lengths[stage] if stage < len(self._lengths) else None

    def parts(self, epoch: int, start: int, end: int) -> Iterator[tuple[TokenRows, BatchPlan, int, int]]:
        """Return what steps of an epoch are made of, stage by stage.

        Args:
            epoch: int, from 0.
            start: int, the first step in that epoch.
            end: int, the step after the last one.

        Yields:
            The rows and the plan for `make_dataset`, the first step, and the step after the last one.
        """
        first = epoch * self.plan.steps_per_epoch
        while start < end:
            stage = self._stage(first + start)
            stop = min(end, self._ends[stage] - first) if stage < len(self._ends) else end
            yield *self._parts[stage], start, stop
            start = stop

    def work(self) -> np.ndarray:
        """Return the tokens, padding included, of the first 0, 1, 2 .. steps of the training."""
        tokens = []
        for epoch in range(self.epochs):
            for _, plan, start, stop in self.parts(epoch, 0, self.plan.steps_per_epoch):
                batches = plan.epoch(epoch)
                tokens.append((np.diff(batches.splits) * batches.bucket_lengths)[start:stop])
        return np.concatenate([[0], np.cumsum(np.concatenate(tokens))])

    def _stage(self, global_step: int) -> int:
        return int(np.searchsorted(self._ends, global_step, side="right"))


class _Cut:
    """A plan whose batches are padded to less."""

    def __init__(self, plan: BatchPlan, length: int) -> None:
        self.num_rows = plan.num_rows
        self.steps_per_epoch = plan.steps_per_epoch
        self._plan = plan
        self._length = length

    def epoch(self, epoch: int) -> Epoch:
        """Return all batches of an epoch."""
        whole = self._plan.epoch(epoch)
        return dataclasses.replace(whole, bucket_lengths=np.minimum(whole.bucket_lengths, self._length))
