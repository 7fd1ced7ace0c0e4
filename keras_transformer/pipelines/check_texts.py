"""The texts that are stored with a pipeline, and the logits it gave for them: so damage and wrong exports show."""

import json
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from keras_transformer import _files

CHECK_FILE = "check.jsonl"
CHECK_TEXTS = 64
HARD_TEXTS = (
    "",
    "Good.",
    "A film that I did not expect to like, and did not.",
    "Café, naïve, coöperate: accents — and “quotes”.",
    "很好的电影 😀 [MASK] <br /> \u2028\x85\r\n\0",
    "one two three four five six seven eight nine ten " * 100,
)


def write_check_texts(folder: pathlib.Path, texts: list[str], logits: np.ndarray) -> None:
    """Stores texts and their logits."""
    lines = [
        json.dumps({"text": text, "logits": [float(value) for value in row]}, ensure_ascii=False)
        for text, row in zip(texts, logits, strict=True)
    ]
    _files.write_text(folder / CHECK_FILE, "\n".join(lines) + "\n")


def read_check_texts(folder: str | os.PathLike) -> list[tuple[str, list[float]]]:
    """Returns the texts and logits that were stored when a pipeline was saved."""
    # Not splitlines: JSON leaves U+2028 and its like in a text as they are, and they are no ends of lines here.
    lines = (pathlib.Path(folder) / CHECK_FILE).read_text("utf-8").removesuffix("\n").split("\n")
    return [(entry["text"], entry["logits"]) for entry in map(json.loads, lines)]


def choose_check_texts(texts: Iterable[str]) -> list[str]:
    """Picks texts of all lengths, and adds hard ones, so that a damaged or wrong export shows."""
    ordered = sorted(set(texts), key=lambda text: (len(text), text))
    wanted = CHECK_TEXTS - len(HARD_TEXTS)
    if len(ordered) > wanted:
        ordered = [ordered[round(i * (len(ordered) - 1) / (wanted - 1))] for i in range(wanted)]
    return [*HARD_TEXTS, *ordered]
