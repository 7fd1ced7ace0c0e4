"""Several tasks in one training: whose batch comes when, by temperature (Raffel et al., arXiv 1910.10683, 3.5.2)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_transformer.data.delivery import PARALLEL_CALLS, delivered
from keras_transformer.data.packing import PackedPlan
from keras_transformer.data.pipeline import _gatherer, _packed_gatherer, _per_row, _reader
from keras_transformer.data.plan import Epoch, Plan
from keras_transformer.data.randomness import permutation
from keras_transformer.data.rows import TokenRows

if TYPE_CHECKING:
    import tensorflow as tf

# A stream of the seed that no plan has.
_TASKS = 4
# Fractions of its multiples lie evenly between 0 and 1, however many they are.
_GOLDEN = (5**0.5 - 1) / 2


class TaskMixture:
    """Which task's batch comes at which step.

    A task with n rows has a share of `n ** (1 / temperature)` in the rows that are trained on: with 1 every row of all
    tasks comes equally often, a higher temperature brings small tasks nearer to large ones. Batches of long texts have
    fewer rows; the steps are shared out so that the rows have these shares.

    Every epoch has the steps of each task in their share, rounded up or down, in random order; over the epochs the
    rounding cancels out. A task goes through the batches of its own plan, epoch by epoch of its own, from one epoch
    of the mixture to the next: none is left out or repeated. What comes at `(epoch, step)` depends on nothing but the
    arguments.

    Args:
        plans: dict from the name of each task to its `BatchPlan`, or to its `PackedPlan`; all of one kind.
        temperature: float above 0. Default 1.
        seed: int, of the order. Default 0.
        steps_per_epoch: int, or None (default) for as many as the epochs of all tasks have together.
        limit: int, the most rows of a task that count, so that a very large one does not crowd out the others; or None
            (default).

    Raises:
        ValueError: if there is no task, plans are of both kinds, or a number is out of its range.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        lengths = {"reviews": np.full(900, 8), "news": np.full(100, 8)}
        plans = {task: data.BatchPlan(n, bucket_lengths=(8,), tokens_per_batch=80) for task, n in lengths.items()}
        mixture = data.TaskMixture(plans, temperature=2.0)
        assert np.allclose([mixture.shares["reviews"], mixture.shares["news"]], [0.75, 0.25])
        tasks, _ = mixture.schedule(epoch=0)
        assert np.bincount(tasks).tolist() == [75, 25]
        ```
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        temperature: float = 1.0,
        seed: int = 0,
        steps_per_epoch: int | None = None,
        limit: int | None = None,
    ) -> None:
        if not plans:
            raise ValueError("There must be at least one task. Received: no plan.")
        packed = [task for task, plan in plans.items() if isinstance(plan, PackedPlan)]
        if packed and len(packed) < len(plans):
            raise ValueError(
                "Packed rows have inputs that others do not have: use the same kind of plan for all tasks. "
                f"Received: PackedPlan for {', '.join(packed)} only, of {', '.join(plans)}."
            )
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0. Received: {temperature}.")
        for name, value in (("steps_per_epoch", steps_per_epoch), ("limit", limit)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, or None. Received: {value}.")
        self.plans = dict(plans)
        self.tasks: tuple[str, ...] = tuple(plans)
        self.temperature = float(temperature)
        self.seed = int(seed)
        self.limit = limit
        steps = np.array([plan.steps_per_epoch for plan in plans.values()])
        self.steps_per_epoch = int(steps.sum() if steps_per_epoch is None else steps_per_epoch)
        sizes = np.array([plan.num_rows for plan in plans.values()], np.float64)
        counted = sizes if limit is None else np.minimum(sizes, limit)
        shares = _normalised((counted / counted.max()) ** (1 / self.temperature))
        self._rows_per_batch = sizes / steps
        self._ends = np.cumsum(_normalised(shares / self._rows_per_batch))
        self.shares: dict[str, float] = dict(zip(self.tasks, shares.tolist(), strict=True))
        self._last: tuple[int, tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def rows_per_batch(self) -> dict[str, float]:
        """The mean number of rows of a batch of each task."""
        return dict(zip(self.tasks, self._rows_per_batch.tolist(), strict=True))

    def schedule(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what comes at each step of an epoch.

        Args:
            epoch: int, from 0.

        Returns:
            int64 `(steps,)`, the place of the task in `tasks`; and int64 `(steps,)`, how many of its batches came
            before, from the first epoch on.
        """
        if epoch < 0:
            raise ValueError(f"`epoch` must not be negative. Received: {epoch}.")
        if self._last is None or self._last[0] != epoch:  # Kept for speed only: the same call gives the same answer.
            self._last = (epoch, self._make(epoch))
        return self._last[1]

    def batch(self, epoch: int, step: int) -> tuple[str, int, np.ndarray]:
        """Return one batch.

        Args:
            epoch: int, from 0.
            step: int, from 0 to `steps_per_epoch - 1`.

        Returns:
            The name of the task, the length to which the batch is padded, and int64 `(batch,)` rows of that task.
        """
        if not 0 <= step < self.steps_per_epoch:
            raise ValueError(f"`step` must be from 0 to {self.steps_per_epoch - 1}. Received: {step}.")
        tasks, numbers = self.schedule(epoch)
        task = self.tasks[tasks[step]]
        plan = self.plans[task]
        return task, *plan.batch(*plan.locate(numbers[step]))

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

    def _make(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        (counts,) = self._counts(np.array([epoch]))
        before = self._counts(np.arange(epoch)).sum(axis=0)
        tasks = np.repeat(np.arange(len(self.tasks)), counts)
        tasks = tasks[permutation(self.steps_per_epoch, self.seed, epoch, _TASKS)]
        numbers = np.empty(self.steps_per_epoch, np.int64)
        for task, first in enumerate(before):
            numbers[tasks == task] = first + np.arange(counts[task])
        return tasks, numbers

    def _counts(self, epochs: np.ndarray) -> np.ndarray:
        """The steps of each task in some epochs, int64 `(epochs, tasks)`.

        Points at equal distances on the line of shares (systematic sampling), which begin elsewhere in every epoch.
        """
        offsets = (0.5 + epochs * _GOLDEN) % 1.0
        bounds = np.ceil(self.steps_per_epoch * self._ends - offsets[:, None]).astype(np.int64)
        bounds = np.clip(bounds, 0, self.steps_per_epoch)
        bounds[:, -1] = self.steps_per_epoch  # whatever the sum of the shares was rounded to
        return np.diff(bounds, axis=1, prepend=0)


def make_mixed_dataset(
    tasks: Mapping[str, tuple[TokenRows, np.ndarray, np.ndarray | None]],
    mixture: TaskMixture,
    epoch: int = 0,
    start_step: int = 0,
    pad_id: int = 0,
) -> "tf.data.Dataset":
    """Make the training data of one epoch of several tasks.

    Args:
        tasks: dict from the name of each task to its rows, labels and weights, as for `make_dataset`.
        mixture: `TaskMixture` of plans over these rows.
        epoch: int. Default 0.
        start_step: int, the first step, so that a run goes on where it stopped. Default 0.
        pad_id: int, token id of padding. Default 0.

    Returns:
        A dataset of `(inputs, labels, sample_weight)`, where labels and weights are dicts by task. Every batch is of
        one task: the labels and weights of all others are zeros, as many as the batch has rows. Everything else is as
        in `make_dataset`.

    Raises:
        ValueError: if tasks or sizes do not fit each other, or a step is out of range.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        rows = data.TokenRows(np.arange(1, 10), np.array([0, 2, 5, 9]), np.arange(3))
        plan = data.BatchPlan(rows.lengths, bucket_lengths=(4,), tokens_per_batch=8)
        mixture = data.TaskMixture({"tone": plan, "stars": plan})
        tasks = {"tone": (rows, np.array([1, 1, 1]), None), "stars": (rows, np.array([0.5, 0.5, 0.5]), None)}
        for inputs, labels, weights in data.make_mixed_dataset(tasks, mixture):
            assert sorted([weights["tone"].numpy().sum(), weights["stars"].numpy().sum()])[0] == 0
        ```
    """
    import tensorflow as tf

    if set(tasks) != set(mixture.tasks):
        raise ValueError(f"The tasks must be {', '.join(mixture.tasks)}. Received: {', '.join(tasks)}.")
    for task, plan in mixture.plans.items():
        if plan.num_rows != len(tasks[task][0]):
            raise ValueError(
                f"The plan of {task!r} must be over its rows. "
                f"Received: {plan.num_rows} in the plan, {len(tasks[task][0])} rows."
            )
    if not 0 <= start_step <= mixture.steps_per_epoch:
        raise ValueError(f"`start_step` must be from 0 to {mixture.steps_per_epoch}. Received: {start_step}.")
    order, numbers = mixture.schedule(epoch)
    targets = {task: _per_row(*tasks[task]) for task in mixture.tasks}
    make_gather = _packed_gatherer if isinstance(mixture.plans[mixture.tasks[0]], PackedPlan) else _gatherer
    places, readers = np.zeros_like(numbers), {}
    for index, task in enumerate(mixture.tasks):
        mine = order == index
        first = int(numbers[mine][0]) if mine.any() else 0
        places[mine] = numbers[mine] - first
        batches = _stretch(mixture.plans[task], first, int(mine.sum()))
        readers[task] = _reader(make_gather(tasks[task][0], targets[task], pad_id), batches)
    with tf.device("CPU:0"):
        order, places = tf.constant(order, tf.int32), tf.constant(places)

    def of_task(task: str, place: "tf.Tensor") -> Callable[[], tuple]:
        def read() -> tuple:
            inputs, labels, weights = readers[task](place)
            all_labels, all_weights = {}, {}
            for other, (like, _) in targets.items():
                shape = tf.concat([tf.shape(weights), np.array(like.shape[1:], np.int32)], 0)
                all_labels[other] = labels if other == task else tf.zeros(shape, like.dtype)
                all_weights[other] = weights if other == task else tf.zeros_like(weights)
            return inputs, all_labels, all_weights

        return read

    rank = 2 if make_gather is _packed_gatherer else 1

    def batch(step: "tf.Tensor") -> tuple:
        inputs, labels, weights = tf.switch_case(order[step], [of_task(task, places[step]) for task in mixture.tasks])
        open_shape = [None] * rank
        return (
            {name: tf.ensure_shape(value, [None, None]) for name, value in inputs.items()},
            {task: tf.ensure_shape(labels[task], [*open_shape, *targets[task][0].shape[1:]]) for task in labels},
            {task: tf.ensure_shape(value, open_shape) for task, value in weights.items()},
        )

    dataset = tf.data.Dataset.range(start_step, mixture.steps_per_epoch)
    return delivered(dataset.map(batch, num_parallel_calls=PARALLEL_CALLS, deterministic=True))


def _normalised(values: np.ndarray) -> np.ndarray:
    return values / values.sum()


def _stretch(plan: Plan, first: int, count: int) -> Epoch:
    """So many batches of a plan from its batch number `first` on, over its epochs, as if they were one epoch."""
    epoch, start = plan.locate(first)
    parts = []
    while count or not parts:
        whole = plan.epoch(epoch)
        stop = min(start + count, plan.steps_per_epoch)
        parts.append((whole, start, stop))
        count -= stop - start
        epoch, start = epoch + 1, 0
    columns = {}
    for name in whole.of_rows:
        columns[name] = np.concatenate([getattr(e, name)[e.splits[a] : e.splits[b]] for e, a, b in parts])
    for name in whole.of_steps:
        columns[name] = np.concatenate([getattr(e, name)[a:b] for e, a, b in parts])
    sizes = np.concatenate([np.diff(e.splits[a : b + 1]) for e, a, b in parts])
    return type(whole)(splits=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), **columns)
