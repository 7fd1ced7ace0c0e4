"""Losses with one value for each token."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_transformer")
class BinaryLoss(keras.losses.Loss):
    """Cross-entropy of one yes-or-no label for each token, from logits, float32 under every dtype policy.

    It differs from Keras' loss in that it has a value for each logit, so that each can have a weight: the mean is not
    taken over the last axis.

    Args:
        reduction: As `keras.losses.Loss`. Default "sum_over_batch_size".
        name: Name of the loss. Default "loss".

    Call arguments:
        y_true: Integers or floats in [0, 1] of any shape, such as (batch, length).
        y_pred: Logits, float of the same shape.
        sample_weight: Float of the same shape, or None.

    Returns:
        Float32: a scalar, or with `reduction=None`, as from `call`, the shape of the logits.

    Raises:
        ValueError: For labels of another shape.

    Example:
        ```python
        import numpy as np
        from keras_transformer.losses import BinaryLoss

        losses = BinaryLoss(reduction=None)(np.array([[0, 1]]), np.array([[0.0, 30.0]]))
        assert np.allclose(losses, [[np.log(2), 0]], atol=1e-6)
        ```
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "loss", **kwargs):
        super().__init__(name=name, reduction=reduction, **{"dtype": "float32"} | kwargs)

    def call(self, y_true, y_pred):
        """Returns the loss of each token, float32 of the shape of the logits."""
        labels, logits = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        known = [(a, b) for a, b in zip(labels.shape, logits.shape, strict=False) if a is not None and b is not None]
        if len(labels.shape) != len(logits.shape) or any(a != b for a, b in known):
            raise ValueError(
                "A yes-or-no label belongs to each logit. "
                f"Received: labels of shape {tuple(labels.shape)}, logits of shape {tuple(logits.shape)}"
            )
        return ops.binary_crossentropy(labels, logits, from_logits=True)
