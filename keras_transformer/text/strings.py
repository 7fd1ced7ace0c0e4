"""Makes a string tensor of whatever holds texts."""

import reprlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def as_strings(texts: tf.Tensor | Sequence[str]) -> tf.Tensor:
    """Makes a string tensor of texts.

    Args:
        texts: () or (batch,) string tensor, str or bytes, or a sequence of them.

    Returns:
        () or (batch,) string tensor.

    Raises:
        ValueError: If the texts are not strings, or have another rank.
    """
    if not tf.is_tensor(texts):
        array = texts if isinstance(texts, np.ndarray) else np.array(texts, object)
        if array.ndim > 1:
            raise ValueError(f"Texts must be one string or a flat list of strings. Received: shape {array.shape}.")
        texts = tf.reshape(tf.constant([_as_bytes(text) for text in array.ravel()], tf.string), array.shape)
    if texts.dtype != tf.string or isinstance(texts, tf.RaggedTensor) or texts.shape.rank not in (0, 1):
        raise ValueError(
            f"Texts must be a string tensor of shape () or (batch,). Received: {texts.dtype.name} tensor of shape "
            f"{texts.shape}."
        )
    return texts


def _as_bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")  # a lone surrogate becomes invalid bytes, which are dropped
    raise ValueError(
        f"Every text must be a str or bytes. Received: {reprlib.repr(text)} of type {type(text).__name__}."
    )
