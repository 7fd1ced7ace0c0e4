"""What opens and describes the artefacts that are one file, by the ending of its name."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from . import onnx_file, operators, runners, tflite
from .precision import Precision


@dataclasses.dataclass(frozen=True)
class Reader:
    """How files of one ending are read.

    Args:
        open: Function of (path, num_threads) that returns whether the model takes text, and its signature as a
            function of named arrays.
        format_of: Function of the path that returns the name of the format.
        precision_of: Function of the path that returns the `Precision`.
        fixed_length: Function of the path that returns the length of the rows it takes, or None for any.
        describe: Function of the path that returns what the report says of it: `operators`, perhaps `partitions`.
    """

    open: Callable[[pathlib.Path, int | None], tuple[bool, Callable]]
    format_of: Callable[[pathlib.Path], str]
    precision_of: Callable[[pathlib.Path], Precision]
    fixed_length: Callable[[pathlib.Path], int | None]
    describe: Callable[[pathlib.Path], dict[str, Any]]


READERS = {
    ".tflite": Reader(
        runners.open_tflite,
        tflite.format_of,
        tflite.precision_of,
        operators.fixed_length,
        lambda path: {
            "operators": operators.tflite_operators(path),
            "partitions": operators.xnnpack_partitions(path),
        },
    ),
    ".onnx": Reader(
        onnx_file.open_onnx,
        lambda path: onnx_file.FORMAT,
        onnx_file.onnx_precision,
        lambda path: None,
        lambda path: {"operators": onnx_file.onnx_operators(path)},
    ),
}
"""Ending of the name -> `Reader`."""


def reader_of(path: str | pathlib.Path) -> Reader:
    """Returns the reader of a file.

    Args:
        path: str or path.

    Raises:
        ValueError: If the name has another ending.

    Example:
        ```python
        from keras_transformer.export import readers

        assert readers.reader_of("tflite/tokens.tflite") is readers.READERS[".tflite"]
        ```
    """
    suffix = pathlib.Path(path).suffix
    if suffix not in READERS:
        raise ValueError(f"The name of an artefact ends in {' or '.join(READERS)}. Received: {path}")
    return READERS[suffix]
