"""`MODEL_CARD.md`: what an export is, for people who get the files and nothing else."""

import pathlib
from typing import Any

from .signatures import Contract
from .staging import write_text

CARD_FILE = "MODEL_CARD.md"
_TASKS = {
    "single_label": "Text classification: one of {count} labels",
    "multi_label": "Text classification: any of {count} labels",
    "regression": "Text regression: {count} value(s)",
}
_TRUNCATION = {
    "head": "keeps the beginning of a longer text",
    "head_tail": "keeps the beginning and the end of a longer text",
    "windows": "reads a longer text in windows and averages their logits",
}


def write_card(out_dir: pathlib.Path, report: dict[str, Any], contract: Contract, packer: Any) -> None:
    """Writes the card of an export.

    Args:
        out_dir: Folder of the export.
        report: What `write_report` returned.
        contract: `Contract` of the artefacts.
        packer: `TextPacker` of the pipeline.

    Raises:
        OSError: If the file cannot be written.
    """
    write_text(out_dir / CARD_FILE, card_of(report, contract, type(packer.tokenizer).__name__))


def card_of(report: dict[str, Any], contract: Contract, tokenizer: str) -> str:
    """Returns the card as Markdown.

    Args:
        report: What `write_report` returned.
        contract: `Contract` of the artefacts.
        tokenizer: str, name of the tokenizer's class.
    """
    lines = [
        "# Model card",
        "",
        f"{_TASKS.get(contract.kind, f'A model of the kind {contract.kind}').format(count=len(contract.class_names))}.",
        "",
        f"- Names of the outputs, in their order: {', '.join(f'`{name}`' for name in contract.class_names)}.",
        *_decision(contract),
        f"- Input: text, cut into tokens by a {tokenizer}; the model reads at most {contract.max_length} tokens and "
        f"{_TRUNCATION[contract.truncation]}.",
        "",
        "| file | precision | size | check texts | largest difference from Keras | accuracy on held-out texts |",
        "|---|---|---|---|---|---|",
        *map(_row, report["artefacts"]),
        "",
        f"Made with TensorFlow {report['versions']['tensorflow']} and Keras {report['versions']['keras']}. All figures "
        "are in `report.html`. The model answers as its training texts were labelled; what it makes of other kinds of "
        "text, other times or other languages is not known.",
    ]
    return "\n".join(lines) + "\n"


def _decision(contract: Contract) -> list[str]:
    """How answers follow from the outputs; of a kind that a further task brought, nothing is known."""
    scaled = f"logits are divided by {contract.temperature:.4g} first"
    known = {
        "single_label": f"- The label is the most probable one; {scaled}.",
        "multi_label": f"- A label is given from a probability of {_thresholds(contract)}; {scaled}.",
        "regression": "- The values are the outputs of the model.",
    }
    return [known[contract.kind]] if contract.kind in known else []


def _thresholds(contract: Contract) -> str:
    if isinstance(contract.threshold, tuple):
        return ", ".join(f"{value:.4g}" for value in contract.threshold) + " (one for each label)"
    return f"{contract.threshold:.4g}"


def _row(entry: dict[str, Any]) -> str:
    found = entry.get("held_out")
    if found is None:
        score = "not measured"
    elif found["lost"] is None:
        score = f"RMSE {found['score']:.4g} (Keras {found['keras_score']:.4g}, {found['texts']:,} texts)"
    else:
        score = f"{found['score']:.2%} (Keras {found['keras_score']:.2%}, {found['texts']:,} texts)"
    cells = [
        f"`{entry['path']}`",
        entry.get("precision", "float32"),
        f"{entry['bytes'] / 1e6:.1f} MB",
        f"{entry['checks']}",
        f"{max(entry['max_difference'].values()):.1e}",
        score,
    ]
    return f"| {' | '.join(cells)} |"
