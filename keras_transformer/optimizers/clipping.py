"""Clipping by the norm of all gradients together (Pascanu et al., arXiv 1211.5063)."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_transformer.ops import sum_of_squares


def dense(gradient: Any) -> Any:
    """Returns a gradient as one tensor; None passes through.

    The gradient of an embedding may be a list of rows in which a token that occurs twice stands twice. Squares of
    such rows are not the squares of their sum, so both the norm and Adam's second moment need the sum.
    """
    if gradient is None:
        return None
    if hasattr(gradient, "dense_shape"):  # tf.IndexedSlices, which `ops.convert_to_tensor` leaves as it is
        return ops.segment_sum(gradient.values, gradient.indices, num_segments=gradient.dense_shape[0])
    return ops.convert_to_tensor(gradient)


def global_norm(gradients: Sequence[Any]) -> Any:
    """Returns the Euclidean norm of all gradients taken as one vector.

    Args:
        gradients: Float tensors, `tf.IndexedSlices`, or None, which counts as 0.

    Returns:
        Scalar float32 tensor.

    Raises:
        ValueError: If every gradient is None.

    Example:
        ```python
        from keras_transformer.optimizers import global_norm

        assert abs(float(global_norm([[3.0], None, [[4.0, 0.0]]])) - 5) < 1e-6
        ```
    """
    present = [dense(g) for g in gradients if g is not None]
    if not present:
        raise ValueError(f"There is no gradient to take the norm of. Received: gradients={gradients}")
    return ops.sqrt(ops.sum(ops.stack([sum_of_squares(g) for g in present])))


def clip_scale(norm: Any, clip_norm: float) -> Any:
    """Returns the factor that brings gradients of a global norm to `clip_norm`, or 1 where they are below it.

    Args:
        norm: Scalar float32 tensor.
        clip_norm: Largest norm that is left as it is, above 0.
    """
    return clip_norm / ops.maximum(norm, clip_norm)


def clip_by_global_norm(gradients: Sequence[Any], clip_norm: float) -> tuple[list[Any], Any]:
    """Scales all gradients by one factor so that their global norm is at most `clip_norm`.

    Args:
        gradients: Float tensors, `tf.IndexedSlices`, or None.
        clip_norm: Largest norm that is left as it is, above 0.

    Returns:
        The gradients as dense tensors, None where None was given, and their norm before clipping.

    Raises:
        ValueError: For a `clip_norm` that is not above 0, or if every gradient is None.

    Example:
        ```python
        from keras_transformer.optimizers import clip_by_global_norm

        (clipped,), norm = clip_by_global_norm([[3.0, 4.0]], clip_norm=1.0)
        assert abs(float(norm) - 5) < 1e-6 and abs(float(clipped[0]) - 0.6) < 1e-6
        ```
    """
    if not clip_norm > 0:
        raise ValueError(f"clip_norm must be above 0. Received: {clip_norm!r}")
    gradients = [dense(g) for g in gradients]
    norm = global_norm(gradients)
    scale = clip_scale(norm, clip_norm)
    return [None if g is None else g * ops.cast(scale, g.dtype) for g in gradients], norm
