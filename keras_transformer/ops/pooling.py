"""Reductions of a sequence to one vector, or of a row of several texts to one vector for each of them."""

from keras import ops

from keras_transformer.ops.taking import take_tokens


def mean_pool(sequence, mask):
    """Averages the attended positions, in float32; a text without any gives zeros.

    Args:
        sequence: Float tensor of shape (batch, length, dim).
        mask: Boolean or 0/1 integer tensor of shape (batch, length), or for several texts in a row
            (batch, texts, length), see `example_masks`; True = counted.

    Returns:
        Tensor of shape (batch, dim), or (batch, texts, dim), with the dtype of `sequence`.
    """
    weights = ops.cast(mask, "float32")
    wide = ops.cast(sequence, "float32")
    if len(mask.shape) == 3:
        counts = ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1.0)
        return ops.cast(ops.matmul(weights, wide) / counts, sequence.dtype)
    weights = ops.expand_dims(weights, axis=-1)
    return ops.cast(ops.sum(wide * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0), sequence.dtype)


def first_pool(sequence, mask=None):
    """Takes the first position, or for several texts in a row the first attended position of each.

    Args:
        sequence: Float tensor of shape (batch, length, dim).
        mask: None or a mask of shape (batch, length), which is not read; or (batch, texts, length) for several texts.

    Returns:
        Tensor of shape (batch, dim), or (batch, texts, dim), where a text without any position gives the row's first.
    """
    if mask is None or len(mask.shape) == 2:
        return sequence[:, 0]
    return take_tokens(sequence, first_places(mask))


def first_places(masks):
    """Returns where each text begins.

    Args:
        masks: Boolean or 0/1 integer tensor of shape (batch, texts, length), see `example_masks`.

    Returns:
        Int32 tensor of shape (batch, texts); 0 for a text without any position.
    """
    return ops.cast(ops.argmax(ops.cast(masks, "int32"), axis=-1), "int32")


def max_pool(sequence, mask):
    """Takes the largest value of each feature over the attended positions; a text without any gives zeros.

    Args:
        sequence: Float tensor of shape (batch, length, dim).
        mask: Boolean or 0/1 integer tensor of shape (batch, length), or (batch, texts, length); True = counted.

    Returns:
        Tensor of shape (batch, dim), or (batch, texts, dim), with the dtype of `sequence`.
    """
    if len(mask.shape) == 3:
        sequence = ops.expand_dims(sequence, 1)
    attended = ops.expand_dims(ops.cast(mask, "bool"), axis=-1)
    lowest = ops.cast(-1e4 if sequence.dtype == "float16" else -1e30, sequence.dtype)
    largest = ops.max(ops.where(attended, sequence, lowest), axis=-2)
    return ops.where(ops.any(attended, axis=-2), largest, ops.zeros_like(largest))


def attention_pool(sequence, scores, mask):
    """Averages positions by the softmax of a score, in float32; a text without any attended one gives zeros.

    Args:
        sequence: Float tensor of shape (batch, length, dim).
        scores: Float tensor of shape (batch, length).
        mask: Boolean or 0/1 integer tensor of shape (batch, length), or (batch, texts, length); True = counted.

    Returns:
        Tensor of shape (batch, dim), or (batch, texts, dim), with the dtype of `sequence`.
    """
    attended = ops.cast(mask, "float32")
    scores = ops.cast(scores, "float32")
    several = len(mask.shape) == 3
    scores = (ops.expand_dims(scores, 1) if several else scores) - (1.0 - attended) * 30000.0
    weights = ops.softmax(scores, axis=-1) * ops.max(attended, axis=-1, keepdims=True)
    wide = ops.cast(sequence, "float32")
    if several:
        return ops.cast(ops.matmul(weights, wide), sequence.dtype)
    return ops.cast(ops.sum(wide * ops.expand_dims(weights, -1), axis=1), sequence.dtype)
