"""Boolean masks (True = attend) and what attention makes of them: an additive bias and a row-valid factor."""

from keras import ops

MASK_FILL = -30000.0
"""Added to the score of a masked key: exp of it is exactly 0 in float32, and it fits into float16."""


def attention_bias(mask, fill_value: float = MASK_FILL):
    """Turns a padding mask into the bias that is added to attention scores.

    Args:
        mask: Boolean or 0/1 integer tensor of shape (batch, key_length); True = attend.
        fill_value: The bias of a masked key.

    Returns:
        Float32 tensor of shape (batch, 1, 1, key_length): 0 where attended, `fill_value` elsewhere.
    """
    inverse = 1.0 - ops.cast(mask, "float32")
    return ops.expand_dims(ops.expand_dims(inverse * fill_value, axis=1), axis=1)


def row_valid(mask):
    """Says for each sequence whether anything in it may be attended.

    Args:
        mask: Boolean or 0/1 integer tensor of shape (batch, key_length); True = attend.

    Returns:
        Float32 tensor of shape (batch, 1, 1, 1): 1, or 0 for an empty sequence.
    """
    valid = ops.max(ops.cast(mask, "float32"), axis=1, keepdims=True)
    return ops.expand_dims(ops.expand_dims(valid, axis=1), axis=1)
