"""How an artefact answers on held-out texts: accuracy beside that of Keras, and how far its logits are."""

import math
import pathlib
from typing import Any

import numpy as np

from .deviations import deviations, served_logits, text_logits, token_logits
from .mediapipe_tokens import mediapipe_ids
from .precision import Precision
from .readers import reader_of
from .runners import open_saved_model
from .signatures import TEXT_LOGITS, Contract


def logits_of(path: pathlib.Path, pipeline, texts: list[str], contract: Contract, num_threads: int = 2) -> np.ndarray:
    """Returns the logits that an artefact gives for raw texts.

    Args:
        path: A `.tflite` or `.onnx` file, or a version folder of a SavedModel.
        pipeline: `TextPipeline`, whose packer makes token ids where the artefact takes them.
        texts: The texts.
        contract: `Contract` of the artefact.
        num_threads: int, threads of a file. Default 2.

    Returns:
        Float32 array of shape (texts, num_outputs).
    """
    if path.is_dir():
        return served_logits(open_saved_model(path)[TEXT_LOGITS], texts)
    reader = reader_of(path)
    takes_text, run = reader.open(path, num_threads)
    served = reader.precision_of(path).served
    if reader.format_of(path) == "mediapipe_classifier":
        # What a phone computes: the ids are those of MediaPipe's tokenizer.
        vocabulary = {token: i for i, token in enumerate(pipeline.packer.tokenizer.vocabulary)}
        rows = [[mediapipe_ids(text, vocabulary, contract.max_length)] for text in texts]
        return token_logits(run, rows, contract, False, served)
    if takes_text:
        return text_logits(run, texts, contract, 1, served)
    return token_logits(run, rows_of(pipeline.packer, texts), contract, reader.fixed_length(path) is not None, served)


def rows_of(packer, texts: list[str]) -> list[list[list[int]]]:
    """Returns for each text its rows of token ids."""
    from keras_transformer import data

    encoded = data.encode(packer, texts)
    rows: list[list[list[int]]] = [[] for _ in texts]
    for i, example in enumerate(encoded.example_ids):
        rows[example].append(encoded.row(i).tolist())
    return rows


def compare(logits: np.ndarray, expected: np.ndarray, labels: np.ndarray, contract: Contract) -> dict[str, Any]:
    """Compares an artefact with Keras and with the labels.

    Args:
        logits: Of the artefact, (texts, num_outputs).
        expected: Of Keras, the same shape.
        labels: As `data.Examples` has them.
        contract: `Contract` that says which label follows from logits.

    Returns:
        What `deviations` returns, and `texts`; `score` and `keras_score`, the accuracy, or for regression the root of
        the mean squared error; `lost`, points of accuracy lost (None for regression); `chance`, how many points two
        models that differ in so many answers may differ by chance (two standard errors).
    """
    result = {"texts": len(labels)} | deviations(logits, expected, contract)
    if contract.kind == "regression":
        errors = [float(np.sqrt(np.mean((values - labels) ** 2))) for values in (logits, expected)]
        return result | {"score": errors[0], "keras_score": errors[1], "lost": None, "chance": None}
    right = [_right(values, labels, contract) for values in (logits, expected)]
    changed = float(np.sum((right[0] - right[1]) ** 2))
    return result | {
        "score": float(right[0].mean()),
        "keras_score": float(right[1].mean()),
        "lost": 100 * float(right[1].mean() - right[0].mean()),
        "chance": 100 * 2 * math.sqrt(changed) / len(labels),
    }


def refusal(measured: dict[str, Any], precision: Precision) -> str | None:
    """Returns why a file of fewer bits is not good enough by what `compare` measured, or None if it is."""
    if measured["lost"] is None or precision.accuracy_loss == 0:
        return None
    if measured["lost"] <= precision.accuracy_loss + measured["chance"]:
        return None
    return (
        f"it loses {measured['lost']:.2f} points of accuracy on {measured['texts']} held-out texts "
        f"({100 * measured['score']:.2f} % instead of {100 * measured['keras_score']:.2f} %), more than "
        f"{precision.accuracy_loss:g} and what chance explains ({measured['chance']:.2f})."
    )


def _right(logits: np.ndarray, labels: np.ndarray, contract: Contract) -> np.ndarray:
    """Share of right answers of each text."""
    if contract.kind == "single_label":
        return (logits.argmax(axis=1) == labels).astype(np.float64)
    given = contract.expected(logits)["probabilities"] >= contract.threshold
    return (given == (np.asarray(labels) >= 0.5)).mean(axis=1)
