"""Temperature scaling, expected calibration error (Guo et al., 2017) and a threshold chosen on validation."""

from __future__ import annotations

import numpy as np

from keras_transformer.evaluation.arrays import binary_matrix, class_indices, float_matrix, sigmoid

# Bounds of the temperature: beyond them a model is so far off that the figure itself is the message.
_LOW, _HIGH = 0.05, 50.0


def fit_temperature(logits, labels) -> float:
    """Find the temperature that minimises the log-loss of logits / temperature; fit it on validation, never on test.

    The log-loss is convex in 1 / temperature, so a bounded search finds its only minimum. Where every
    decision is right there is none (the surer, the better): such labels say nothing about over-confidence, and the
    result is 1.

    Args:
        logits: array-like of float, shape (examples, outputs).
        labels: array-like; integers of shape (examples,) for one label of many, or 0/1 of shape (examples, outputs) for
            many labels at once.

    Returns:
        float from 0.05 to 50; above 1 says that the model was too sure.

    Raises:
        ValueError: if shapes or labels do not fit.

    Example:
        ```python
        import numpy as np
        from keras_transformer.evaluation import fit_temperature
        # Always 88 % sure (logit 2), right 3 times of 4: the fitting logit is log(3), so the temperature is 2 / log(3).
        temperature = fit_temperature(np.array([[0.0, 2.0]] * 4), np.array([1, 1, 1, 0]))
        assert abs(temperature - 2 / np.log(3)) < 1e-3
        ```
    """
    from scipy.optimize import minimize_scalar

    matrix = float_matrix(logits, "logits")
    if np.ndim(labels) == 1:
        targets = class_indices(labels, matrix.shape[1], matrix.shape[0])
    else:
        targets = binary_matrix(labels, matrix.shape)

    right = matrix.argmax(axis=1) == targets if targets.ndim == 1 else (matrix > 0) == targets
    if right.all():
        return 1.0

    def loss(log_temperature: float) -> float:
        return _log_loss(matrix / np.exp(log_temperature), targets)

    found = minimize_scalar(loss, bounds=(np.log(_LOW), np.log(_HIGH)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def reliability_bins(probabilities, labels, num_bins: int = 15) -> list[dict]:
    """Group predictions by confidence; each group says how sure the model was and how often it was right.

    One label of many: the confidence is that of the predicted class. Many labels at once: every (example, label) pair
    counts, its probability against its 0/1 label.

    Args:
        probabilities: array-like of float, shape (examples, outputs).
        labels: array-like of class indices, shape (examples,), or of 0/1, shape (examples, outputs).
        num_bins: int, number of bins of equal width, default 15.

    Returns:
        list of dicts "low", "high", "n", "confidence", "accuracy" (the last two None in an empty bin).
    """
    matrix = float_matrix(probabilities, "probabilities")
    if np.ndim(labels) == 1:
        confidence = matrix.max(axis=1)
        correct = matrix.argmax(axis=1) == class_indices(labels, matrix.shape[1], matrix.shape[0])
    else:
        confidence, correct = matrix.ravel(), binary_matrix(labels, matrix.shape).ravel()
    index = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)  # bins are (low, high]
    bins = []
    for number in range(num_bins):
        inside = index == number
        count = int(inside.sum())
        bins.append(
            {
                "low": number / num_bins,
                "high": (number + 1) / num_bins,
                "n": count,
                "confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": float(correct[inside].mean()) if count else None,
            }
        )
    return bins


def expected_calibration_error(probabilities, labels, num_bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by their size.

    Args:
        probabilities: array-like of float, shape (examples, outputs).
        labels: array-like of class indices, shape (examples,), or of 0/1, shape (examples, outputs).
        num_bins: int, number of bins of equal width, default 15.

    Returns:
        float from 0 (perfect) to 1.

    Example:
        ```python
        from keras_transformer.evaluation import expected_calibration_error
        # Ten predictions at 90 %, all right: the error is 0.1.
        assert abs(expected_calibration_error([[0.1, 0.9]] * 10, [1] * 10) - 0.1) < 1e-12
        ```

    Reference: Guo et al., On Calibration of Modern Neural Networks (2017).
    """
    filled = [entry for entry in reliability_bins(probabilities, labels, num_bins) if entry["n"]]
    total = sum(entry["n"] for entry in filled)
    return sum(entry["n"] * abs(entry["confidence"] - entry["accuracy"]) for entry in filled) / total


def choose_threshold(scores, labels, objective: str = "f1") -> float | list[float]:
    """Find the threshold that is best on these (validation) examples; a score at or above it counts as positive.

    Every threshold that changes a decision is tried; it lies half way between two neighbouring scores. Of several that
    are equally good, the one nearest to 0.5 is taken.

    Args:
        scores: array-like of float, shape (examples,), probability of the positive class; or (examples, labels), and
            each label gets its own threshold.
        labels: array-like of 0/1 of the same shape.
        objective: str, "f1" (of the positive class, default) or "accuracy".

    Returns:
        float, or a list of floats for two-dimensional scores.

    Raises:
        ValueError: if the shapes differ, labels are not 0/1, or the objective is unknown.

    Example:
        ```python
        from keras_transformer.evaluation import choose_threshold
        assert choose_threshold([0.1, 0.2, 0.35, 0.9], [0, 0, 1, 1]) == 0.275
        ```
    """
    if objective not in ("f1", "accuracy"):
        raise ValueError(f"`objective` must be 'f1' or 'accuracy'. Received: {objective!r}")
    if np.ndim(scores) == 2:
        matrix = float_matrix(scores, "scores")
        truth = binary_matrix(labels, matrix.shape)
        return [choose_threshold(matrix[:, i], truth[:, i], objective) for i in range(matrix.shape[1])]
    values = float_matrix(scores, "scores")[:, 0]
    truth = binary_matrix(np.asarray(labels).reshape(-1, 1), (values.size, 1))[:, 0]
    order = np.argsort(values, kind="stable")
    distinct, first = np.unique(values[order], return_index=True)
    # Candidate j calls positive everything from distinct[j] up; the last candidate calls nothing positive.
    positives_below = np.concatenate([[0], np.cumsum(truth[order])])[np.append(first, values.size)]
    negatives_below = np.append(first, values.size) - positives_below
    true_positive = truth.sum() - positives_below
    false_positive = (~truth).sum() - negatives_below
    if objective == "f1":
        quality = 2 * true_positive / np.maximum(1, true_positive + false_positive + truth.sum())
    else:
        quality = (true_positive + negatives_below) / values.size
    middle = (distinct[1:] + distinct[:-1]) / 2
    # The two ends (all positive, none positive) leave a whole range free: its value nearest to 0.5 is taken.
    ends = min(0.5, distinct[0]), max(0.5, np.nextafter(distinct[-1], np.inf))
    thresholds = np.concatenate([ends[:1], middle, ends[1:]])
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


def scaled_threshold(threshold: float, temperature: float) -> float:
    """Move a threshold on sigmoid(logit), or on a two-class softmax, to where it stands after temperature scaling.

    Args:
        threshold: float from 0 to 1, chosen on unscaled probabilities.
        temperature: float above 0.

    Returns:
        float from 0 to 1: the same decisions on probabilities of logits / temperature.
    """
    if not 0 < threshold < 1:
        return float(threshold)
    return float(sigmoid(np.log(threshold / (1 - threshold)) / temperature))


def _log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean negative log-likelihood from logits: softmax for class indices, sigmoid for a boolean matrix."""
    if targets.ndim == 1:
        picked = np.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
        return float((np.logaddexp.reduce(logits, axis=1) - picked).mean())
    return float((np.logaddexp(0.0, logits) - logits * targets).mean())
