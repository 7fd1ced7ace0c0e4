"""Verifies one file: single values within a tolerance in float32, the mean deviation with fewer bits."""

import os
import pathlib
from typing import Any

import numpy as np

from .checks import read_checks
from .deviations import centred, deviations, text_logits, token_logits
from .readers import reader_of
from .signatures import EMBEDDING, SERVING, Contract

ALONE = 4
"""Texts that are also run alone: a text's answer may not depend on its neighbours."""


class VerificationError(ValueError):
    """An artefact that does not give what its check texts say."""


def verify_file(path: pathlib.Path, tolerance: float) -> dict[str, Any]:
    """Runs the check texts that lie beside a `.tflite` or `.onnx` file.

    Args:
        path: The file.
        tolerance: float, largest absolute difference of a logit in float32.

    Returns:
        Dict with `path`, `format`, `precision`, `checks`, `max_difference` by signature, and `deviations`.

    Raises:
        VerificationError: If the file gives other values.
        FileNotFoundError: If check texts or contract are missing.
        ValueError: If the file, its check texts or its contract is damaged.
    """
    contract, checks = Contract.load(path.parent), read_checks(path.parent)
    reader = reader_of(path)
    run = reader.open(path, os.cpu_count())[1]
    name, precision = reader.format_of(path), reader.precision_of(path)
    expected = _expected(name, checks, contract)
    try:
        if name == "tflite_text":
            texts = [row["text"] for row in checks]
            logits = text_logits(run, texts, contract, tolerance=precision.served)
            # The first texts again, without neighbours.
            logits = np.concatenate([logits, text_logits(run, texts[:ALONE], contract, 1, precision.served)])
            expected = np.concatenate([expected, expected[:ALONE]])
        else:
            fixed = name == "tflite_tokens"
            logits = token_logits(run, [row["rows"] for row in checks], contract, fixed, precision.served)
    except Exception as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise VerificationError(f"{path}: the signature {SERVING} fails: {cause}") from error
    found = deviations(logits, expected, contract)
    result = {
        "path": str(path),
        "format": name,
        "precision": precision.name,
        "checks": len(checks),
        "max_difference": {SERVING: found["largest"]},
        "deviations": found,
    }
    if precision.deviation:
        right, limit = found["share"] <= precision.deviation, f"{precision.deviation:.0%} of their spread on average"
        given = f"{found['share']:.1%}"
    else:
        right, limit, given = found["largest"] <= tolerance, f"{tolerance:g}", f"{found['largest']:.3g}"
    if not right:
        raise VerificationError(
            f"{path}: the signature {SERVING} differs from the stored check values by {given}, more than {limit}. "
            "The export is not usable."
        )
    return result


def _expected(name: str, checks: list[dict[str, Any]], contract: Contract) -> np.ndarray:
    """What the check texts say that a file of this format gives."""
    if name == "mediapipe_embedder":
        return np.asarray([row[EMBEDDING] for row in checks])
    logits = np.asarray([row["logits"] for row in checks])
    return centred(logits, contract) if name == "mediapipe_classifier" else logits
