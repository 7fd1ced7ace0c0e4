"""Some of the tokens of a sequence: the same ones of every row, or each row its own."""

from keras import ops


def take_tokens(x, places, axis: int = 1):
    """Takes tokens out of an axis.

    Args:
        x: Tensor of shape (1 or batch, ..., length, ...).
        places: A `slice`, the same for every row; or an integer tensor of shape (batch, count): places of each row.
        axis: The axis of the length, at least 1. Default 1.

    Returns:
        Tensor of the shape of `x` but for the axis, which has `count` places.
    """
    if isinstance(places, slice):
        return x[(slice(None),) * axis + (places,)]
    shape = [size if size is not None else dynamic for size, dynamic in zip(x.shape, ops.shape(x), strict=True)]
    if x.shape[0] == 1:  # one for all rows
        shape[0] = ops.shape(places)[0]
        x = ops.broadcast_to(x, shape)
    # The axes before the length become one, and each of its rows counts from its own beginning: one plain gather.
    rows = 1
    for size in shape[:axis]:
        rows = rows * size
    starts = ops.reshape(ops.arange(rows, dtype="int32") * shape[axis], (*shape[:axis], 1))
    count = places.shape[1] if places.shape[1] is not None else ops.shape(places)[1]
    places = ops.reshape(ops.cast(places, "int32"), (shape[0], *[1] * (axis - 1), count))
    return ops.take(ops.reshape(x, (rows * shape[axis], *shape[axis + 1 :])), starts + places, axis=0)
