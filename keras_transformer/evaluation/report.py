"""report.html: one file that opens without a network and shows what a run reached and where it is wrong."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from importlib import resources

from keras_transformer.evaluation import figures
from keras_transformer.evaluation.arrays import check_tools
from keras_transformer.evaluation.html import card, escape, facts, figure, number, percent, section, table
from keras_transformer.evaluation.report_parts import (
    confusion_matrix,
    faithfulness,
    figures_of_class,
    headline,
    mistakes,
)


def write_report(path: str | os.PathLike, run: Mapping) -> None:
    """Write report.html; a section whose data is missing is left out.

    The file holds its style and its drawings and refers to nothing outside. All texts are escaped. It is written under
    a temporary name and renamed, so a half-written report is never seen.

    Args:
        path: str or path, the file; its folder must exist.
        run: dict, every key optional:

            - "title": str.
            - "summary": dict name -> str or number: what ran (data, start, recipe, machine, versions, duration, ...).
            - "metrics": dict of `make_metrics`; the test part is shown, or validation where there is no test part.
            - "history": {"steps": {"step": [...], "loss": [...]}, "epochs": {"epoch": [...], "loss": [...],
              "val_loss": [...], ...}}, both optional.
            - "pretraining": the same of the training before it, on text without labels.
            - "curves": {"model": `curves(...)`, "baseline": `curves(...)`}.
            - "scatter": {"actual": [...], "predicted": [...]}, for regression.
            - "mistakes": list of {"text": str, "label": str, "predicted": str, "probability": float, "id": str
              (optional), "words": [(word, start, end, score), ...] (optional; start and end count characters in text)}.
            - "faithfulness": {"completeness": {"n", "median", "percentile_95", "share_within_5_percent"}, "deletion":
              {"n", "share_top_larger", "mean_top", "mean_random"}}, as `explain.faithfulness` gives it.
            - "tasks": dict from the name of a task to a dict with "metrics", "curves", "scatter", "mistakes" and
              "faithfulness" of that task, where the run has several that share a training.
            - "tables": list of {"title", "columns": [...], "rows": [[...], ...], "note" (optional)}: anything else.
            - "recipe": dict, shown folded at the end.

    Raises:
        FileNotFoundError: if the folder does not exist.

    Example:
        ```python
        import pathlib, tempfile
        from keras_transformer.evaluation import write_report
        path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        write_report(path, {"title": "A run", "summary": {"Data": "12 texts"}})
        assert "A run" in path.read_text() and "http" not in path.read_text()
        ```
    """
    check_tools("matplotlib")
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of the report must exist. Received: {os.fspath(path)!r}")
    content = render(run)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render(run: Mapping) -> str:
    """Return the text of report.html.

    Args:
        run: dict as `write_report` takes it.

    Returns:
        str, a whole HTML document.
    """
    title = run.get("title") or "Training report"
    figures_first, details = _judged(run)
    body = [
        f"<header><h1>{escape(title)}</h1>{facts(run.get('summary') or {})}</header>",
        *figures_first,
        _training("Pretraining", run.get("pretraining") or {}),
        _training("Training", run.get("history") or {}),
        *details,
        *(_task(name, found) for name, found in (run.get("tasks") or {}).items()),
        *(_table(entry) for entry in run.get("tables") or []),
        _recipe(run.get("recipe")),
    ]
    style = resources.files("keras_transformer.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _judged(found: Mapping) -> tuple[list[str], list[str]]:
    """What was measured on a task: the figures, and all that is shown of them."""
    metrics = found.get("metrics") or {}
    part_name = "test" if (metrics.get("test") or {}).get("model") else "validation"
    part = metrics.get(part_name) or {}
    kind, model = metrics.get("kind", "single_label"), part.get("model") or {}
    details = [
        _decisions(part, kind, found),
        _calibration(model),
        _by_length(part),
        figures_of_class(model, kind),
        mistakes(found.get("mistakes") or []),
        faithfulness(found.get("faithfulness") or {}),
    ]
    return [headline(part, kind, part_name), _comparison(metrics, kind)], details


def _task(name: str, found: Mapping) -> str:
    figures_first, details = _judged(found)
    content = "\n".join(part for part in (*figures_first, *details) if part)
    return f'<section class="task">\n<h1>Task: {escape(name)}</h1>\n{content}\n</section>' if content else ""


def _comparison(metrics: Mapping, kind: str) -> str:
    """All figures side by side: model, baseline, uncleaned texts; test and validation."""
    rows = []
    for part_name, system in (
        ("test", "model"),
        ("test", "baseline"),
        ("test", "uncleaned"),
        ("validation", "model"),
        ("validation", "baseline"),
    ):
        report = (metrics.get(part_name) or {}).get(system)
        if report:
            name = "model, uncleaned texts" if system == "uncleaned" else system
            rows.append((f"{name.capitalize()} ({part_name})", report))
            if report.get("at_threshold") and system == "model":
                rows.append((f"{name.capitalize()} ({part_name}), chosen threshold", report["at_threshold"]))
    if not rows:
        return ""
    if kind == "regression":
        columns = {"mse": number, "mae": number, "r2": number, "pearson": number, "spearman": number}
        names = ["MSE", "MAE", "R²", "Pearson", "Spearman"]
    else:
        columns = {"accuracy": percent, "precision": percent, "recall": percent, "f1": percent}
        columns |= {"roc_auc": number, "pr_auc": number, "log_loss": number, "ece": percent}
        names = ["Accuracy", "Precision", "Recall", "F1", "ROC-AUC", "PR-AUC", "Log-loss", "ECE"]
    lines = [[name, *(show(report.get(key)) for key, show in columns.items())] for name, report in rows]
    note = "Precision, recall and F1 are means over the classes. The baseline is TF-IDF with a linear model. "
    threshold = metrics.get("threshold")
    if threshold and isinstance(threshold["value"], float):
        objective = {"f1": "F1"}.get(threshold["objective"], threshold["objective"])
        note += (
            f"The threshold {threshold['value']:.3f} was chosen on validation (highest {objective}); "
            "without it the more probable class is taken."
        )
    return section("All figures", "" if kind == "regression" else note, card(table(["", *names], lines)))


def _training(title: str, history: Mapping) -> str:
    drawings = figures.training_curves(history)
    return section(title, "", '<div class="grid">', *(figure(*drawing) for drawing in drawings), "</div>")


def _decisions(part: Mapping, kind: str, run: Mapping) -> str:
    """Confusion matrix, ROC and precision-recall; predicted over actual for regression."""
    content = []
    model = part.get("model") or {}
    if kind == "single_label" and model.get("confusion_matrix"):
        content.append(confusion_matrix(model["confusion_matrix"], model["class_names"]))
    content += [figure(*drawing) for drawing in figures.roc_and_pr(run.get("curves") or {})]
    if run.get("scatter"):
        content.append(figure("Predicted over actual", figures.scatter(**run["scatter"])))
    return section("Decisions", "", '<div class="grid">', *content, "</div>") if content else ""


def _calibration(model: Mapping) -> str:
    calibration = model.get("calibration")
    if not calibration:
        return ""
    entries = {
        "Temperature (fitted on validation)": number(calibration["temperature"]),
        "Expected calibration error before": percent(calibration["ece_before"]),
        "Expected calibration error after": percent(calibration["ece_after"]),
        "Log-loss before": number(calibration["log_loss_before"]),
        "Log-loss after": number(calibration["log_loss_after"]),
    }
    note = "Does 90 % mean 90 %? Accuracy over confidence, before and after the logits are divided by the temperature."
    drawing = figure("Reliability", figures.reliability(calibration))
    return section("Calibration", note, f'<div class="grid">{drawing}{card(facts(entries), "Figures")}</div>')


def _by_length(part: Mapping) -> str:
    buckets = (part.get("model") or {}).get("by_length")
    if not buckets:
        return ""
    other = (part.get("baseline") or {}).get("by_length")
    drawing = figure("Accuracy and its 95 % interval", figures.accuracy_by_length(buckets, other))
    rows = []
    for number_of, bucket in enumerate(buckets):
        low, high = bucket["accuracy_interval"]
        row = [figures.length_name(bucket), f"{bucket['n']:,}", percent(bucket["accuracy"])]
        row.append(f"{percent(low, 1)} – {percent(high, 1)}")
        if other:
            row.append(percent(other[number_of]["accuracy"]))
        rows.append(row)
    columns = ["Tokens", "Texts", "Accuracy", "95 % interval", *(["Baseline"] if other else [])]
    return section("By length", "", f'<div class="grid">{drawing}{card(table(columns, rows))}</div>')


def _table(entry: Mapping) -> str:
    content = card(table(list(entry["columns"]), [list(row) for row in entry["rows"]]))
    return section(entry["title"], escape(entry.get("note", "")), content)


def _recipe(recipe: Mapping | None) -> str:
    if not recipe:
        return ""
    text = json.dumps(recipe, indent=2, ensure_ascii=False, default=str)
    return section("Recipe", "", card(f"<details><summary>Show</summary><pre>{escape(text)}</pre></details>"))
