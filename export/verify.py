"""Runs the stored check texts through a written artefact and compares: an export is verified or it is not written."""

import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .checks import read_checks
from .deviations import deviations, served_logits
from .differences import TOLERANCE
from .generator import GENERATION_FILE, verify_generator
from .precision import SAVED_MODEL
from .readers import READERS
from .runners import open_saved_model
from .serving.files import check_batching
from .serving.warmup import replay
from .signatures import EMBEDDING, LOGITS, TEXT_LOGITS, Contract
from .tasks import task_of
from .verify_file import VerificationError, verify_file

ROUNDED = 0.05
"""Largest difference of a single value in few bits, as a share of the largest: the mean deviation is held tighter."""


def verify(path: str | pathlib.Path, tolerance: float = TOLERANCE) -> list[dict[str, Any]]:
    """Verifies an artefact with the check texts that are stored beside it.

    Args:
        path: A `.tflite` or `.onnx` file, a version folder of a SavedModel, or a folder that holds such artefacts.
        tolerance: float, largest absolute difference of a logit or probability in float32. Default 1e-4.

    Returns:
        One dict an artefact: `path`, `format`, `checks` (number of texts), `max_difference` by signature.

    Raises:
        FileNotFoundError: If there is no artefact.
        VerificationError: If an artefact gives other values than its check texts say.
    """
    path = pathlib.Path(path)
    artefacts = list(_artefacts(path))
    if not artefacts:
        raise FileNotFoundError(f"No SavedModel and no .tflite or .onnx file in {path}.")
    return [verify_one(artefact, tolerance) for artefact in artefacts]


def verify_one(path: pathlib.Path, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Verifies one file or one version folder of a SavedModel; arguments and results as for `verify`."""
    if path.suffix in READERS:
        return verify_file(path, tolerance)
    beside = path / "assets.extra"
    if (beside / GENERATION_FILE).is_file():
        return verify_generator(path)
    contract, checks = Contract.load(beside), read_checks(beside)
    runs = open_saved_model(path)
    comparisons = task_of(contract.kind).comparisons(contract)
    if set(runs) != set(comparisons):
        names = f"{', '.join(sorted(comparisons))}. Received: {', '.join(sorted(runs))}"
        raise VerificationError(f"{path}: a model of the kind {contract.kind} has the signatures {names}")
    compare = {
        name: functools.partial(difference, runs[name], contract, checks, tolerance)
        for name, difference in comparisons.items()
    }
    found = _deviations_in_few_bits(path, runs, contract, checks)
    tolerance = _allowed(contract, checks, tolerance)
    differences = {}
    for name, measure in compare.items():
        try:
            differences[name] = measure()
        except Exception as error:
            raise VerificationError(f"{path}: the signature {name} fails: {_first_line(error)}") from error
        if not differences[name] <= tolerance:
            raise VerificationError(
                f"{path}: the signature {name} differs from the stored check values by {differences[name]:.3g}, "
                f"more than {tolerance:g}. The export is not usable."
            )
    result = {
        "path": str(path),
        "format": "saved_model",
        "precision": contract.dtype,
        "checks": len(checks),
        "max_difference": differences,
        "tolerance": tolerance,
    } | found
    try:
        check_batching(path)
        result["warmup_requests"] = replay(path, runs)
    except ValueError as error:
        raise VerificationError(f"{path}: a server would not load it: {_first_line(error)}") from error
    return result


def _deviations_in_few_bits(path: pathlib.Path, runs, contract: Contract, checks: list[dict]) -> dict[str, Any]:
    """Checks the mean deviation of a SavedModel whose single values are rounded; empty for one in float32."""
    limit = SAVED_MODEL[contract.dtype].deviation
    if not limit or TEXT_LOGITS not in runs:
        return {}
    logits = served_logits(runs[TEXT_LOGITS], [row["text"] for row in checks])
    found = deviations(logits, np.asarray([row[LOGITS] for row in checks]), contract)
    if not found["share"] <= limit:
        raise VerificationError(
            f"{path}: the signature {TEXT_LOGITS} differs from the stored check values by {found['share']:.1%}, more "
            f"than {limit:.0%} of their spread on average. The export is not usable."
        )
    return {"deviations": found}


def _allowed(contract: Contract, checks: list[dict], tolerance: float) -> float:
    """The largest difference of a single value: `tolerance` in float32, else a share of the largest one."""
    if contract.dtype == "float32":
        return tolerance
    largest = max(abs(value) for row in checks for name in (LOGITS, EMBEDDING) for value in row.get(name, ()))
    return max(tolerance, ROUNDED * max(1.0, largest))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _artefacts(path: pathlib.Path) -> Iterator[pathlib.Path]:
    if (path.suffix in READERS and path.is_file()) or (path / "saved_model.pb").is_file():
        yield path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            if not entry.name.startswith("."):
                yield from _artefacts(entry)
