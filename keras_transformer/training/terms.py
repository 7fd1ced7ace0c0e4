"""What a step measures: labels, predictions, losses and weights of each output that has a loss."""

import dataclasses
from collections.abc import Mapping
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


def of_outputs(losses: Mapping[str, keras.losses.Loss], labels: Any, predictions: Any, weights: Any) -> dict[str, Term]:
    """Returns the term of each output.

    Args:
        losses: Loss of each output.
        labels: Tensor, or a dict of them by output.
        predictions: The same.
        weights: The same, or None.
    """
    return {
        name: Term.of(loss, *(of_output(values, name) for values in (labels, predictions, weights)))
        for name, loss in losses.items()
    }


def of_output(values: Any, name: str) -> Any:
    """Returns the value of an output out of a dict by output; anything else is that of the only output."""
    return values[name] if isinstance(values, dict) else values
