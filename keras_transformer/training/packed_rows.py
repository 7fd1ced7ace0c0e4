"""What a model that classifies texts gives for rows of several texts: every text counts as if it had its own row."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_transformer.training.terms import Term, of_output


def terms(
    model: keras.Model,
    losses: Mapping[str, keras.losses.Loss],
    inputs: dict,
    labels: Any,
    weights: Any,
    training: bool,
) -> dict[str, Term]:
    """Returns labels, predictions, losses and weights of all texts of a batch, one after the other, for each output.

    Args:
        model: Keras model with a method `packed`, such as `TextClassifier` or `MultiTaskClassifier`.
        losses: Loss of each output.
        inputs: Dict of int32 tensors of shape (rows, length), with `example_ids`.
        labels: Tensor of shape (rows, texts, ...), or a dict of them by output, all of the same number of texts.
        weights: Float tensor of shape (rows, texts), a dict of them by output, or None.
        training: Whether dropout is active.

    Raises:
        ValueError: If the model takes no packed rows, gives an output for whole rows only, or the labels have no axis
            of texts.
    """
    if not hasattr(model, "packed"):
        raise ValueError(
            "Packed rows need a model that takes them, such as TextClassifier with its method packed. "
            f"Received: {type(model).__name__}"
        )
    labels = {name: of_output(labels, name) for name in losses}
    for name, given in labels.items():
        if given.shape.rank is None or given.shape.rank < 2:
            raise ValueError(
                "Packed rows need labels of shape (rows, texts, ...), as from data.make_dataset with a PackedPlan. "
                f"Received: labels of shape {given.shape} for {name!r}"
            )
    num_texts = tf.shape(next(iter(labels.values())))[1]
    predictions = model.packed(inputs, num_texts, training=training)
    for name in losses:
        _check_output(model, name, predictions)
    # With the places where a row has no text: their number would be known too late.
    slots = tf.range(1, num_texts + 1)
    real = tf.cast(slots <= tf.reduce_max(inputs["example_ids"], 1, keepdims=True), tf.float32)
    found = {}
    for name, loss in losses.items():
        own = of_output(weights, name)
        own = real if own is None else tf.cast(own, tf.float32) * real
        found[name] = Term.of(loss, *(_joined(x) for x in (labels[name], predictions[name], own, real)))
    return found


def _check_output(model: keras.Model, name: str, predictions: Mapping[str, Any]) -> None:
    """Refuses an output that has no value for each text of a row."""
    received = None
    if name not in predictions:
        received = f"the outputs {', '.join(predictions)}"
    elif len(predictions[name].shape) < 3:
        received = f"the shape {tuple(predictions[name].shape)}"
    if received:
        raise ValueError(
            f"The output {name!r} cannot be trained on packed rows: {type(model).__name__}.packed must give it the "
            f"shape (rows, texts, values). Leave packing out. Received: {received}"
        )


def _joined(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], 0))
