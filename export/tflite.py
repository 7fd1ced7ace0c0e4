"""Writes `.tflite` files: token ids in, or raw strings in with the packer inside. float32, no Flex operators."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from .operators import VARIABLE_OPERATORS, tflite_operators
from .saved_model import score_function, text_function, text_specs, token_function, token_specs, write_archive
from .signatures import LOGITS, SERVING, Contract

TEXT_OPERATORS = ("FastBertNormalize", "FastWordpieceTokenizeWithOffsets", "TFText>ByteSplitWithOffsets")
"""Custom operators of a text model; `tflite_registrar.SELECT_TFTEXT_OPS` of tensorflow_text has all of them."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One `.tflite` file to be written.

    Args:
        path: The file.
        function: Function of named tensors that becomes the file's one signature.
        specs: Its inputs, list of `tf.TensorSpec`.
        custom_operators: Names of the operators that it may need beside TFLite's own.
    """

    path: pathlib.Path
    function: Callable
    specs: list
    custom_operators: tuple[str, ...] = ()


def token_model(model, contract: Contract, path: str | pathlib.Path) -> Conversion:
    """Describes the file that takes token ids: static shape (1, max_length), TFLite's own operators only.

    Args:
        model: `TextClassifier`.
        contract: `Contract` that says what the outputs mean, and the length.
        path: File to write.
    """
    function = token_function(score_function(model), contract)
    return Conversion(pathlib.Path(path), function, token_specs(1, contract.max_length))


def text_model(model, packer, contract: Contract, path: str | pathlib.Path) -> Conversion:
    """Describes the file that takes raw strings: any number of texts, padded to the longest of them.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker`.
        contract: `Contract` that says what the outputs mean.
        path: File to write.

    Raises:
        ValueError: If TFLite has no operators for the way the packer works.
    """
    reason = text_model_refused(packer)
    if reason:
        raise ValueError(reason)
    function = text_function(score_function(model), packer, lambda logits: contract.serve(logits) | {LOGITS: logits})
    return Conversion(pathlib.Path(path), function, text_specs(), TEXT_OPERATORS)


def text_model_refused(packer) -> str | None:
    """Returns why the packer cannot go into a `.tflite`, or None if it can."""
    supported, reason = packer.tflite_supported()
    return None if supported else f"No .tflite that takes text can be written: {reason}"


def convert(conversions: Sequence[Conversion], scratch_dir: str | pathlib.Path) -> None:
    """Writes `.tflite` files, unchecked but for their operators; `export_pipeline` writes, verifies and renames them.

    Args:
        conversions: The files to write.
        scratch_dir: Folder for temporary files, as large as the weights once for each file.

    Raises:
        RuntimeError: If TensorFlow cannot convert the model, or drops its weights.
        OSError: If the files cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=scratch_dir) as scratch:
        jobs = []
        for i, conversion in enumerate(conversions):
            source = f"{scratch}/{i}"
            write_archive({SERVING: (conversion.function, conversion.specs)}, source)
            jobs.append([source, str(conversion.path), bool(conversion.custom_operators)])
        script = pathlib.Path(__file__).with_name("_convert.py")
        # -P: the folder of the script holds modules whose names must not hide others.
        command = [sys.executable, "-P", str(script), json.dumps(jobs)]
        result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        cause = lines[-1] if lines and result.returncode == 1 else "the process was killed, perhaps for lack of memory"
        error = OSError if cause.startswith("OSError") else RuntimeError
        raise error(f"The TFLite conversion failed (exit status {result.returncode}): {cause}")
    for conversion in conversions:
        check_operators(conversion.path, conversion.custom_operators)


def check_operators(path: pathlib.Path, custom_operators: Sequence[str] = ()) -> None:
    """Refuses a `.tflite` file that cannot work, by its operators.

    Args:
        path: The file.
        custom_operators: Names of the operators that it may need beside TFLite's own.

    Raises:
        RuntimeError: If it has lost its weights, needs operators that are missing, or has several graphs.
    """
    found = tflite_operators(path)
    lost = [name for name in VARIABLE_OPERATORS if name in found["builtin"]]
    if lost:
        raise RuntimeError(f"The conversion of {path.name} dropped the weights: it holds {', '.join(lost)}.")
    strange = sorted(set(found["custom"]) - set(custom_operators))
    if strange:
        raise RuntimeError(f"{path.name} would need operators that TFLite lacks: {', '.join(strange)}.")
    if found["subgraphs"] != 1:
        raise RuntimeError(f"{path.name} must have one graph. Received: {found['subgraphs']}")
