"""The parts of report.html that are not drawings: headline, confusion matrix, mistakes, faithfulness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keras_transformer.evaluation.html import card, escape, facts, number, percent, section, table, tile

# A larger matrix cannot be read; the report then lists the most frequent confusions.
_LARGEST_MATRIX = 15


def headline(part: Mapping, kind: str, part_name: str) -> str:
    """Show the figures that matter most: model, baseline and their difference with its interval.

    Args:
        part: dict "model", "baseline", "difference" of metrics.json.
        kind: str, kind of task.
        part_name: str, "test" or "validation".

    Returns:
        str, HTML; empty without a model.
    """
    model, baseline, change = part.get("model"), part.get("baseline"), part.get("difference")
    if not model:
        return ""
    show = number if kind == "regression" else percent
    key, name = ("mse", "MSE") if kind == "regression" else ("accuracy", "accuracy")
    tiles = [tile(f"{part_name.capitalize()} {name}, model", show(model[key]), _interval(model), "main")]
    if baseline:
        tiles.append(tile(f"{part_name.capitalize()} {name}, baseline", show(baseline[key]), _interval(baseline)))
    if change:
        tiles.append(_difference(change, kind))
    if kind == "regression":
        tiles.append(tile("Correlation (Pearson)", number(model["pearson"]), f"Spearman {number(model['spearman'])}"))
    else:
        tiles.append(tile("ROC-AUC", number(model["roc_auc"]), f"F1 {percent(model['f1'])}"))
        calibration = model.get("calibration")
        if calibration:
            before = f"before temperature scaling {percent(calibration['ece_before'])}"
            tiles.append(tile("Calibration error", percent(calibration["ece_after"]), before))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def confusion_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Show counts, coloured by their share of the true class; for many classes, the most frequent confusions.

    Args:
        matrix: list of rows (true class) of counts (decision).
        names: class names.

    Returns:
        str, HTML.
    """
    if len(names) > _LARGEST_MATRIX:
        pairs = [(matrix[i][j], names[i], names[j]) for i in range(len(names)) for j in range(len(names)) if i != j]
        pairs = sorted((pair for pair in pairs if pair[0]), key=lambda pair: -pair[0])[:20]
        rows = [[f"{true} → {decided}", f"{count:,}"] for count, true, decided in pairs]
        return card(table(["True class → decision", "Texts"], rows), "Most frequent confusions")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for i, row in enumerate(matrix):
        total = max(1, sum(row))
        body += f"<tr><th>{escape(names[i])}</th>"
        for j, count in enumerate(row):
            colour = "--good" if i == j else "--bad"
            shade = f"background: color-mix(in srgb, var({colour}) {60 * count / total:.0f}%, transparent)"
            body += f'<td style="{shade}">{count:,}<span class="share">{percent(count / total, 1)}</span></td>'
        body += "</tr>"
    dense = " dense" if len(names) > 6 else ""
    content = (
        f'<div class="wide"><table class="matrix{dense}"><thead><tr><th></th>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="note">Rows: true class. Columns: decision.</p>'
    )
    return card(content, "Confusion matrix")


def figures_of_class(model: Mapping, kind: str) -> str:
    """Show precision, recall, F1 and areas of each class or label, or the figures of each regressed value.

    Args:
        model: report of the model.
        kind: str, kind of task.

    Returns:
        str, HTML; empty where there is nothing to show.
    """
    if kind == "regression":
        entries = model.get("by_output") or []
        if len(entries) < 2:
            return ""
        keys = ["mse", "mae", "r2", "pearson", "spearman"]
        rows = [[entry["name"], *(number(entry[key]) for key in keys)] for entry in entries]
        return section("By output", "", card(table(["Output", "MSE", "MAE", "R²", "Pearson", "Spearman"], rows)))
    rows = []
    for entry in model.get("by_class") or []:
        interval = entry["recall_interval"]
        spread = f"{percent(interval[0], 1)} – {percent(interval[1], 1)}" if interval else "–"
        rows.append(
            [
                entry["name"],
                f"{entry['n']:,}",
                percent(entry["precision"]),
                percent(entry["recall"]),
                spread,
                percent(entry["f1"]),
                number(entry["roc_auc"]),
                number(entry["pr_auc"]),
            ]
        )
    if not rows:
        return ""
    columns = ["Class", "Texts", "Precision", "Recall", "95 % interval of recall", "F1", "ROC-AUC", "PR-AUC"]
    note = "Recall is the accuracy on the texts of that class."
    return section("By label" if kind == "multi_label" else "By class", note, card(table(columns, rows)))


