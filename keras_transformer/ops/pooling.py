"""Reductions of a sequence to one vector."""

from keras import ops


def mean_pool(sequence, mask):
    """Averages the attended positions, in float32; a sequence without any gives zeros.

    Args:
        sequence: Float tensor of shape (batch, length, dim).
        mask: Boolean or 0/1 integer tensor of shape (batch, length); True = counted.

    Returns:
        Tensor of shape (batch, dim) with the dtype of `sequence`.
    """
    weights = ops.expand_dims(ops.cast(mask, "float32"), axis=-1)
    total = ops.sum(ops.cast(sequence, "float32") * weights, axis=1)
    return ops.cast(total / ops.maximum(ops.sum(weights, axis=1), 1.0), sequence.dtype)
