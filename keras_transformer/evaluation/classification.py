"""Everything that is reported about a classifier of one label of many."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from keras_transformer.evaluation.arrays import class_indices, class_name_list, float_matrix
from keras_transformer.evaluation.calibration import expected_calibration_error
from keras_transformer.evaluation.intervals import wilson_interval
from keras_transformer.evaluation.per_class import mean_of_known, one_class

# Upper ends of the length buckets, in the unit of `lengths` (tokens in this project).
LENGTH_EDGES = (64, 128, 256, 512)


def classification_report(
    probabilities,
    labels,
    class_names: Sequence[str] | None = None,
    lengths=None,
    threshold: float | None = None,
    length_edges: Sequence[int] = LENGTH_EDGES,
) -> dict:
    """Judge probabilities of one label of many.

    The decision is the most probable class. With `threshold` (two classes only) the decision is class 1 where its
    probability is at least the threshold. Precision, recall and F1 at the top are macro means over the classes;
    `by_class` has each. With two classes, ROC-AUC and PR-AUC (average precision) are those of class 1; with more, the
    macro mean of one class against the rest, over the classes that have both. What cannot be computed (an AUC where one
    class is missing) is None.

    Args:
        probabilities: array-like of float, shape (examples, classes), rows sum to 1.
        labels: array-like of int, shape (examples,).
        class_names: sequence of str, one a class, default the indices.
        lengths: array-like of int, shape (examples,), length of each text in tokens before truncation, default none:
            `by_length` is then left out.
        threshold: float from 0 to 1, default none.
        length_edges: sequence of int, upper ends of the length buckets, default (64, 128, 256, 512); longer texts go
            into a last one.

    Returns:
        dict of plain Python values, ready for JSON: "n", "accuracy", "accuracy_interval" (Wilson, 95 %), "precision",
        "recall", "f1", "roc_auc", "pr_auc", "log_loss", "ece", "threshold", "confusion_matrix" (rows: true class,
        columns: decision), "class_names", "by_class" (list), "by_length" (list, only with `lengths`).

    Raises:
        ValueError: if shapes or labels do not fit, rows do not sum to 1, or a threshold is given for other than two
            classes.

    Example:
        ```python
        from keras_transformer.evaluation import classification_report
        report = classification_report([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]], [0, 1, 0], ["negative", "positive"])
        assert report["confusion_matrix"] == [[1, 1], [0, 1]]
        assert round(report["accuracy"], 3) == 0.667 and report["by_class"][1]["recall"] == 1.0
        ```
    """
    from sklearn.metrics import confusion_matrix

    scores = float_matrix(probabilities, "probabilities")
    examples, classes = scores.shape
    if classes < 2:
        raise ValueError("`probabilities` must have at least two columns, one a class. Received: 1 column")
    if (scores < 0).any() or not np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError(f"Rows of `probabilities` must sum to 1. Received a row: {_odd_row(scores)}")
    truth = class_indices(labels, classes, examples)
    names = class_name_list(class_names, classes)
    decision = decide(scores, threshold)
    correct = decision == truth
    by_class = [one_class(names[i], truth == i, decision == i, scores[:, i]) for i in range(classes)]
    auc_of = by_class[1:] if classes == 2 else by_class
    # The mean runs over classes that occur or were decided for: an unused class has no precision and no recall.
    used = [entry for entry in by_class if entry["n"] or entry["predicted"]]
    report = {
        "n": examples,
        "accuracy": float(correct.mean()),
        "accuracy_interval": list(wilson_interval(int(correct.sum()), examples)),
        **{key: mean_of_known([entry[key] for entry in used]) for key in ("precision", "recall", "f1")},
        **{key: mean_of_known([entry[key] for entry in auc_of]) for key in ("roc_auc", "pr_auc")},
        "log_loss": log_loss(scores, truth),
        "ece": expected_calibration_error(scores, truth),
        "threshold": None if threshold is None else float(threshold),
        "confusion_matrix": confusion_matrix(truth, decision, labels=range(classes)).tolist(),
        "class_names": names,
        "by_class": by_class,
    }
    if lengths is not None:
        report["by_length"] = accuracy_by_length(correct, lengths, length_edges)
    return report


def decide(probabilities: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Choose the most probable class, or class 1 of two where it reaches the threshold.

    Args:
        probabilities: float array, shape (examples, classes).
        threshold: float, only with two classes, default none.

    Returns:
        int64 array, shape (examples,).

    Raises:
        ValueError: if a threshold is given for other than two classes.
    """
    if threshold is None:
        return probabilities.argmax(axis=1)
    if probabilities.shape[1] != 2:
        raise ValueError(f"`threshold` needs two classes. Received: {probabilities.shape[1]} classes")
    return (probabilities[:, 1] >= threshold).astype(np.int64)


