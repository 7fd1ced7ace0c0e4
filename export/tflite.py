"""Writes `.tflite` files: token ids in, or raw strings in with the packer inside. float32, no Flex operators."""

import math
import pathlib
import subprocess
import sys
import tempfile

from .operators import VARIABLE_OPERATORS, tflite_operators
from .saved_model import text_function, text_spec, token_function, token_specs, write_archive
from .signatures import SERVING, Contract

TEXT_OPERATORS = ("FastBertNormalize", "FastWordpieceTokenizeWithOffsets", "RaggedTensorToTensor")
"""Custom operators of a text model; all of them are in `tflite_registrar.SELECT_TFTEXT_OPS` of tensorflow_text."""


def write_token_model(model, contract: Contract, path: str | pathlib.Path) -> None:
    """Writes the model that takes token ids, unchecked: one signature of the static shape (1, max_length).

    Args:
        model: `TextClassifier`.
        contract: `Contract` that says what the outputs mean, and the length.
        path: File to write.

    Raises:
        RuntimeError: If TensorFlow cannot convert the model, or drops its weights.
        OSError: If the files cannot be written.
    """
    function = token_function(model, contract)
    _convert(model, function, token_specs(1, contract.max_length), pathlib.Path(path), custom_operators=())


def write_text_model(model, packer, contract: Contract, path: str | pathlib.Path) -> None:
    """Writes the model that takes raw strings, unchecked: any number of texts, padded to the longest of them.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker`.
        contract: `Contract` that says what the outputs mean.
        path: File to write.

    Raises:
        ValueError: If TFLite has no operators for the way the packer works.
        RuntimeError: If TensorFlow cannot convert the model, or drops its weights.
        OSError: If the files cannot be written.
    """
    reason = text_model_refused(packer)
    if reason:
        raise ValueError(reason)
    function = text_function(model, packer, contract, logits=True)
    _convert(model, function, text_spec(), pathlib.Path(path), custom_operators=TEXT_OPERATORS)


def text_model_refused(packer) -> str | None:
    """Returns why the packer cannot go into a `.tflite`, or None if it can."""
    supported, reason = packer.tflite_supported()
    return None if supported else f"No .tflite that takes text can be written: {reason}"


def _convert(model, function, specs, path: pathlib.Path, custom_operators: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=path.parent) as scratch:
        write_archive(model, {SERVING: (function, specs)}, scratch)
        command = [sys.executable, "-P", str(pathlib.Path(__file__).with_name("_convert.py")), scratch, str(path)]
        if custom_operators:
            command.append("--custom_operators")
        result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        cause = lines[-1] if lines else "the converter was killed, probably for lack of memory"
        error = OSError if cause.startswith(("OSError", "PermissionError")) else RuntimeError
        raise error(f"TFLite conversion of {path.name} failed (exit status {result.returncode}): {cause}")
    _check_operators(path, custom_operators)


def _check_operators(path: pathlib.Path, custom_operators: tuple[str, ...]) -> None:
    found = tflite_operators(path)
    lost = [name for name in VARIABLE_OPERATORS if name in found["builtin"]]
    if lost:
        raise RuntimeError(f"The conversion of {path.name} dropped the weights: it holds {', '.join(lost)}.")
    strange = sorted(set(found["custom"]) - set(custom_operators))
    if strange:
        raise RuntimeError(f"{path.name} would need operators that TFLite lacks: {', '.join(strange)}.")
    if found["subgraphs"] != 1:
        raise RuntimeError(f"{path.name} must have one graph. Received: {found['subgraphs']}")


def minimum_bytes(model) -> int:
    """Returns the bytes of the model's weights in float32: what an artefact takes at least, more or less."""
    return sum(4 * math.prod(weight.shape) for weight in model.weights)
