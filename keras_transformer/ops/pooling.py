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


def max_pool(sequence, mask):
    """Takes the largest value of each feature over the attended positions; a sequence without any gives zeros.

    Args:
        sequence: Float tensor of shape (batch, length, dim).
        mask: Boolean or 0/1 integer tensor of shape (batch, length); True = counted.

    Returns:
        Tensor of shape (batch, dim) with the dtype of `sequence`.
    """
    attended = ops.expand_dims(ops.cast(mask, "bool"), axis=-1)
    lowest = ops.cast(-1e4 if sequence.dtype == "float16" else -1e30, sequence.dtype)
    largest = ops.max(ops.where(attended, sequence, lowest), axis=1)
    return ops.where(ops.any(attended, axis=1), largest, ops.zeros_like(largest))


def attention_pool(sequence, scores, mask):
    """Averages positions by the softmax of a score, in float32; a sequence without any attended one gives zeros.

    Args:
        sequence: Float tensor of shape (batch, length, dim).
        scores: Float tensor of shape (batch, length).
        mask: Boolean or 0/1 integer tensor of shape (batch, length); True = counted.

    Returns:
        Tensor of shape (batch, dim) with the dtype of `sequence`.
    """
    attended = ops.cast(mask, "float32")
    scores = ops.cast(scores, "float32") - (1.0 - attended) * 30000.0
    weights = ops.softmax(scores, axis=-1) * ops.max(attended, axis=1, keepdims=True)
    return ops.cast(ops.sum(ops.cast(sequence, "float32") * ops.expand_dims(weights, -1), axis=1), sequence.dtype)
