"""NumPy arrays and TensorProto, without TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .messages import message

_STRING = 7
# Number of the type in TensorProto -> NumPy's type, and the field of the values where `tensor_content` is not used.
_TYPES = {
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    7: (np.object_, "string_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
}
TYPE_NAMES = {1: "float32", 2: "float64", 3: "int32", 7: "string", 9: "int64", 10: "bool"}
"""Number of a type -> its name."""


def to_proto(values: Any) -> Any:
    """Returns a TensorProto.

    Args:
        values: Array, or nested lists; str and bytes make a string tensor.

    Raises:
        ValueError: If TensorFlow Serving has no such type.
    """
    # Strings stay objects: NumPy's own kind drops null bytes at the end, and reads bytes as ASCII.
    objects = np.asarray(values, object)
    if objects.size and isinstance(objects.flat[0], str | bytes):
        return _string_proto(objects)
    array = np.asarray(values)
    if array.dtype.kind in "SUO":
        return _string_proto(objects)
    types = {np.dtype(kind): number for number, (kind, _) in _TYPES.items()}
    if array.dtype not in types:
        raise ValueError(f"A tensor must hold strings, floats, integers or bools. Received: dtype {array.dtype}")
    array = array.astype(array.dtype.newbyteorder("<"))
    return _proto(types[array.dtype.newbyteorder("=")], array.shape, tensor_content=array.tobytes())


def from_proto(proto: Any) -> np.ndarray:
    """Returns the array of a TensorProto; strings are bytes in an array of objects.

    Raises:
        ValueError: If the type is not known, or the number of values does not fit the shape.
    """
    if proto.dtype not in _TYPES:
        raise ValueError(f"The server sent a tensor of a type that is not read here. Received: dtype {proto.dtype}")
    kind, field = _TYPES[proto.dtype]
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = int(np.prod(shape, dtype=np.int64))
    if proto.tensor_content and proto.dtype != _STRING:
        values = np.frombuffer(proto.tensor_content, np.dtype(kind).newbyteorder("<")).astype(kind)
    else:
        values = np.empty(len(getattr(proto, field)), kind)
        values[:] = getattr(proto, field)
        if len(values) < size and len(values):
            # TensorFlow leaves out the repetitions of the last value.
            values = np.concatenate([values, np.repeat(values[-1:], size - len(values))])
    if len(values) != size:
        raise ValueError(f"A tensor of shape {shape} needs {size} values. Received: {len(values)}")
    return values.reshape(shape)


def example(text: str | bytes) -> Any:
    """Returns the `tf.Example` that the signatures `classify` and `regress` take.

    Args:
        text: The text, in the feature `text`.
    """
    result = message("tensorflow.Example")()
    result.features.feature["text"].bytes_list.value.append(as_bytes(text))
    return result


def as_bytes(text: str | bytes) -> bytes:
    """Returns the UTF-8 of a string; a lone surrogate, which has none, becomes a question mark."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _string_proto(array: np.ndarray) -> Any:
    wrong = [value for value in array.flat if not isinstance(value, str | bytes)]
    if wrong:
        raise ValueError(f"A string tensor must hold str or bytes. Received: {type(wrong[0]).__name__}")
    return _proto(_STRING, array.shape, string_val=[as_bytes(value) for value in array.flat])


def _proto(number: int, shape: Sequence[int], **values: Any) -> Any:
    proto = message("tensorflow.TensorProto")(dtype=number, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto
