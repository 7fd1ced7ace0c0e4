"""The keys and values of earlier tokens, kept in tensors of a fixed shape."""

from keras import ops


def update_cache(cache, new, index):
    """Writes new keys or values into a cache.

    Args:
        cache: Float tensor of shape (batch, heads, cache_length, head_dim).
        new: Float tensor of shape (batch, heads, length, head_dim).
        index: Place of the first of them, an int or an integer scalar tensor; `index + length` must not exceed
            `cache_length`: XLA moves a slice that does.

    Returns:
        Tensor of the shape and dtype of `cache`.
    """
    return ops.slice_update(cache, (0, 0, ops.cast(index, "int32"), 0), ops.cast(new, cache.dtype))
