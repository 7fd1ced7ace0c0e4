"""Boolean masks (True = attend) and what attention makes of them: an additive bias and a row-valid factor.

Masks have the shapes (batch, key_length), (batch, query_length, key_length), or with a heads axis before the queries;
a batch of 1 serves every row. A query stands at `offset + its index` among the keys, which is what a step of cached
decoding needs.
"""

import keras
from keras import ops

from keras_transformer.ops.sizes import reshape_sizes

MASK_FILL = -30000.0
"""Added to the score of a masked key: exp of it is exactly 0 in float32, and it fits into float16."""


def causal_mask(query_length, key_length=None, offset=0):
    """Lets every query see itself and what comes before it.

    Args:
        query_length: Number of queries, an int or an integer scalar tensor.
        key_length: Number of keys; None means `query_length`.
        offset: Place of the first query among the keys, an int or an integer scalar tensor.

    Returns:
        Boolean tensor of shape (1, query_length, key_length).
    """
    return _distances(query_length, key_length, offset) >= 0


def sliding_window_mask(window: int, query_length, key_length=None, offset=0, causal: bool = True):
    """Lets every query see its neighbours only (Beltagy et al., arXiv 2004.05150).

    Args:
        window: Number of keys seen, the query's own included; to both sides of it, if not causal.
        query_length: Number of queries, an int or an integer scalar tensor.
        key_length: Number of keys; None means `query_length`.
        offset: Place of the first query among the keys.
        causal: Whether only earlier neighbours are seen.

    Returns:
        Boolean tensor of shape (1, query_length, key_length).

    Raises:
        ValueError: If the window is not above 0.
    """
    if window < 1:
        raise ValueError(f"window must be above 0. Received: {window!r}")
    distances = _distances(query_length, key_length, offset)
    if causal:
        return ops.logical_and(distances >= 0, distances < window)
    return ops.abs(distances) < window


def prefix_mask(prefix_mask, query_length=None, offset=0):
    """Lets every query see the prefix, and else only what comes before it (Raffel et al., arXiv 1910.10683).

    Args:
        prefix_mask: Boolean or 0/1 integer tensor of shape (batch, key_length); True for the tokens of the prefix.
        query_length: Number of queries; None means as many as keys.
        offset: Place of the first query among the keys.

    Returns:
        Boolean tensor of shape (batch, query_length, key_length).
    """
    key_length = ops.shape(prefix_mask)[1]
    causal = causal_mask(key_length if query_length is None else query_length, key_length, offset)
    return ops.logical_or(causal, ops.expand_dims(ops.cast(prefix_mask, "bool"), 1))


def block_diagonal_mask(query_ids, key_ids=None):
    """Lets tokens see the tokens of their own example, where several examples share a row.

    Args:
        query_ids: Integer tensor of shape (batch, query_length): the example of each token, 0 for padding.
        key_ids: The same for the keys, (batch, key_length); None means `query_ids`.

    Returns:
        Boolean tensor of shape (batch, query_length, key_length); padding sees nothing and is not seen.
    """
    key_ids = query_ids if key_ids is None else key_ids
    same = ops.equal(ops.expand_dims(query_ids, 2), ops.expand_dims(key_ids, 1))
    return ops.logical_and(same, ops.expand_dims(key_ids > 0, 1))


def example_masks(example_ids, num_examples):
    """Says which tokens belong to which example, where several examples share a row.

    Args:
        example_ids: Integer tensor of shape (batch, length): the example of each token, 1, 2, ... within its row, 0 for
            padding.
        num_examples: Number of examples, an int or an integer scalar tensor; a row may have fewer.

    Returns:
        Boolean tensor of shape (batch, num_examples, length); False throughout for an example that a row lacks.
    """
    numbers = ops.arange(num_examples, dtype="int32") + 1
    return ops.equal(ops.expand_dims(ops.cast(example_ids, "int32"), 1), ops.reshape(numbers, (1, -1, 1)))


def combine_masks(*masks):
    """Lets a query see what all of the masks let it see.

    Args:
        *masks: Masks of any of the shapes above, or None for no restriction.

    Returns:
        Boolean tensor with the largest number of axes among them, or None if nothing restricts.

    Raises:
        ValueError: For a mask of another rank or dtype.
    """
    given = [_checked(mask) for mask in masks if mask is not None]
    if not given:
        return None
    rank = max(len(mask.shape) for mask in given)
    result = None
    for mask in given:
        for _ in range(rank - len(mask.shape)):
            mask = ops.expand_dims(mask, 1)
        result = mask if result is None else ops.logical_and(result, mask)
    return result


def attention_bias(mask, fill_value: float = MASK_FILL):
    """Turns a mask into the bias that is added to attention scores.

    Args:
        mask: Boolean or 0/1 integer tensor of shape (batch, key_length), (batch, query_length, key_length) or
            (batch, heads, query_length, key_length); True = attend.
        fill_value: The bias of a masked key.

    Returns:
        Float32 tensor of shape (batch, 1, 1, key_length), (batch, 1, query_length, key_length), or that of `mask`: 0
        where attended, `fill_value` elsewhere.

    Raises:
        ValueError: For a mask of another rank or dtype.
    """
    bias = (1.0 - ops.cast(_checked(mask, cast=False), "float32")) * fill_value
    rank = len(mask.shape)
    if rank == 2:
        # One reshape: behind it TensorFlow's CPU kernels add the bias inside the product.
        batch, length = reshape_sizes(mask)
        return ops.reshape(bias, (batch, 1, 1, length))
    return ops.expand_dims(bias, 1) if rank == 3 else bias


def row_valid(mask):
    """Says for each query whether it may attend to anything.

    Args:
        mask: As for `attention_bias`.

    Returns:
        Float32 tensor of shape (batch, 1, 1, 1), (batch, 1, query_length, 1) or (batch, heads, query_length, 1): 1, or
        0 for a query that sees nothing.

    Raises:
        ValueError: For a mask of another rank or dtype.
    """
    valid = ops.max(ops.cast(_checked(mask, cast=False), "float32"), axis=-1, keepdims=True)
    rank = len(mask.shape)
    if rank == 2:
        return ops.reshape(valid, (-1, 1, 1, 1))
    return ops.expand_dims(valid, 1) if rank == 3 else valid


def _distances(query_length, key_length, offset):
    """How far each key lies before each query, int32 of shape (1, query_length, key_length)."""
    key_length = query_length if key_length is None else key_length
    queries = ops.arange(query_length, dtype="int32") + ops.cast(offset, "int32")
    keys = ops.arange(key_length, dtype="int32")
    return ops.expand_dims(ops.expand_dims(queries, 1) - ops.expand_dims(keys, 0), 0)


def _checked(mask, cast: bool = True):
    """Returns a mask, boolean if `cast`, and refuses what cannot be one."""
    dtype = keras.backend.standardize_dtype(mask.dtype)
    if len(mask.shape) not in (2, 3, 4) or not (dtype == "bool" or "int" in dtype):
        raise ValueError(
            "A mask must be boolean, or 0/1 integers (True = attend), of shape (batch, key_length), "
            "(batch, query_length, key_length) or (batch, heads, query_length, key_length). "
            f"Received: dtype={dtype}, shape={tuple(mask.shape)}"
        )
    return ops.cast(mask, "bool") if cast else mask
