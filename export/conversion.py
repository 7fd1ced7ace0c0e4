"""Turns functions of a model into files of another runtime, in a process of its own: converters keep their memory."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from .precision import PRECISIONS, Precision
from .saved_model import write_archive
from .signatures import SERVING


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of file that a SavedModel is converted to.

    Args:
        name: str, of the converter: "tflite" or "onnx".
        base: Function of a `Precision` that returns the name of the one in which the converter writes.
        finish: Function of (source, path, precision, conversion) that makes the file of what the converter wrote.
    """

    name: str
    base: Callable[[Precision], str]
    finish: Callable[..., None]


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One function that becomes a file in each of several precisions.

    Args:
        target: `Target`, what kind of file.
        files: Name of the precision -> the file.
        function: Function of named tensors that becomes the file's one signature.
        specs: Its inputs, list of `tf.TensorSpec`.
        custom_operators: Names of the operators that it may need beside TFLite's own.
        table: The table of token embeddings, float32 of shape (vocabulary_size, dim); for int4.
        examples: Input name -> int32 array with the examples first; for full_int8.
    """

    target: Target
    files: dict[str, pathlib.Path]
    function: Callable
    specs: list
    custom_operators: tuple[str, ...] = ()
    table: np.ndarray | None = None
    examples: dict[str, np.ndarray] | None = None


def convert(conversions: Sequence[Conversion], scratch_dir: str | pathlib.Path) -> None:
    """Writes files, unchecked but for their operators; `export_pipeline` writes, verifies and renames them.

    Args:
        conversions: The files to write.
        scratch_dir: Folder for temporary files, as large as the weights once for each conversion.

    Raises:
        RuntimeError: If the model cannot be converted, or loses its weights.
        OSError: If the files cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=scratch_dir) as scratch:
        jobs, outputs = [], []
        for i, conversion in enumerate(conversions):
            source, target = f"{scratch}/{i}", conversion.target
            write_archive({SERVING: (conversion.function, conversion.specs)}, source)
            job = {
                "converter": target.name,
                "source": source,
                "inputs": [spec.name for spec in conversion.specs],
                "custom_operators": bool(conversion.custom_operators),
            }
            if conversion.examples is not None:
                job["examples"] = f"{source}.npz"
                np.savez(job["examples"], **conversion.examples)
            made = {}
            for name, path in conversion.files.items():
                # Several files are made of one that the converter writes.
                base = target.base(PRECISIONS[name])
                made[base] = f"{source}_{base}.{target.name}"
                outputs.append((conversion, made[base], path, PRECISIONS[name]))
            jobs += [job | {"precision": base, "target": file} for base, file in made.items()]
        _run(jobs)
        for conversion, source, path, precision in outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            conversion.target.finish(source, path, precision, conversion)


def _run(jobs: list[dict]) -> None:
    script = pathlib.Path(__file__).with_name("_convert.py")
    # -P: the folder of the script holds modules whose names must not hide others.
    command = [sys.executable, "-P", str(script), json.dumps(jobs)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        cause = lines[-1] if lines and result.returncode == 1 else "the process was killed, perhaps for lack of memory"
        error = OSError if cause.startswith("OSError") else RuntimeError
        raise error(f"The conversion failed (exit status {result.returncode}): {cause}")
