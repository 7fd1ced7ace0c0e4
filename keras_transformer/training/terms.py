"""What a step measures: labels, predictions, losses and weights of each output that has a loss."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Term:
    """One output in one batch, or in this replica's share of it.

    Args:
        labels: Tensor of labels.
        predictions: Tensor of the model's output.
        losses: Float tensor, one value per weight.
        weights: Float tensor of the same shape.
        real: Float tensor of the same shape, 0 for places where there is nothing; None if there is no such place.
    """

    labels: Any
    predictions: Any
    losses: Any
    weights: Any
    real: Any = None

    @classmethod
    def of(cls, loss: keras.losses.Loss, labels: Any, predictions: Any, weights: Any, real: Any = None) -> "Term":
        """Returns the term of a loss; without weights every value counts once.

        Raises:
            ValueError: If the loss gives more or fewer values than there are weights.
        """
        losses = loss.call(labels, predictions)
        weights = tf.ones_like(losses) if weights is None else tf.cast(weights, losses.dtype)
        if losses.shape.rank != weights.shape.rank:
            raise ValueError(
                "The loss must give one value per weight. "
                f"Received: losses of shape {losses.shape}, weights of shape {weights.shape}"
            )
        return cls(labels, predictions, losses, weights, real)


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of one output, and how it is measured.

    Args:
        loss: `keras.losses.Loss`.
        per_step: Sum of the weights that an average update sees.
        share: Factor of this loss in the sum of all.
        mean: `keras.metrics.Mean` of the loss.
        metrics: Metrics that count every example once.
        weighted_metrics: Metrics that count every example by its weight.
    """

    loss: keras.losses.Loss
    per_step: float
    share: float
    mean: keras.metrics.Mean
    metrics: Sequence[keras.metrics.Metric]
    weighted_metrics: Sequence[keras.metrics.Metric]

    def objective(self, term: Term) -> Any:
        """Returns what the gradient is taken of."""
        return self.share * tf.reduce_sum(term.losses * term.weights) / self.per_step

    def update(self, term: Term) -> None:
        """Adds a term to the metrics."""
        self.mean.update_state(term.losses, sample_weight=term.weights)
        for metric in self.metrics:
            metric.update_state(term.labels, term.predictions, sample_weight=term.real)
        for metric in self.weighted_metrics:
            metric.update_state(term.labels, term.predictions, sample_weight=term.weights)


def by_output(given: Any, outputs: Sequence[str], what: str, default: Any) -> dict[str, Any]:
    """Returns an argument of `compile` for each output.

    Args:
        given: Mapping from outputs to values; what it lacks is `default`. With one output also the value itself.
        outputs: Names of the outputs.
        what: Name of the argument.
        default: Value where nothing is given.

    Raises:
        ValueError: If it is no mapping though there are several outputs, or names an output that has no loss.
    """
    if not isinstance(given, Mapping):
        if len(outputs) > 1 and given:
            raise ValueError(
                f"With several losses, {what} must be a dict by output: {', '.join(outputs)}. Received: {given!r}"
            )
        return dict.fromkeys(outputs, given or default)
    unknown = [name for name in given if name not in outputs]
    if unknown:
        raise ValueError(
            f"{what} names an output that has no loss; there are {', '.join(outputs)}. Received: {', '.join(unknown)}"
        )
    return {name: given.get(name, default) for name in outputs}


def total(losses: Mapping[str, Loss], means: Mapping[str, Any]) -> Any:
    """Returns the sum of the losses' means, each times its share."""
    return tf.add_n([loss.share * means[name] for name, loss in losses.items()])
