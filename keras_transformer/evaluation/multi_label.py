"""What is reported about a classifier that gives many labels at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_transformer.evaluation.arrays import binary_matrix, class_name_list, float_matrix
from keras_transformer.evaluation.calibration import expected_calibration_error
from keras_transformer.evaluation.classification import LENGTH_EDGES, accuracy_by_length
from keras_transformer.evaluation.intervals import wilson_interval
from keras_transformer.evaluation.per_class import mean_of_known, one_class


def multi_label_report(
    probabilities,
    labels,
    class_names: Sequence[str] | None = None,
    lengths=None,
    threshold: float | Sequence[float] = 0.5,
    length_edges: Sequence[int] = LENGTH_EDGES,
) -> dict:
    """Judge probabilities of many labels at once.

    A label is given where its probability is at least its threshold. "accuracy" is strict: all labels of a text right
    (scikit-learn's accuracy_score); "hamming_accuracy" counts single decisions.

    Args:
        probabilities: array-like of float, shape (examples, labels), each from 0 to 1.
        labels: array-like of 0/1, shape (examples, labels).
        class_names: sequence of str, one a label, default the indices.
        lengths: array-like of int, shape (examples,), length in tokens, default none.
        threshold: float for all labels, or one float each, default 0.5.
        length_edges: sequence of int, upper ends of the length buckets.

    Returns:
        dict of plain values: "n", "accuracy", "accuracy_interval", "hamming_accuracy", "precision", "recall", "f1"
        (macro means), "micro_precision", "micro_recall", "micro_f1", "roc_auc", "pr_auc" (macro), "log_loss" (mean over
        all decisions), "ece", "threshold" (list), "class_names", "by_class" (list, with a 2 x 2 "confusion_matrix"
        each), "by_length" (list, only with `lengths`).

    Raises:
        ValueError: if shapes do not fit or values are out of range.

    Example:
        ```python
        from keras_transformer.evaluation import multi_label_report
        report = multi_label_report([[0.9, 0.2], [0.6, 0.7]], [[1, 0], [0, 1]], ["funny", "sad"])
        assert report["accuracy"] == 0.5 and report["hamming_accuracy"] == 0.75
        ```
    """
    scores = float_matrix(probabilities, "probabilities")
    if (scores < 0).any() or (scores > 1).any():
        raise ValueError(
            f"`probabilities` must lie in [0, 1]. Received values from {scores.min():.4g} to {scores.max():.4g}"
        )
    truth = binary_matrix(labels, scores.shape)
    names = class_name_list(class_names, scores.shape[1])
    thresholds = np.broadcast_to(np.asarray(threshold, dtype=np.float64), (scores.shape[1],))
    decision = scores >= thresholds
    correct = (decision == truth).all(axis=1)
    by_class = []
    for i, name in enumerate(names):
        entry = one_class(name, truth[:, i], decision[:, i], scores[:, i])
        hit, alarm = int((truth[:, i] & decision[:, i]).sum()), int((~truth[:, i] & decision[:, i]).sum())
        entry["confusion_matrix"] = [[len(truth) - entry["n"] - alarm, alarm], [entry["n"] - hit, hit]]
        by_class.append(entry)
    hit, predicted, actual = (int(array.sum()) for array in (truth & decision, decision, truth))
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    report = {
        "n": len(scores),
        "accuracy": float(correct.mean()),
        "accuracy_interval": list(wilson_interval(int(correct.sum()), len(scores))),
        "hamming_accuracy": float((decision == truth).mean()),
        **{key: mean_of_known([entry[key] for entry in by_class]) for key in ("precision", "recall", "f1")},
        "micro_precision": hit / predicted if predicted else 0.0,
        "micro_recall": hit / actual if actual else 0.0,
        "micro_f1": 2 * hit / (actual + predicted) if actual + predicted else 0.0,
        **{key: mean_of_known([entry[key] for entry in by_class]) for key in ("roc_auc", "pr_auc")},
        "log_loss": float(-np.where(truth, np.log(clipped), np.log1p(-clipped)).mean()),
        "ece": expected_calibration_error(scores, truth),
        "threshold": thresholds.tolist(),
        "class_names": names,
        "by_class": by_class,
    }
    if lengths is not None:
        report["by_length"] = accuracy_by_length(correct, lengths, length_edges)
    return report
