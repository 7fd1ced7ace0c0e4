"""Cross-entropy with label smoothing (Szegedy et al., arXiv 1512.00567, section 7), and squared error."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_transformer")
class ClassificationLoss(keras.losses.Loss):
    """Cross-entropy of one label of many, or the mean over labels of many at once, from logits.

    It differs from Keras' losses in that integer labels can be smoothed and that it is float32 under every dtype
    policy. Smoothing by `s` trains for `1 - s + s / n` at the right class of `n` and `s / n` at the others; with many
    labels at once each is its own choice of two.

    Args:
        kind: "single_label" (default) or "multi_label".
        label_smoothing: Float in [0, 1). Default 0.
        reduction: As `keras.losses.Loss`. Default "sum_over_batch_size".
        name: Name of the loss. Default "loss".

    Call arguments:
        y_true: Integers of shape (batch,) or (batch, 1) for "single_label", or (batch, length) where every token has a
            label; floats in [0, 1] of shape (batch, num_outputs) for "multi_label".
        y_pred: Logits, float of shape (batch, num_outputs), or (batch, length, num_outputs) for tokens.
        sample_weight: Float of shape (batch,), or (batch, length) for tokens, or None.

    Returns:
        Float32: a scalar, or with `reduction=None`, as from `call`, shape (batch,), or (batch, length) for tokens.

    Raises:
        ValueError: For an unknown kind, a smoothing out of range, or labels whose shape does not fit the logits.

    Example:
        ```python
        import numpy as np
        from keras_transformer.losses import ClassificationLoss

        loss = ClassificationLoss("single_label", label_smoothing=0.1)
        assert abs(float(loss(np.array([0]), np.zeros((1, 4)))) - np.log(4)) < 1e-6
        ```
    """

    def __init__(
        self,
        kind: str = "single_label",
        label_smoothing: float = 0.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "loss",
        **kwargs,
    ):
        if kind not in ("single_label", "multi_label"):
            raise ValueError(f"kind must be 'single_label' or 'multi_label'. Received: {kind!r}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1). Received: {label_smoothing!r}")
        super().__init__(name=name, reduction=reduction, **{"dtype": "float32"} | kwargs)
        self.kind = kind
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """Returns the loss of each example, float32 of shape (batch,)."""
        logits = ops.cast(y_pred, "float32")
        if self.kind == "multi_label":
            return self._multi_label(ops.cast(y_true, "float32"), logits)
        return self._single_label(ops.cast(y_true, "int32"), logits)

    def _single_label(self, labels, logits):
        if len(labels.shape) == len(logits.shape) and labels.shape[-1] == 1:
            labels = ops.squeeze(labels, -1)
        if len(labels.shape) != len(logits.shape) - 1:
            raise ValueError(
                "single_label needs one integer per example, not one-hot rows. "
                f"Received: labels of shape {tuple(labels.shape)}, logits of shape {tuple(logits.shape)}"
            )
        cross_entropy = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        if not self.label_smoothing:
            return cross_entropy
        # The loss is linear in the target, and the target a mix of the label and the uniform distribution.
        uniform = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        return (1 - self.label_smoothing) * cross_entropy + self.label_smoothing * uniform

    def _multi_label(self, labels, logits):
        _check_same_shape("multi_label", labels, logits)
        labels = labels * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return ops.mean(ops.binary_crossentropy(labels, logits, from_logits=True), axis=-1)

    def get_config(self) -> dict:
        """Returns the constructor arguments."""
        return super().get_config() | {"kind": self.kind, "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("keras_transformer")
class RegressionLoss(keras.losses.Loss):
    """Squared error, the mean over the values of an example, float32 under every dtype policy.

    Args:
        reduction: As `keras.losses.Loss`. Default "sum_over_batch_size".
        name: Name of the loss. Default "loss".

    Call arguments:
        y_true: Float of shape (batch, num_outputs), or (batch,) for one output.
        y_pred: Float of shape (batch, num_outputs).
        sample_weight: Float of shape (batch,), or None.

    Returns:
        Float32: a scalar, or with `reduction=None`, as from `call`, shape (batch,).

    Raises:
        ValueError: For labels whose shape does not fit the predictions.

    Example:
        ```python
        import numpy as np
        from keras_transformer.losses import RegressionLoss

        assert float(RegressionLoss()(np.array([[1.0, 3.0]]), np.zeros((1, 2)))) == 5.0
        ```
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "loss", **kwargs):
        super().__init__(name=name, reduction=reduction, **{"dtype": "float32"} | kwargs)

    def call(self, y_true, y_pred):
        """Returns the loss of each example, float32 of shape (batch,)."""
        values, predictions = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        if len(values.shape) == len(predictions.shape) - 1 and predictions.shape[-1] == 1:
            values = ops.expand_dims(values, -1)
        _check_same_shape("regression", values, predictions)
        return ops.mean(ops.square(values - predictions), axis=-1)


def for_kind(kind: str, label_smoothing: float = 0.0) -> keras.losses.Loss:
    """Returns the loss of a kind of label.

    Args:
        kind: "single_label", "multi_label" or "regression".
        label_smoothing: Float in [0, 1); must be 0 for "regression". Default 0.

    Returns:
        `ClassificationLoss` or `RegressionLoss`.

    Raises:
        ValueError: For an unknown kind, or label smoothing where there are no labels.

    Example:
        ```python
        from keras_transformer import losses

        assert losses.for_kind("multi_label", label_smoothing=0.1).label_smoothing == 0.1
        ```
    """
    if kind not in ("single_label", "multi_label", "regression"):
        raise ValueError(f"kind must be 'single_label', 'multi_label' or 'regression'. Received: {kind!r}")
    if kind != "regression":
        return ClassificationLoss(kind, label_smoothing)
    if label_smoothing:
        raise ValueError(f"Regression has no labels to smooth. Received: label_smoothing={label_smoothing}")
    return RegressionLoss()


def _check_same_shape(kind: str, labels, logits) -> None:
    """Refuses shapes that would be broadcast in silence."""
    if len(labels.shape) != len(logits.shape) or labels.shape[-1] != logits.shape[-1]:
        raise ValueError(
            f"{kind} needs one value per output. "
            f"Received: labels of shape {tuple(labels.shape)}, logits of shape {tuple(logits.shape)}"
        )
