"""Runs the stored check texts through a written artefact and compares: an export is verified or it is not written."""

import math
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .checks import read_checks, token_batch
from .runners import open_saved_model, open_tflite
from .signatures import LABEL, LABELS, LOGITS, OUTPUTS, SERVING, TEXT_LOGITS, TOKENS, Contract

TOLERANCE = 1e-4
"""Largest absolute difference of a logit or probability that passes."""
BATCH = 8
"""Texts at a time; some are also run alone, because a text's answer may not depend on its neighbours."""
ALONE = 4


class VerificationError(ValueError):
    """An artefact that does not give what its check texts say."""


def verify(path: str | pathlib.Path, tolerance: float = TOLERANCE) -> list[dict[str, Any]]:
    """Verifies an artefact with the check texts that are stored beside it.

    Args:
        path: A `.tflite` file, a version folder of a SavedModel, or a folder that holds such artefacts.
        tolerance: float, largest absolute difference of a logit or probability. Default 1e-4.

    Returns:
        One dict an artefact: `path`, `format`, `checks` (number of texts), `max_difference` by signature.

    Raises:
        FileNotFoundError: If there is no artefact.
        VerificationError: If an artefact gives other values than its check texts say.
    """
    path = pathlib.Path(path)
    artefacts = list(_artefacts(path))
    if not artefacts:
        raise FileNotFoundError(f"No SavedModel and no .tflite file in {path}.")
    return [verify_one(artefact, tolerance) for artefact in artefacts]


def verify_one(path: pathlib.Path, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Verifies one `.tflite` file or one version folder of a SavedModel; arguments and results as for `verify`."""
    is_file = path.suffix == ".tflite"
    beside = path.parent if is_file else path / "assets.extra"
    contract, checks = Contract.load(beside), read_checks(beside)
    served = OUTPUTS[contract.kind]
    if is_file:
        takes_text, run = open_tflite(path, num_threads=os.cpu_count())
        kind = "tflite_text" if takes_text else "tflite_tokens"
        if takes_text:
            compare = {SERVING: lambda: text_difference(run, contract, checks, (*served, LOGITS), tolerance)}
        else:
            # The file has a static shape: one row at a time, padded to the full length.
            compare = {SERVING: lambda: token_difference(run, contract, checks, 1, contract.max_length)}
    else:
        kind, runs = "saved_model", open_saved_model(path)
        compare = {
            SERVING: lambda: text_difference(runs[SERVING], contract, checks, served, tolerance),
            TOKENS: lambda: token_difference(runs[TOKENS], contract, checks, BATCH, None),
            TEXT_LOGITS: lambda: text_difference(runs[TEXT_LOGITS], contract, checks, (LOGITS,), tolerance),
        }
    differences = {}
    for name, measure in compare.items():
        try:
            differences[name] = measure()
        except Exception as error:
            raise VerificationError(f"{path}: the signature {name} fails: {str(error).splitlines()[0]}") from error
        if not differences[name] <= tolerance:
            raise VerificationError(
                f"{path}: the signature {name} differs from the stored check values by {differences[name]:.3g}, "
                f"more than {tolerance:g}. The export is not usable."
            )
    return {"path": str(path), "format": kind, "checks": len(checks), "max_difference": differences}


def text_difference(
    run: Callable, contract: Contract, checks: list[dict], names: Sequence[str], tolerance: float = TOLERANCE
) -> float:
    """Returns the largest difference that a text signature shows, in batches of mixed length and alone.

    Args:
        run: Function of `text=` that returns the outputs.
        contract: `Contract` of the artefact.
        checks: Rows with `text` and `logits`.
        names: Names of the outputs.
        tolerance: float, below which a difference may change the label of an undecided text. Default 1e-4.

    Returns:
        Largest absolute difference of a number; infinity for one that is not finite or for a wrong label.
    """
    texts = [row["text"] for row in checks]
    logits = np.asarray([row["logits"] for row in checks], np.float64)
    parts = [range(start, min(start + BATCH, len(texts))) for start in range(0, len(texts), BATCH)]
    parts += [range(i, i + 1) for i in range(min(ALONE, len(texts)))]
    worst = 0.0
    for part in parts:
        outputs = run(text=[texts[i] for i in part])
        worst = max(worst, _difference(outputs, contract, logits[list(part)], names, tolerance))
    return worst


def token_difference(run: Callable, contract: Contract, checks: list[dict], batch: int, length: int | None) -> float:
    """Returns the largest difference that a token signature shows.

    Args:
        run: Function of the three token inputs that returns the served outputs and `logits`.
        contract: `Contract` of the artefact.
        checks: Rows with `rows` and `logits`.
        batch: int, rows at a time.
        length: int, length to pad to; None for the longest of the batch.

    Returns:
        As for `text_difference`.
    """
    rows = [row for check in checks for row in check["rows"]]
    names = (*OUTPUTS[contract.kind], LOGITS)
    logits = []
    worst = 0.0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        outputs = run(**token_batch(part, length or max(map(len, part))))
        logits.append(outputs[LOGITS])
        # What is served must follow from the logits of the same call.
        worst = max(worst, _difference(outputs, contract, logits[-1], names, TOLERANCE))
    ends = np.cumsum([len(check["rows"]) for check in checks])
    pooled = [part.mean(axis=0) for part in np.split(np.concatenate(logits), ends[:-1])]
    return max(worst, _largest(np.asarray(pooled), [check["logits"] for check in checks]))


def _difference(outputs: dict, contract: Contract, logits: np.ndarray, names: Sequence[str], tolerance: float) -> float:
    expected = {LOGITS: np.asarray(logits)} | contract.expected(logits)
    if set(outputs) != set(names):
        raise ValueError(f"the outputs are {sorted(outputs)}, and should be {sorted(names)}")
    worst = 0.0
    for name in names:
        given, wanted = outputs[name], expected[name]
        if given.shape != wanted.shape:
            raise ValueError(f"{name} has the shape {given.shape}, and should have {wanted.shape}")
        if name in (LABEL, LABELS):
            given = np.vectorize(bytes.decode, otypes=[object])(given)
            wrong = (given != wanted) & ~contract.undecided(logits, tolerance)
            worst = math.inf if wrong.any() else worst
        else:
            worst = max(worst, _largest(given, wanted))
    return worst


def _largest(values, expected) -> float:
    difference = np.abs(np.asarray(values, np.float64) - np.asarray(expected, np.float64)).max()
    return float(difference) if np.isfinite(difference) else math.inf


def _artefacts(path: pathlib.Path) -> Iterator[pathlib.Path]:
    if (path.suffix == ".tflite" and path.is_file()) or (path / "saved_model.pb").is_file():
        yield path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            if not entry.name.startswith("."):
                yield from _artefacts(entry)
