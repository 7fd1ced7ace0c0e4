"""`report.html` of an export: what `report.json` holds, in one file that opens without a network."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from keras_transformer.evaluation.html import card, escape, facts, number, percent, section, table

HTML_FILE = "report.html"
_DASH = "–"


def html_of(report: Mapping[str, Any]) -> str:
    """Returns a report as a whole HTML document.

    Args:
        report: What `export_pipeline` returns.

    Example:
        ```python
        from keras_transformer.export.report_html import html_of

        page = html_of({"artefacts": [], "refused": [], "written": [], "versions": {"python": "3.11"}})
        assert page.startswith("<!doctype html>") and "http" not in page
        ```
    """
    artefacts = report["artefacts"]
    body = [
        f"<header><h1>Export</h1>{facts(report['versions'])}</header>",
        _agreement(artefacts),
        _held_out(artefacts),
        _speed(artefacts),
        _refused(report["refused"]),
        _operators(artefacts),
    ]
    style = resources.files("keras_transformer.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Export</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _agreement(artefacts: list[Mapping]) -> str:
    rows = []
    for entry in artefacts:
        found = entry.get("deviations", {})
        rows.append(
            [
                entry["path"],
                f"{entry['bytes'] / 1e6:.2f} MB",
                entry.get("precision", "float32"),
                str(entry.get("checks", _DASH)),
                number(max(entry.get("max_difference", {}).values(), default=None)),
                number(found["mean"]) if found else _DASH,
                percent(found["share"]) if found else _DASH,
                str(entry.get("partitions", _DASH)),
            ]
        )
    columns = ["", "Size", "Precision", "Check texts", "Largest difference", "Mean", "Of their spread", "Partitions"]
    note = (
        "Every artefact was run on the check texts that were stored with the trained model, and compared with the "
        "logits of Keras. The spread is how much the logits of different texts differ from their mean. Partitions: "
        "parts of the graph that the fast kernels of XNNPACK run as a whole."
    )
    return section("Artefacts", note, card(table(columns, rows)))


def _held_out(artefacts: list[Mapping]) -> str:
    measured = [entry for entry in artefacts if "held_out" in entry]
    if not measured:
        return ""
    rows = []
    for entry in measured:
        found = entry["held_out"]
        of_labels = found["lost"] is not None
        show = percent if of_labels else number
        rows.append(
            [
                entry["path"],
                f"{found['texts']:,}",
                show(found["score"]),
                show(found["keras_score"]),
                f"{found['lost']:+.2f}" if of_labels else _DASH,
                _DASH if found["flips"] is None else f"{found['flips']:,}",
                number(found["largest"]),
                number(found["mean"]),
            ]
        )
    score = "Accuracy" if measured[0]["held_out"]["lost"] is not None else "RMSE"
    columns = ["", "Texts", score, "Keras", "Points lost", "Other label", "Largest difference", "Mean"]
    note = "On texts that the model was not trained on. “Other label”: texts whose label is not that of Keras."
    return section("Held-out texts", note, card(table(columns, rows)))


def _speed(artefacts: list[Mapping]) -> str:
    rows = []
    for entry in artefacts:
        found = entry.get("speed")
        for threads, times in found["threads"].items() if found else ():
            length = str(found["tokens"])
            if found["padded"] != found["tokens"]:
                length += f" in {found['padded']}"
            times = [f"{times[name]:.1f}" for name in ("p50", "p90", "p99")]
            rows.append([entry["path"], threads, length, *times, f"{found['megabytes']:.0f} MB"])
    if not rows:
        return ""
    columns = ["", "Threads", "Tokens", "p50 (ms)", "p90 (ms)", "p99 (ms)", "Memory"]
    note = (
        "One text at a time, on the machine that exported, with whatever else it was doing. Memory: resident, taken by "
        "loading the model and running it."
    )
    return section("Latency and memory", note, card(table(columns, rows)))


def _refused(refused: list[Mapping]) -> str:
    rows = [[entry["format"], entry.get("precision", _DASH), entry["reason"]] for entry in refused]
    return section("Not written", "", card(table(["Format", "Precision", "Reason"], rows))) if rows else ""


def _operators(artefacts: list[Mapping]) -> str:
    parts = []
    for entry in artefacts:
        for name, counts in entry.get("operators", {}).items():
            if isinstance(counts, Mapping) and counts:
                listed = ", ".join(f"{operator} {count}" for operator, count in counts.items())
                title = f"{entry['path']}: {name}"
                parts.append(f"<details><summary>{escape(title)}</summary><p>{escape(listed)}</p></details>")
    return section("Operators", "", card("".join(parts))) if parts else ""
