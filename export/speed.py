"""How long one answer of an artefact takes, and how much memory it needs, measured in a process of its own."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np

from .checks import read_checks, token_batch
from .readers import reader_of
from .signatures import TEXT, Contract

THREADS = (1, 2)
CALLS = 50
PERCENTILES = (50, 90, 99)


def measure_speed(path: str | pathlib.Path, calls: int = CALLS) -> dict[str, Any]:
    """Times an artefact with one text at a time: of the check texts that lie beside it, the one of median length.

    Args:
        path: str or path of a `.tflite` or `.onnx` file, or of the version folder of a SavedModel.
        calls: int, calls that are timed, after three that are not. Default 50.

    Returns:
        Dict with `tokens`, the length of the text; `padded`, that of the row that is computed; `calls`; `threads`:
        number of threads ("1", "2") -> `p50`, `p90` and `p99` in milliseconds; `megabytes`, the resident memory that
        loading the model and running it took, with two threads.

    Raises:
        FileNotFoundError: If the check texts are missing.
        RuntimeError: If the artefact fails.
    """
    path = pathlib.Path(path)
    beside = path.parent if path.is_file() else path / "assets.extra"
    checks = read_checks(beside)
    check = sorted(checks, key=lambda row: len(row["rows"][0]))[len(checks) // 2]
    tokens = padded = len(check["rows"][0])
    takes_text = path.is_dir() or reader_of(path).open(path, None)[0]
    if takes_text:
        inputs = {TEXT: [check["text"]]}
    else:
        padded = reader_of(path).fixed_length(path) or tokens
        batch = token_batch(check["rows"][:1], min(padded, Contract.load(beside).max_length))
        inputs = {name: values.tolist() for name, values in batch.items()}
    result: dict[str, Any] = {"tokens": tokens, "padded": padded, "calls": calls, "threads": {}}
    for threads in THREADS:
        given = _run({"path": str(path), "inputs": inputs, "threads": threads, "calls": calls})
        times = np.percentile(given["milliseconds"], PERCENTILES)
        result["threads"][str(threads)] = {
            f"p{percentile}": float(value) for percentile, value in zip(PERCENTILES, times, strict=True)
        }
        result["megabytes"] = given["megabytes"]
    return result


def _run(job: dict[str, Any]) -> dict[str, Any]:
    # -P: the folder of the script holds modules whose names must not hide others.
    command = [sys.executable, "-P", str(pathlib.Path(__file__).with_name("_speed.py"))]
    result = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["the process was killed"]
        raise RuntimeError(f"{job['path']} cannot be timed (exit status {result.returncode}): {lines[-1]}")
    return json.loads(result.stdout.splitlines()[-1])
