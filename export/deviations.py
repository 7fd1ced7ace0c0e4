"""How far the logits of a `.tflite` file are from those of Keras: what may deviate in a file of few bits."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .checks import token_batch
from .signatures import EMBEDDING, LABEL, LABELS, LOGITS, PROBABILITIES, Contract

BATCH = 8
SMALLEST = 1e-30


def text_logits(
    run: Callable, texts: Sequence[str], contract: Contract, batch: int = BATCH, tolerance: float = 1e-4
) -> np.ndarray:
    """Returns the logits of a file that takes text, float32 of shape (texts, num_outputs).

    Args:
        run: Function of `text=` that returns the outputs.
        texts: The texts.
        contract: `Contract` of the file.
        batch: int, texts at a time. Default 8.
        tolerance: float, how far what is served may be from what follows from the logits. Default 1e-4.

    Raises:
        ValueError: If what is served does not follow from the logits.
    """
    parts = (list(texts[start : start + batch]) for start in range(0, len(texts), batch))
    return np.concatenate([_logits_of(run(text=part), contract, tolerance) for part in parts])


def token_logits(
    run: Callable, rows: Sequence[Sequence[list[int]]], contract: Contract, fixed: bool, tolerance: float = 1e-4
) -> np.ndarray:
    """Returns the logits of a file that takes token ids, those of a text's windows averaged.

    Args:
        run: Function of the three token inputs that returns the outputs.
        rows: For each text its rows of token ids.
        contract: `Contract` of the file.
        fixed: Whether every row must be padded to `max_length`.
        tolerance: float, how far what is served may be from what follows from the logits. Default 1e-4.

    Returns:
        Float32 array of shape (texts, num_outputs).

    Raises:
        ValueError: If what is served does not follow from the logits.
    """
    result = []
    for text in rows:
        batches = (token_batch([row], contract.max_length if fixed else len(row)) for row in text)
        result.append(np.mean([_logits_of(run(**batch), contract, tolerance)[0] for batch in batches], axis=0))
    return np.asarray(result, np.float32)


def served_logits(run: Callable, texts: Sequence[str], batch: int = 32) -> np.ndarray:
    """Returns what a signature gives that takes texts and gives nothing but logits.

    Args:
        run: Function of `text=`.
        texts: The texts.
        batch: int, texts at a time. Default 32.

    Returns:
        Float32 array of shape (texts, num_outputs).
    """
    return np.concatenate([run(text=texts[start : start + batch])[LOGITS] for start in range(0, len(texts), batch)])


def deviations(logits: np.ndarray, expected: np.ndarray, contract: Contract) -> dict[str, Any]:
    """Compares logits.

    Args:
        logits: Array of shape (texts, num_outputs).
        expected: Those of Keras.
        contract: `Contract` that says which label follows from them.

    Returns:
        Dict with `largest` and `mean`, absolute differences of logits; `share`, the mean as a share of how much the
        expected ones differ from their mean over the texts; `flips`, the number of texts that get another label (None
        for regression).
    """
    logits, expected = np.asarray(logits, np.float64), np.asarray(expected, np.float64)
    differences = np.where(np.isfinite(logits), np.abs(logits - expected), np.inf)
    spread = np.abs(expected - expected.mean(axis=0)).mean()
    mean = float(differences.mean())
    flips = None
    if contract.kind != "regression" and expected.shape[1] == len(contract.class_names):
        name = LABELS if contract.kind == "multi_label" else LABEL
        other = contract.expected(np.nan_to_num(logits))[name] != contract.expected(expected)[name]
        flips = int((other.any(axis=1) if other.ndim > 1 else other).sum())
    return {
        "largest": float(differences.max()),
        "mean": mean,
        "share": 0.0 if mean == 0 else float(mean / max(spread, 1e-12)),
        "flips": flips,
    }


def centred(logits: np.ndarray, contract: Contract) -> np.ndarray:
    """Returns what probabilities tell about logits: of classes, the differences from their mean.

    Args:
        logits: Array of shape (texts, num_outputs).
        contract: `Contract` that says what they mean.
    """
    return logits - logits.mean(axis=1, keepdims=True) if contract.kind == "single_label" else logits


def _from_probabilities(probabilities: np.ndarray, contract: Contract) -> np.ndarray:
    probabilities = np.clip(np.asarray(probabilities, np.float64), SMALLEST, None)
    scaled = np.log(probabilities)
    if contract.kind == "multi_label":
        scaled = scaled - np.log(np.clip(1 - probabilities, SMALLEST, None))
    return centred(contract.temperature * scaled, contract)


def _logits_of(outputs: dict[str, np.ndarray], contract: Contract, tolerance: float) -> np.ndarray:
    """The logits of a call; of a file for MediaPipe, which has one output, what that says."""
    if set(outputs) == {EMBEDDING}:
        return outputs[EMBEDDING]
    if set(outputs) == {PROBABILITIES}:
        return _from_probabilities(outputs[PROBABILITIES], contract)
    logits = outputs[LOGITS]
    expected = contract.expected(logits)
    if set(outputs) != {LOGITS, *expected}:
        raise ValueError(f"the outputs are {sorted(outputs)}, and should be {sorted({LOGITS, *expected})}")
    for name, values in expected.items():
        given = outputs[name]
        if given.shape != values.shape:
            raise ValueError(f"{name} has the shape {given.shape}, and should have {values.shape}")
        if name in (LABEL, LABELS):
            given = np.vectorize(bytes.decode, otypes=[object])(given)
            right = (given == values) | contract.undecided(logits, tolerance)
        else:
            right = np.abs(given - values) <= tolerance * np.maximum(1.0, np.abs(values))
        if not right.all():
            raise ValueError(f"{name} does not follow from the logits")
    return logits
