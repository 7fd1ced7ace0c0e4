"""Sizes for reshapes."""

from keras import ops


def reshape_sizes(x) -> tuple:
    """Returns the first two sizes of a tensor for a reshape that keeps them.

    Where only the length is unknown, it is the -1 of the reshape. Read from the tensor, it would take operators that
    run at every call, and at which a phone's graph falls into pieces.

    Args:
        x: Tensor of shape (batch, length, ...).

    Returns:
        Batch and length; one of them is -1.
    """
    batch, length = x.shape[:2]
    if batch is not None and length is None:
        return batch, -1
    return -1, ops.shape(x)[1]