def mistakes(entries: Sequence[Mapping]) -> str:
    """Show wrongly decided texts with the words that drove the decision.

    Args:
        entries: list "mistakes" as `write_report` takes it.

    Returns:
        str, HTML; empty for an empty list.
    """
    if not entries:
        return ""
    note = "The wrong decisions that the model was surest of."
    if any(entry.get("words") for entry in entries):
        note += (
            ' <span class="key">Words that pushed <mark class="push">towards the wrong decision</mark> and '
            '<mark class="pull">against it</mark> (integrated gradients; the stronger the colour, the more).</span>'
        )
    cards = []
    for entry in entries:
        identifier = f'<span class="id">{escape(entry["id"])}</span>' if entry.get("id") else ""
        decided = f"{escape(entry['predicted'])} ({percent(entry['probability'], 1)})"
        label = escape(entry["label"])
        cards.append(
            f'<div class="card mistake"><div class="head"><span>true: <b class="good">{label}</b></span>'
            f'<span>decided: <b class="bad">{decided}</b></span>{identifier}</div>'
            f'<div class="text">{highlight(entry["text"], entry.get("words") or [])}</div></div>'
        )
    return section("Worst mistakes", note, *cards)


def highlight(text: str, words: Sequence[Sequence]) -> str:
    """Colour the words of a text by their score; words that weigh next to nothing stay plain.

    Args:
        text: str.
        words: sequence of (word, start, end, score), positions in characters; they may not overlap.

    Returns:
        str, HTML.

    Raises:
        ValueError: if a position lies outside the text or two words overlap.
    """
    strongest = max((abs(score) for *_, score in words), default=0.0) or 1.0
    parts, position = [], 0
    for _, start, end, score in sorted(words, key=lambda word: word[1]):
        if not position <= start <= end <= len(text):
            raise ValueError(f"Words must lie in the text, without overlap. Received: {(start, end)} of {len(text)}")
        strength = 0.65 * abs(score) / strongest
        if strength < 0.05:
            continue
        parts.append(escape(text[position:start]))
        side, style = "push" if score > 0 else "pull", f"--strength: {strength:.2f}"
        parts.append(f'<mark class="{side}" style="{style}" title="{score:+.3f}">{escape(text[start:end])}</mark>')
        position = end
    return "".join(parts) + escape(text[position:])


def faithfulness(figures: Mapping) -> str:
    """Say how far the coloured words can be trusted.

    Args:
        figures: dict "faithfulness" as `write_report` takes it.

    Returns:
        str, HTML; empty for an empty dict.
    """
    cards = []
    if figures.get("completeness"):
        values = figures["completeness"]
        entries = {
            "Texts": f"{values['n']:,}",
            "Within 5 %": percent(values["share_within_5_percent"], 1),
            "Median error": percent(values["median"]),
            "95th percentile": percent(values["percentile_95"]),
        }
        note = "The scores of the words add up to the logit, less the logit of the empty text."
        cards.append(card(f'<p class="note">{note}</p>{facts(entries)}', "Completeness"))
    if figures.get("deletion"):
        values = figures["deletion"]
        entries = {
            "Texts": f"{values['n']:,}",
            "Top five words move the logit more": percent(values["share_top_larger"], 1),
            "Mean change, top five": number(values["mean_top"]),
            "Mean change, random five": number(values["mean_random"]),
        }
        note = "Deleting the five words with the highest scores, against deleting five random words."
        cards.append(card(f'<p class="note">{note}</p>{facts(entries)}', "Deletion test"))
    content = f'<div class="grid">{"".join(cards)}</div>' if cards else ""
    return section("Can the explanations be trusted?", "", content)


def _interval(report: Mapping) -> str:
    count = f"{report['n']:,} texts"
    if "accuracy_interval" not in report:
        return count
    low, high = report["accuracy_interval"]
    return f"95 %: {percent(low, 1)} – {percent(high, 1)}, {count}"


def _difference(change: Mapping, kind: str) -> str:
    scale, unit = (1, "MSE") if kind == "regression" else (100, "points")
    value, low, high = (change[key] * scale for key in ("difference", "low", "high"))
    better = (low > 0) if change["higher_is_better"] else (high < 0)
    worse = (high < 0) if change["higher_is_better"] else (low > 0)
    verdict = "model better" if better else "baseline better" if worse else "no clear difference"
    digits = 4 if kind == "regression" else 2
    detail = f"95 %: {low:+.{digits}f} to {high:+.{digits}f}; {verdict}"
    return tile(f"Model − baseline ({unit})", f"{value:+.{digits}f}", detail)
