"""Drawings of report.html: inline SVG whose colours are CSS variables, which suit light and dark pages."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

# matplotlib wants real colours; each of these stands for a CSS variable of report.css and is replaced in the SVG.
_INK, _GRID, _FAINT = "#010101", "#020202", "#030303"
_VARIABLES = {_INK: "--ink-2", _GRID: "--line", _FAINT: "--faint"}
_SERIES = ("#040404", "#050505", "#060606", "#070707", "#080808", "#090909")
_VARIABLES |= {colour: f"--series-{number}" for number, colour in enumerate(_SERIES)}
MODEL, BASELINE, THIRD = _SERIES[:3]
# Curves of more classes than colours say nothing; the report then shows the first ones and says so.
MAX_SERIES = len(_SERIES)


def training_curves(history: Mapping) -> list[tuple[str, str]]:
    """Draw loss by step (raw and smoothed), loss by epoch, and every metric by epoch.

    Args:
        history: dict with "steps" ({"step": [...], "loss": [...]}) and / or "epochs" ({"epoch": [...], "loss": [...],
            "val_loss": [...], "accuracy": [...], "val_accuracy": [...], ...}).

    Returns:
        list of (caption, SVG).
    """
    drawings = []
    steps, epochs = history.get("steps") or {}, history.get("epochs") or {}
    if steps.get("loss"):
        y = np.asarray(steps["loss"], dtype=np.float64)
        x = np.asarray(steps.get("step") or np.arange(1, y.size + 1), dtype=np.float64)
        figure, axes = _axes("Step", "Training loss")
        window = max(1, y.size // 40)
        if window > 1:
            keep = np.unique(np.linspace(0, y.size - 1, 800).astype(int))
            axes.plot(x[keep], y[keep], color=_FAINT, linewidth=1, label="each step")
            # A running mean over full windows only: its ends are as smooth as its middle.
            smooth, centre = (np.convolve(values, np.ones(window) / window, mode="valid") for values in (y, x))
            keep = np.unique(np.linspace(0, smooth.size - 1, 400).astype(int))
            axes.plot(centre[keep], smooth[keep], color=MODEL, label=f"mean of {window} steps")
            _legend(axes)
        else:
            axes.plot(x, y, color=MODEL, marker="o" if y.size == 1 else None)
        axes.set_ylim(bottom=0)
        drawings.append(("Loss by step", _svg(figure)))
    names = [name for name in epochs if name != "epoch" and not name.startswith("val_") and name != "learning_rate"]
    names += [name[4:] for name in epochs if name.startswith("val_") and name[4:] not in names]
    for name in names:
        if max(len(epochs.get(key) or ()) for key in (name, f"val_{name}")) < 2:
            continue  # one point is no curve; its figures are in the tables
        figure, axes = _axes("Epoch", name.replace("_", " ").capitalize())
        for key, label, colour in ((name, "training", BASELINE), (f"val_{name}", "validation", MODEL)):
            y = epochs.get(key)
            if y:
                x = epochs.get("epoch") or list(range(1, len(y) + 1))
                axes.plot(x[: len(y)], y, color=colour, label=label, marker="o", markersize=4)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(axes)
        drawings.append((f"{name.replace('_', ' ').capitalize()} by epoch", _svg(figure)))
    return drawings


def roc_and_pr(curves: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    """Draw ROC and precision-recall curves of the model and, dashed, of the baseline.

    Args:
        curves: dict name of a system -> result of `evaluation.curves`; "model" and, if wanted, "baseline".

    Returns:
        list of (caption, SVG).
    """
    drawings = []
    plans = (
        ("roc", "ROC", "False positive rate", "True positive rate"),
        ("pr", "Precision and recall", "Recall", "Precision"),
    )
    for key, caption, x_label, y_label in plans:
        figure, axes = _axes(x_label, y_label, square=True)
        drawn = 0
        for system, both in curves.items():
            several = len(both[key]) > 1
            if several and system != "model":
                continue
            for number, (name, points) in enumerate(list(both[key].items())[:MAX_SERIES]):
                colour = _SERIES[number] if several else {"model": MODEL}.get(system, BASELINE)
                style = "-" if system == "model" else (0, (4, 2))
                axes.plot(
                    points["x"], points["y"], color=colour, linestyle=style, label=_label(name) if several else system
                )
                drawn += 1
        if not drawn:
            continue
        if key == "roc":
            axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (2, 2)))
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        _legend(axes, "lower right" if key == "roc" else "lower left")
        drawings.append((caption, _svg(figure)))
    return drawings


def reliability(calibration: Mapping) -> str:
    """Draw accuracy over confidence, before and after temperature scaling, above the share of texts in each bin.

    Args:
        calibration: dict "calibration" of a model's report.

    Returns:
        SVG.
    """
    figure, (axes, shares) = _axes("Confidence", "Accuracy", rows=(3, 1), square=True)
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (2, 2)))
    low = 1.0
    plans = (("before", BASELINE, (0, (4, 2)), -1), ("after", MODEL, "-", 1))
    for when, colour, style, side in plans:
        filled = [entry for entry in calibration[f"bins_{when}"] if entry["n"]]
        total = sum(entry["n"] for entry in filled)
        low = min(low, filled[0]["low"])
        label = f"{when}: ECE {100 * calibration[f'ece_{when}']:.2f} %"
        x, y = [entry["confidence"] for entry in filled], [entry["accuracy"] for entry in filled]
        axes.plot(x, y, color=colour, linestyle=style, marker="o", label=label)
        for entry in filled:
            width = (entry["high"] - entry["low"]) * 0.4
            middle = (entry["high"] + entry["low"]) / 2 + side * width / 2
            shares.bar(middle, entry["n"] / total, width=width, color=colour)
    axes.set(xlim=(low - 0.02, 1.02), ylim=(-0.02, 1.02))
    shares.set(xlim=(low - 0.02, 1.02))
    shares.set_ylabel("Share")
    _legend(axes, "upper left")
    return _svg(figure)


def accuracy_by_length(buckets: Sequence[Mapping], baseline: Sequence[Mapping] | None = None) -> str:
    """Draw accuracy with its interval in each length bucket.

    Args:
        buckets: "by_length" of the model's report.
        baseline: the same of the baseline, default none.

    Returns:
        SVG.
    """
    figure, axes = _axes("Tokens", "Accuracy (%)")
    systems = [("model", MODEL, buckets), ("baseline", BASELINE, baseline or [])]
    for number, (name, colour, entries) in enumerate(systems):
        if not entries:
            continue
        place = np.arange(len(entries)) + (number - 0.5) * 0.18
        height = 100 * np.array([entry["accuracy"] for entry in entries])
        ends = 100 * np.array([entry["accuracy_interval"] for entry in entries]).T
        error = np.abs(ends - height)
        axes.errorbar(
            place, height, yerr=error, fmt="o" if not number else "s", color=colour, label=name, capsize=3, markersize=6
        )
    axes.set_xticks(np.arange(len(buckets)), [f"{length_name(b)}\nn = {b['n']:,}" for b in buckets])
    axes.set_xlim(-0.6, len(buckets) - 0.4)
    axes.grid(False, axis="x")
    _legend(axes, "best")
    return _svg(figure)


def scatter(actual: Sequence[float], predicted: Sequence[float]) -> str:
    """Draw predicted over actual numbers.

    Args:
        actual: sequence of float.
        predicted: sequence of float of the same length.

    Returns:
        SVG.
    """
    figure, axes = _axes("Actual", "Predicted", square=True)
    keep = np.unique(np.linspace(0, len(actual) - 1, 1000).astype(int))
    x, y = np.asarray(actual, dtype=np.float64)[keep], np.asarray(predicted, dtype=np.float64)[keep]
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axes.plot(ends, ends, color=_FAINT, linewidth=1, linestyle=(0, (2, 2)))
    axes.plot(x, y, "o", color=MODEL, markersize=3, alpha=0.6)
    return _svg(figure)


def length_name(bucket: Mapping) -> str:
    """Name a length bucket, as "65-128" or "513 or more".

    Args:
        bucket: dict with "low" and "high".

    Returns:
        str.
    """
    if bucket["high"] is None:
        return f"{bucket['low']} or more"
    return f"{bucket['low']}–{bucket['high']}"


def _axes(x_label: str, y_label: str, square: bool = False, rows: tuple[int, ...] = (1,)):
    """A figure without pyplot (no global state), in the report's look; with several rows they share the x axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3.9) if square else (4.5, 3.0), layout="constrained")
    grid = figure.subplots(len(rows), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
    figure.patch.set_alpha(0)
    for axes in grid:
        axes.patch.set_alpha(0)
        axes.set_prop_cycle(color=list(_SERIES))
        axes.grid(True, color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_INK, length=0)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_GRID)
    grid[-1].set_xlabel(x_label, color=_INK)
    for axes in grid:
        axes.yaxis.label.set_color(_INK)
    grid[0].set_ylabel(y_label)
    return figure, (grid[0] if len(rows) == 1 else grid)


def _label(name: str) -> str:
    """Return a class name as matplotlib shows it: no formula between dollars, not hidden by an underscore, short."""
    name = name if len(name) <= 28 else name[:27] + "…"
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def _legend(axes, place: str = "best") -> None:
    axes.legend(loc=place, frameon=False, labelcolor=_INK)


def _svg(figure) -> str:
    """Inline SVG: no header, no metadata, no namespaces (they look like addresses), ids of its own, CSS colours."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    # The text stays text: it takes the page's font and can be searched.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    # Width and height come from the page; without them the view box scales.
    opening = re.sub(r' (width|height)="[^"]*"', "", text[: text.index(">")])
    text = opening + text[text.index(">") :]
    text = re.sub(r"font(-family)?: [^;\"]*'[^;\"]*", lambda m: _plain_font(m.group(0)), text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    # Figures share a page: their ids must not meet.
    prefix = f"f{zlib.crc32(text.encode()):08x}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    return re.sub(r"url\(#", f"url(#{prefix}", text)


def _plain_font(style: str) -> str:
    """Keep size, drop the family, so that the page's own font is used."""
    size = re.search(r"[\d.]+px", style)
    return f"font-size: {size.group(0)}" if size and not style.startswith("font-family") else "font-family: inherit"
