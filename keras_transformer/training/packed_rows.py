"""What a model that classifies texts gives for rows of several texts: every text counts as if it had its own row."""

from typing import Any

import keras
import tensorflow as tf

from keras_transformer.training.terms import Term


def term(
    model: keras.Model, loss: keras.losses.Loss, output: str, inputs: dict, labels: Any, weights: Any, training: bool
) -> Term:
    """Returns labels, predictions, losses and weights of all texts of a batch, one after the other.

    Args:
        model: Keras model with a method `packed`, such as `TextClassifier`.
        loss: Its loss.
        output: Key of the output that the loss reads.
        inputs: Dict of int32 tensors of shape (rows, length), with `example_ids`.
        labels: Tensor of shape (rows, texts, ...), or a dict with it by output.
        weights: Float tensor of shape (rows, texts), or None.
        training: Whether dropout is active.

    Raises:
        ValueError: If the model takes no packed rows, or the labels have no axis of texts.
    """
    if not hasattr(model, "packed"):
        raise ValueError(
            "Packed rows need a model that takes them, such as TextClassifier with its method packed. "
            f"Received: {type(model).__name__}"
        )
    labels = labels[output] if isinstance(labels, dict) else labels
    if labels.shape.rank is None or labels.shape.rank < 2:
        raise ValueError(
            "Packed rows need labels of shape (rows, texts, ...), as from data.make_dataset with a PackedPlan. "
            f"Received: labels of shape {labels.shape}"
        )
    predictions = model.packed(inputs, tf.shape(labels)[1], training=training)[output]
    # With the places where a row has no text: their number would be known too late.
    slots = tf.range(1, tf.shape(labels)[1] + 1)
    real = tf.cast(slots <= tf.reduce_max(inputs["example_ids"], 1, keepdims=True), tf.float32)
    weights = real if weights is None else tf.cast(weights, tf.float32) * real
    return Term.of(loss, *(_joined(x) for x in (labels, predictions, weights, real)))


def _joined(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], 0))
