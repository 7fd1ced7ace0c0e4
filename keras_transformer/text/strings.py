"""Makes a string tensor of whatever holds texts."""

import reprlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text


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


def check_utf8(texts: tf.Tensor) -> None:
    """Refuses bytes that are not UTF-8.

    Args:
        texts: (batch,) string tensor, eager.

    Raises:
        ValueError: If a text is not valid UTF-8.
    """
    for index, text in enumerate(texts.numpy()):
        try:
            text.decode("utf-8")
        except UnicodeDecodeError as error:
            around = text[max(error.start - 8, 0) : error.end + 8]
            raise ValueError(
                f"Every text must be valid UTF-8; decode it with its own encoding, or errors='replace', first. "
                f"Received: text {index} with {around!r} at byte {error.start}."
            ) from error


def character_offsets(
    texts: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Turns offsets in bytes of UTF-8 into offsets in characters.

    Args:
        texts: (batch,) string, valid UTF-8.
        starts: (batch, None) int32 ragged, in bytes.
        ends: (batch, None) int32 ragged, in bytes.

    Returns:
        starts and ends, (batch, None) int32 ragged, in characters.
    """
    rows = tensorflow_text.ByteSplitter().split(texts)
    leads = tf.not_equal(tf.bitwise.bitwise_and(rows.values, 0xC0), 0x80)
    return _count_before(tf.cast(leads, tf.int32), rows.row_splits, starts, ends)


def byte_offsets(
    texts: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Turns offsets in characters into offsets in bytes of UTF-8: the inverse of `character_offsets`."""
    rows = tf.strings.unicode_decode(texts, "UTF-8")
    return _count_before(utf8_lengths(rows.values), rows.row_splits, starts, ends)


def utf8_lengths(characters: tf.Tensor) -> tf.Tensor:
    """Returns how many bytes each code point takes: int32, like its argument."""
    return 1 + tf.add_n([tf.cast(characters >= first, tf.int32) for first in (0x80, 0x800, 0x10000)])


def _count_before(
    sizes: tf.Tensor, row_splits: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Sums the sizes of the units of a text before each offset."""
    before = tf.concat([[0], tf.cumsum(sizes)], 0)
    first_unit = tf.gather(tf.cast(row_splits, tf.int32), tf.cast(starts.value_rowids(), tf.int32))
    base = tf.gather(before, first_unit)
    return tuple(
        offsets.with_values(tf.gather(before, first_unit + offsets.values) - base) for offsets in (starts, ends)
    )