def accuracy_by_length(correct, lengths, edges: Sequence[int] = LENGTH_EDGES) -> list[dict]:
    """Accuracy in each length bucket; buckets without a text are left out.

    Args:
        correct: array-like of bool, shape (examples,).
        lengths: array-like of int, shape (examples,).
        edges: increasing sequence of int, upper ends (inclusive); longer texts go into a last bucket.

    Returns:
        list of dicts "low", "high" (ints, both inclusive; the last "high" is None), "n", "accuracy",
        "accuracy_interval".

    Raises:
        ValueError: if the numbers of examples differ or the edges do not increase.
    """
    right, size = np.asarray(correct, dtype=bool), np.asarray(lengths)
    if right.shape != size.shape or right.ndim != 1:
        raise ValueError(f"`lengths` must have shape {right.shape}. Received: {size.shape}")
    if not len(edges) or any(a >= b for a, b in itertools.pairwise(edges)):
        raise ValueError(f"`edges` must increase. Received: {tuple(edges)}")
    bucket = np.searchsorted(np.asarray(edges), size, side="left")
    result = []
    for number in range(len(edges) + 1):
        inside = right[bucket == number]
        if inside.size:
            result.append(
                {
                    "low": int(edges[number - 1]) + 1 if number else 0,
                    "high": int(edges[number]) if number < len(edges) else None,
                    "n": int(inside.size),
                    "accuracy": float(inside.mean()),
                    "accuracy_interval": list(wilson_interval(int(inside.sum()), inside.size)),
                }
            )
    return result


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes, probabilities held at 1e-15 or more.

    Args:
        probabilities: float array, shape (examples, classes).
        labels: int array, shape (examples,).

    Returns:
        float, 0 or more.
    """
    picked = np.take_along_axis(probabilities, labels[:, None], axis=1)
    return float(-np.log(np.clip(picked, 1e-15, 1.0)).mean())


def curves(probabilities, labels, class_names: Sequence[str] | None = None, max_points: int = 200) -> dict:
    """Points of the ROC and precision-recall curves, thinned for a drawing.

    Two classes give the curves of class 1; otherwise each output against the rest. Outputs that are always or never
    true have no curve and are left out.

    Args:
        probabilities: array-like of float, shape (examples, outputs).
        labels: array-like of class indices, shape (examples,), or of 0/1, shape (examples, outputs).
        class_names: sequence of str, default the indices.
        max_points: int, most points of a curve, default 200.

    Returns:
        dict {"roc": {name: {"x": [...], "y": [...]}}, "pr": {name: {...}}}: false and true positive rate; recall and
        precision.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    scores = float_matrix(probabilities, "probabilities")
    names = class_name_list(class_names, scores.shape[1])
    truth = np.asarray(labels)
    if truth.ndim == 1:
        truth = class_indices(truth, scores.shape[1], scores.shape[0])[:, None] == np.arange(scores.shape[1])
        wanted = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    else:
        wanted = range(scores.shape[1])
    result: dict = {"roc": {}, "pr": {}}
    for i in wanted:
        if truth[:, i].all() or not truth[:, i].any():
            continue
        false_positive, true_positive, _ = roc_curve(truth[:, i], scores[:, i])
        precision, recall, _ = precision_recall_curve(truth[:, i], scores[:, i])
        result["roc"][names[i]] = _thin(false_positive, true_positive, max_points)
        result["pr"][names[i]] = _thin(recall[::-1], precision[::-1], max_points)
    return result


def _thin(x: np.ndarray, y: np.ndarray, max_points: int) -> dict:
    """Keep points evenly spaced along the curve's own length, its two ends always."""
    steps = np.hypot(np.diff(x), np.diff(y))
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    keep = np.unique(np.searchsorted(travelled, np.linspace(0, travelled[-1], max_points)).clip(0, x.size - 1))
    keep = np.union1d(keep, [0, x.size - 1])
    return {"x": np.round(x[keep], 4).tolist(), "y": np.round(y[keep], 4).tolist()}


def _odd_row(scores: np.ndarray) -> list[float]:
    return scores[int(np.argmax(np.abs(scores.sum(axis=1) - 1) + (scores < 0).any(axis=1)))].tolist()
