"""What a training reads: the batches of every step, as datasets that can begin anywhere."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from keras_transformer import data
from keras_transformer.data.delivery import delivered

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_transformer.objectives import Objective


class Batches(Protocol):
    """The batches of a training, each a pure function of epoch and step."""

    steps_per_epoch: int

    def dataset(self, epoch: int, start: int, end: int) -> "tf.data.Dataset":
        """Returns the batches of an epoch from step `start` to the one before `end`."""

    def size(self, epoch: int, step: int) -> int:
        """Returns the number of examples of a batch."""

    def work(self) -> np.ndarray | None:
        """Returns what the first 0, 1, 2 .. steps of the training cost, in any unit; None where all cost the same."""


class TextBatches:
    """Batches of labelled texts.

    Args:
        rows: `data.TokenRows`.
        labels: int32 array of shape (texts,), or float32 (texts, outputs).
        weights: float32 array of shape (texts,), of mean one, or None for all alike.
        plan: `data.BatchPlan` or `data.PackedPlan` over the rows.
        curriculum: `data.Curriculum` over the rows and the plan, or None: texts are whole from the first step on.
    """

    def __init__(
        self,
        rows: data.TokenRows,
        labels: np.ndarray,
        weights: np.ndarray | None,
        plan: data.BatchPlan | data.PackedPlan,
        curriculum: data.Curriculum | None = None,
    ) -> None:
        self.rows = rows
        self.labels = labels
        self.weights = weights
        self.plan = plan
        self.curriculum = curriculum
        self.steps_per_epoch = plan.steps_per_epoch

    def dataset(self, epoch: int, start: int, end: int) -> "tf.data.Dataset":
        """Returns the batches of an epoch from step `start` to the one before `end`."""
        if self.curriculum is None:
            parts = [(self.rows, self.plan, start, end)]
        else:
            parts = list(self.curriculum.parts(epoch, start, end))
        datasets = [
            data.make_dataset(rows, self.labels, self.weights, plan, epoch, first).take(stop - first)
            for rows, plan, first, stop in parts
        ]
        return functools.reduce(lambda dataset, part: dataset.concatenate(part), datasets)

    def size(self, epoch: int, step: int) -> int:
        """Returns the number of rows of a batch."""
        return len(self.plan.batch(epoch, step)[1])

    def work(self) -> np.ndarray | None:
        """Returns the tokens of the first 0, 1, 2 .. steps under a curriculum."""
        return None if self.curriculum is None else self.curriculum.work()


class TaskBatches:
    """Batches of labelled texts of several tasks, each batch of one of them.

    Args:
        tasks: dict from the name of each task to its `data.TokenRows`, labels and weights, as for `TextBatches`.
        mixture: `data.TaskMixture` of plans over these rows.
        pad_id: int, token id of padding. Default 0.
    """

    def __init__(
        self,
        tasks: Mapping[str, tuple[data.TokenRows, np.ndarray, np.ndarray | None]],
        mixture: data.TaskMixture,
        pad_id: int = 0,
    ) -> None:
        self.tasks = tasks
        self.mixture = mixture
        self.pad_id = pad_id
        self.steps_per_epoch = mixture.steps_per_epoch

    def dataset(self, epoch: int, start: int, end: int) -> "tf.data.Dataset":
        """Returns the batches of an epoch from step `start` to the one before `end`."""
        return data.make_mixed_dataset(self.tasks, self.mixture, epoch, start, self.pad_id).take(end - start)

    def size(self, epoch: int, step: int) -> int:
        """Returns the number of rows of a batch."""
        return len(self.mixture.batch(epoch, step)[2])

    def work(self) -> None:
        """All steps cost about the same."""
        return None


class ObjectiveBatches:
    """Batches of a pretraining objective, all of the same number of rows; rows that fill no batch wait for an epoch.

    Args:
        objective: `objectives.Objective`.
        rows_per_batch: int.

    Raises:
        ValueError: If there are fewer rows than make a batch.
    """

    def __init__(self, objective: "Objective", rows_per_batch: int) -> None:
        if objective.num_examples < rows_per_batch:
            raise ValueError(
                "The corpus must fill one batch: use more text, or fewer tokens in a batch. "
                f"Received: {objective.num_examples} rows, {rows_per_batch} rows in a batch"
            )
        self.objective = objective
        self.rows_per_batch = rows_per_batch
        self.steps_per_epoch = objective.num_examples // rows_per_batch

    def dataset(self, epoch: int, start: int, end: int) -> "tf.data.Dataset":
        """Returns the batches of an epoch from step `start` to the one before `end`."""
        import tensorflow as tf

        def batches():
            for step in range(start, end):
                places = np.arange(step * self.rows_per_batch, (step + 1) * self.rows_per_batch)
                yield self.objective.batch(epoch, places)

        signature = tuple(
            {name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in part.items()}
            for part in self.objective.shapes()
        )
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(end - start))
        return delivered(dataset)

    def size(self, epoch: int, step: int) -> int:
        """Returns the number of rows of a batch."""
        return self.rows_per_batch

    def work(self) -> None:
        """All steps cost the same."""
        return None
