"""The check texts that are stored beside every artefact: each with its token ids and the logits that it must get."""

import json
import pathlib
from typing import Any

import numpy as np

from .signatures import CHECK_FILE, EMBEDDING, LOGITS


def write_checks(folder: pathlib.Path, checks: list[dict[str, Any]]) -> None:
    """Writes check rows: `text`, `rows` (lists of token ids; several for windows), `logits`, perhaps `embedding`."""
    lines = "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in checks)
    (folder / CHECK_FILE).write_text(lines, encoding="utf-8")


def read_checks(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Reads what `write_checks` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty or damaged.
    """
    path = folder / CHECK_FILE
    if not path.is_file():
        raise FileNotFoundError(f"No {CHECK_FILE} in {folder}: the artefact cannot be verified.")
    try:
        checks = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        complete = bool(checks) and all({"text", "rows", "logits"} <= set(row) for row in checks)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not complete:
        raise ValueError(f"{path} is damaged: it needs rows with text, rows and logits.")
    return checks


def token_batch(rows: list[list[int]], length: int) -> dict[str, np.ndarray]:
    """Pads rows of token ids to the inputs of a token signature.

    Args:
        rows: Lists of token ids, `[CLS]` and `[SEP]` included.
        length: int, length to pad to.

    Returns:
        Dict of int32 arrays of shape (rows, length) under the names of the artefact.
    """
    ids = np.zeros((len(rows), length), np.int32)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}


def with_embeddings(pipeline, rows: list[dict[str, Any]], embedding: str) -> list[dict[str, Any]]:
    """Adds to check rows the vector that an artefact must give for them, computed by Keras.

    Args:
        pipeline: `TextPipeline`.
        rows: Check rows.
        embedding: str, "pooled" or "mean"; see `functions.embedding_of`.
    """
    import keras

    from keras_transformer import data
    from keras_transformer.pipelines import scoring

    from .functions import embedding_of

    model = keras.Model(pipeline.model.input, {LOGITS: embedding_of(pipeline.model, embedding)})
    vectors = scoring.score_rows(model, data.encode(pipeline.packer, [row["text"] for row in rows]))
    # Nine digits are a float32, and half as long as the float64 that Python would print.
    return [
        row | {EMBEDDING: [float(f"{value:.9g}") for value in vector]}
        for row, vector in zip(rows, vectors, strict=True)
    ]
