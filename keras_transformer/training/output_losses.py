"""The losses of a training: one for each output that has one, with its share in the sum of all and its metrics."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_transformer.training.terms import Term


@dataclasses.dataclass(frozen=True)
class OutputLoss:
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


def create(
    per_step: Mapping[str, float], loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any
) -> dict[str, OutputLoss]:
    """Returns the loss of each output; call it under the scope of the strategy.

    Args:
        per_step: Sum of the weights that an average update sees, by output.
        loss: `keras.losses.Loss`, or a mapping of them by output.
        loss_weights: Mapping from outputs to shares, or None: 1 for each.
        metrics: Metrics that count every example once; with several outputs a mapping of them.
        weighted_metrics: Metrics that count every example by its weight; the same.

    Raises:
        ValueError: If something is no loss or no metric, or outputs do not fit each other.
    """
    outputs = list(per_step)
    losses = _losses(loss, outputs)
    shares = _by_output(loss_weights, outputs, "loss_weights", 1.0)
    counted = _by_output(metrics, outputs, "metrics", ())
    weighted = _by_output(weighted_metrics, outputs, "weighted_metrics", ())
    for metric in (metric for given in (counted, weighted) for found in given.values() for metric in found):
        if not isinstance(metric, keras.metrics.Metric):
            raise ValueError(f"metrics must be keras.metrics.Metric objects. Received: {metric!r}")
    return {
        name: OutputLoss(
            losses[name],
            per_step[name],
            shares[name],
            keras.metrics.Mean("loss" if len(outputs) == 1 else f"{name}_loss"),
            tuple(counted[name]),
            tuple(weighted[name]),
        )
        for name in outputs
    }


def all_metrics(losses: Mapping[str, OutputLoss]) -> list[keras.metrics.Metric]:
    """Returns the means of all losses, then all other metrics."""
    return [
        *(loss.mean for loss in losses.values()),
        *(metric for loss in losses.values() for metric in (*loss.metrics, *loss.weighted_metrics)),
    ]


def total(losses: Mapping[str, OutputLoss], means: Mapping[str, Any]) -> Any:
    """Returns the sum of the losses' means, each times its share."""
    return tf.add_n([loss.share * means[name] for name, loss in losses.items()])


def _losses(loss: Any, outputs: Sequence[str]) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output, which must be those of `examples_per_step`."""
    losses = dict(loss) if isinstance(loss, Mapping) else dict.fromkeys(outputs, loss)
    for one in losses.values():
        if not isinstance(one, keras.losses.Loss):
            raise ValueError(f"loss must be a keras.losses.Loss. Received: {one!r}")
    if set(losses) != set(outputs) or (len(outputs) > 1 and not isinstance(loss, Mapping)):
        raise ValueError(
            "There must be one loss for each output of examples_per_step. "
            f"Received: losses of {', '.join(losses)}, examples_per_step of {', '.join(outputs)}"
        )
    return losses


def _by_output(given: Any, outputs: Sequence[str], what: str, default: Any) -> dict[str, Any]:
    """Returns an argument of `compile` for each output; what a mapping lacks is the default."""
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
