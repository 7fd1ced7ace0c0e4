"""`report.json`: what an export wrote, how large it is, which operators it needs, and how closely it agrees."""

import json
import pathlib
import platform
from typing import Any

from .checks import token_batch
from .operators import optimized_operators, saved_model_operators
from .readers import reader_of
from .report_html import HTML_FILE, html_of
from .signatures import SERVING, TEXT, TOKENS
from .staging import write_text

REPORT_FILE = "report.json"


def describe(path: pathlib.Path, verified: dict[str, Any], root: pathlib.Path, tolerance: float) -> dict[str, Any]:
    """Returns the entry of one verified artefact.

    Args:
        path: The file or the version folder.
        verified: What `verify_one` returned.
        root: Folder of the report; paths are relative to it.
        tolerance: float, the difference that was allowed, unless `verified` says another one.

    Returns:
        Dict with `path`, `format`, `bytes`, `checks`, `max_difference`, `tolerance` and `operators`; of a SavedModel
        also `warmup_requests`; `precision`; `deviations` of a file and of what has fewer bits; of a `.tflite`
        `partitions`.
    """
    if path.is_file():
        size, details = path.stat().st_size, reader_of(path).describe(path)
    else:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        inputs = {SERVING: {TEXT: ["A short text.", "Another."]}, TOKENS: token_batch([[0, 0, 0]] * 2, 4)}
        operators = {"stored": saved_model_operators(path)}
        for name in [name for name in inputs if name in verified["max_difference"]]:
            operators[f"{name} on this CPU"] = optimized_operators(path, name, inputs[name])
        details = {"operators": operators}
    details |= {name: verified[name] for name in ("warmup_requests", "precision", "deviations") if name in verified}
    return details | {
        "path": path.relative_to(root).as_posix(),
        "format": verified["format"],
        "bytes": size,
        "checks": verified["checks"],
        "max_difference": verified["max_difference"],
        "tolerance": verified.get("tolerance", tolerance),
    }


def read_report(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the report of a folder, or an empty one if there is none that can be read."""
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        return report if isinstance(report.get("artefacts"), list) else {"artefacts": []}
    except (OSError, ValueError, AttributeError):
        return {"artefacts": []}


def write_report(out_dir: pathlib.Path, written: list[dict], refused: list[dict]) -> dict[str, Any]:
    """Writes the report of an export beside its artefacts.

    Args:
        out_dir: Folder of the export.
        written: Entries of what was written now; earlier entries stay if their artefacts are still there.
        refused: `format` and `reason` of what could not be written.

    Returns:
        The report.
    """
    import keras
    import tensorflow as tf

    paths = [entry["path"] for entry in written]
    older = [
        entry
        for entry in read_report(out_dir)["artefacts"]
        if entry["path"] not in paths and (out_dir / entry["path"]).exists()
    ]
    report = {
        "artefacts": older + written,
        "written": paths,
        "refused": refused,
        "versions": {"python": platform.python_version(), "tensorflow": tf.__version__, "keras": keras.__version__},
    }
    write_text(out_dir / REPORT_FILE, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    write_text(out_dir / HTML_FILE, html_of(report))
    return report
