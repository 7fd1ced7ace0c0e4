"""ONNX files: token ids in, any number of rows of any length; quantised, read and run by ONNX Runtime."""

import collections
import pathlib
from collections.abc import Callable
from typing import Any

from .conversion import Conversion, Target
from .functions import score_function, token_function, token_specs
from .precision import PRECISIONS, Precision
from .signatures import INPUTS, Contract

FORMAT = "onnx"
OFFERED = ("float32", "int8")
"""Precisions that ONNX Runtime can write."""
_PRECISION = "keras_transformer.precision"


def onnx_model(model, contract: Contract, files: dict[str, pathlib.Path]) -> Conversion:
    """Describes the files that take token ids, int32 of shape (batch, length), at most max_length of them.

    Args:
        model: `TextClassifier`.
        contract: `Contract` that says what the outputs mean, and the length.
        files: Name of the precision, one of `OFFERED`, -> file to write.
    """
    return Conversion(ONNX, files, token_function(score_function(model), contract), token_specs(None, None))


def onnx_refused(pipeline, contract: Contract) -> str | None:
    """Returns why no ONNX file can be written, or None: the packages that write and check one are an extra."""
    try:
        import onnxruntime  # noqa: F401 - asked for before the work, not after it
        import tf2onnx  # noqa: F401
    except ImportError as error:
        install = 'pip install "keras-transformer-toolkit[onnx]"'
        return f"No ONNX file can be written: {error.name} is missing. Run: {install}"
    return None


def _quantize(source: str, target: pathlib.Path) -> None:
    """Weights in int8, one scale for each column; activations as they come."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    # It asks on the root logger for a shape inference that a model without convolutions does not need.
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        quantize_dynamic(source, str(target), per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logger.setLevel(before)


def open_onnx(path: pathlib.Path, num_threads: int | None = None) -> tuple[bool, Callable]:
    """Loads an ONNX file in ONNX Runtime.

    Args:
        path: The file.
        num_threads: int or None, threads of a product. Default None, its own choice.

    Returns:
        False, as it takes token ids, and a function of named arrays.

    Raises:
        ImportError: If onnxruntime is not installed.
        ValueError: If the file cannot be loaded.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(".onnx files run in ONNX Runtime, which is missing. Run: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads or 0
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class of their own
        raise ValueError(f"{path} cannot be loaded as an ONNX model: {str(error).splitlines()[0]}") from error
    outputs = session.get_outputs()

    def run(**inputs):
        given = dict(zip((output.name for output in outputs), session.run(None, inputs), strict=True))
        # Strings are bytes in the other runtimes.
        return {
            name: values.astype("S").astype(object) if output.type == "tensor(string)" else values
            for output, (name, values) in zip(outputs, given.items(), strict=True)
        }

    return False, run


def onnx_precision(path: str | pathlib.Path) -> Precision:
    """Returns the precision that a file written here says it has; of a file from elsewhere, float32.

    Raises:
        ValueError: If the file is not an ONNX model.
    """
    name = next((entry.value for entry in _load(path).metadata_props if entry.key == _PRECISION), "")
    return PRECISIONS.get(name, PRECISIONS["float32"])


def onnx_operators(path: str | pathlib.Path) -> dict[str, Any]:
    """Reads the operators of an ONNX file without running it.

    Returns:
        Dict with `stored`: operator name -> count, most frequent first.

    Raises:
        ValueError: If the file is not an ONNX model.
    """
    return {"stored": dict(collections.Counter(node.op_type for node in _load(path).graph.node).most_common())}


def _load(path: str | pathlib.Path):
    import onnx

    try:
        return onnx.load(str(path))
    except FileNotFoundError:
        raise
    except Exception as error:  # of protobuf, which has several
        raise ValueError(f"{path} is not an ONNX model: {str(error).splitlines()[0]}") from error


def _finish(source: str, path: pathlib.Path, precision: Precision, conversion: Conversion) -> None:
    """Quantises what tf2onnx wrote, names the sizes that are open, and notes the precision."""
    import onnx

    if precision.name == "int8":
        _quantize(source, path)
        source = str(path)
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        sizes[0].dim_param = "batch"
        if value.name in INPUTS:
            sizes[1].dim_param = "length"
    onnx.helper.set_model_props(model, {_PRECISION: precision.name})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


ONNX = Target(FORMAT, lambda precision: "float32", _finish)
"""How `.onnx` files are made."""
