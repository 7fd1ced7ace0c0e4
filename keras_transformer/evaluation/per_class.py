"""Figures of one class against the rest, and their mean over classes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from keras_transformer.evaluation.intervals import wilson_interval


def one_class(name: str, truth: np.ndarray, decision: np.ndarray, score: np.ndarray) -> dict:
    """Judge one class against the rest; an AUC that cannot be computed is None.

    Args:
        name: str, name of the class.
        truth: bool array, shape (examples,), where it is the true class.
        decision: bool array, shape (examples,), where it was decided for.
        score: float array, shape (examples,), its probability.

    Returns:
        dict with "name", "n", "predicted" (counts), "precision", "recall", "recall_interval", "f1", "roc_auc",
        "pr_auc".
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    hit, actual, predicted = int((truth & decision).sum()), int(truth.sum()), int(decision.sum())
    both = 0 < actual < truth.size
    return {
        "name": name,
        "n": actual,
        "predicted": predicted,
        # scikit-learn's convention: a class that was never decided for has precision 0, one that never occurs recall 0.
        "precision": hit / predicted if predicted else 0.0,
        "recall": hit / actual if actual else 0.0,
        "recall_interval": list(wilson_interval(hit, actual)) if actual else None,
        "f1": 2 * hit / (actual + predicted) if actual + predicted else 0.0,
        "roc_auc": float(roc_auc_score(truth, score)) if both else None,
        "pr_auc": float(average_precision_score(truth, score)) if both else None,
    }


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None.

    Args:
        values: floats or None.

    Returns:
        float, or None if there is no value.
    """
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
