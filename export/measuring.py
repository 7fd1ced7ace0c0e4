"""Verifies what was written, measures it, and takes out the artefacts whose few bits cost too much."""

import logging
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from .accuracy import compare, logits_of, refusal
from .deviations import centred
from .precision import PRECISIONS, SAVED_MODEL, Precision
from .readers import reader_of
from .report import describe
from .signatures import Contract
from .speed import measure_speed
from .verify import VerificationError, verify_one

_log = logging.getLogger(__name__)


def verify_written(
    paths: Sequence[tuple[pathlib.Path, str]], root: pathlib.Path, tolerance: float
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Verifies artefacts; in float32 a difference is an error, a file of fewer bits that differs too much is removed.

    Args:
        paths: (path, format) of each.
        root: Folder of the report; paths in it are relative to it.
        tolerance: float, largest absolute difference of a logit or probability in float32.

    Returns:
        The report's entries of the artefacts that stay, and of those that do not.

    Raises:
        VerificationError: If an artefact in float32 differs, or none stays.
    """
    entries, refused = [], []
    for path, name in paths:
        try:
            entries.append(describe(path, verify_one(path, tolerance), root, tolerance) | {"format": name})
        except VerificationError as error:
            precision = reader_of(path).precision_of(path) if path.is_file() else PRECISIONS["float32"]
            if precision.name == "float32":
                raise
            refused.append(refusal_entry(name, precision, str(error).removeprefix(f"{path}: ")))
            path.unlink()
    if not entries:
        raise VerificationError(f"Nothing can be written: {refused[0]['reason']}")
    return entries, refused


def measure(
    entries: list[dict[str, Any]], root: pathlib.Path, pipeline, contract: Contract, held_out, speed: bool
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Measures accuracy and speed; an artefact of fewer bits that loses too much accuracy is removed.

    Args:
        entries: The report's entries; `held_out` and `speed` are added to them.
        root: Folder to which their paths are relative.
        pipeline: `TextPipeline` in float32.
        contract: `Contract` of the artefacts.
        held_out: `data.Examples`, or None to leave the accuracy out.
        speed: Whether latency and memory are measured.

    Returns:
        The entries of the artefacts that stay, and of those that do not.

    Raises:
        ValueError: If none stays.
    """
    kept, refused = [], []
    expected = None if held_out is None else pipeline.logits(held_out.texts)
    for entry in entries:
        path = root / entry["path"]
        if held_out is not None and entry["format"] != "mediapipe_embedder":
            precision = (PRECISIONS | SAVED_MODEL)[entry["precision"]]
            logits = logits_of(path, pipeline, held_out.texts, contract)
            wanted = centred(expected, contract) if entry["format"] == "mediapipe_classifier" else expected
            entry["held_out"] = compare(logits, wanted, held_out.labels, contract)
            reason = refusal(entry["held_out"], precision)
            if reason:
                refused.append(refusal_entry(entry["format"], precision, reason))
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                continue
        if speed:
            entry["speed"] = measure_speed(path)
        kept.append(entry)
    if not kept:
        raise ValueError(f"Nothing can be written: {refused[0]['reason']}")
    return kept, refused


def refusal_entry(name: str, precision: Precision, reason: str) -> dict[str, str]:
    """Logs that a file is not written, and returns the report's entry."""
    _log.warning("%s in %s is not written: %s", name, precision.name, reason)
    return {"format": name, "precision": precision.name, "reason": reason}
