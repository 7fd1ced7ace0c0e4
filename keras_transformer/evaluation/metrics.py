"""Build metrics.json: model and baseline on validation and test, their difference, calibration and threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keras_transformer.evaluation.arrays import check_kind, check_tools, class_name_list, float_matrix, to_probabilities
from keras_transformer.evaluation.calibration import (
    choose_threshold,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
    scaled_threshold,
)
from keras_transformer.evaluation.classification import classification_report, decide
from keras_transformer.evaluation.intervals import mcnemar, paired_bootstrap
from keras_transformer.evaluation.multi_label import multi_label_report
from keras_transformer.evaluation.regression import regression_report


def make_metrics(
    validation: Mapping,
    test: Mapping | None = None,
    *,
    kind: str = "single_label",
    class_names: Sequence[str] | None = None,
    baseline: Mapping | None = None,
    uncleaned: Mapping | None = None,
    threshold_objective: str = "f1",
    seed: int = 0,
) -> dict:
    """Judge one run; temperature and threshold come from validation alone, the test part is only read.

    `docs/evaluation.md` shows the whole result. In short: {"kind", "class_names", "temperature", "threshold",
    "validation": {"model": R}, "test": {"model": R, "baseline": R, "difference": {...}, "uncleaned": R}}, where R is
    the report of the kind (`classification_report`, `multi_label_report`, `regression_report`); the model's also holds
    "calibration" and, where a threshold was chosen (two classes, or many labels), "at_threshold".

    Args:
        validation: dict with "logits", float (examples, outputs), "labels", and, if wanted, "lengths", int (examples,).
        test: the same for the test part, default none.
        kind: str, "single_label" (default), "multi_label" or "regression".
        class_names: sequence of str, one an output, default the indices.
        baseline: dict with "test" and, if wanted, "validation": the baseline's scores on the same examples, float
            (examples, outputs), as `TfidfBaseline.scores` gives them; default none.
        uncleaned: dict like `test`: the test texts as they came, markup included; default none.
        threshold_objective: str, "f1" (default) or "accuracy": what the threshold maximises on validation.
        seed: int, seed of the bootstrap, default 0.

    Returns:
        dict of plain Python values without NaN, ready for `json.dumps(..., allow_nan=False)`.

    Raises:
        ValueError: if a part lacks a key or shapes do not fit.

    Example:
        ```python
        import numpy as np
        from keras_transformer.evaluation import make_metrics
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 400)
        logits = rng.normal(size=(400, 2)) + 3 * np.eye(2)[labels]
        part = {"logits": logits, "labels": labels}
        metrics = make_metrics(part, part, baseline={"test": np.full((400, 2), 0.5)})
        assert metrics["test"]["model"]["accuracy"] > 0.9 and metrics["test"]["difference"]["low"] > 0.3
        ```
    """
    check_tools("sklearn", "scipy")
    check_kind(kind)
    parts = {"validation": validation, "test": test, "uncleaned": uncleaned}
    for name, part in parts.items():
        if part is not None and not {"logits", "labels"} <= set(part):
            raise ValueError(f"`{name}` must have 'logits' and 'labels'. Received: {sorted(part)}")
    outputs = float_matrix(validation["logits"], "logits").shape[1]
    names = class_name_list(class_names, outputs)
    temperature, threshold = 1.0, None
    if kind != "regression":
        temperature = fit_temperature(validation["logits"], validation["labels"])
        threshold = _threshold(validation, kind, threshold_objective)
    result: dict = {"kind": kind, "class_names": names}
    if kind != "regression":
        result["temperature"] = temperature
        result["threshold"] = _threshold_entry(threshold, temperature, threshold_objective)

    baseline = baseline or {}
    for part_name in ("validation", "test"):
        part = parts[part_name]
        if part is None:
            continue
        entry = {"model": _model_report(part, kind, names, temperature, threshold)}
        if baseline.get(part_name) is not None:
            scores = float_matrix(baseline[part_name], f"baseline[{part_name!r}]", outputs)
            entry["baseline"] = _report(scores, part, kind, names)
            entry["difference"] = difference(
                to_probabilities(part["logits"], kind), scores, part["labels"], kind, seed=seed
            )
        result[part_name] = entry
    if uncleaned is not None:
        result.setdefault("test", {})["uncleaned"] = _model_report(uncleaned, kind, names, temperature, threshold)
    return result


def difference(scores_a, scores_b, labels, kind: str = "single_label", seed: int = 0) -> dict:
    """Compare a with b on the same examples: accuracy (all labels right, for many labels), or MSE for regression.

    Args:
        scores_a: array-like of float, shape (examples, outputs): probabilities, or numbers for regression.
        scores_b: the same of what it is compared with.
        labels: array-like, as the report of the kind takes them.
        kind: str, default "single_label".
        seed: int, seed of the bootstrap, default 0.

    Returns:
        dict of `paired_bootstrap` ("difference" is a - b) with "metric", "higher_is_better" and, but for regression,
        "mcnemar".

    Raises:
        ValueError: if shapes do not fit.
    """
    a, b = float_matrix(scores_a, "scores_a"), float_matrix(scores_b, "scores_b")
    if a.shape != b.shape:
        raise ValueError(f"Both scores must have one shape. Received: {a.shape} and {b.shape}")
    truth = np.asarray(labels)
    if check_kind(kind) == "regression":
        truth = float_matrix(truth, "labels", a.shape[1])
        result = paired_bootstrap(((a - truth) ** 2).mean(axis=1), ((b - truth) ** 2).mean(axis=1), seed=seed)
        return {"metric": "mse", "higher_is_better": False, **result}
    right = [_correct(scores, truth, kind) for scores in (a, b)]
    return {
        "metric": "accuracy",
        "higher_is_better": True,
        **paired_bootstrap(*right, seed=seed),
        "mcnemar": mcnemar(*right),
    }


def worst_mistakes(probabilities, labels, count: int = 12) -> list[int]:
    """Indices of the wrong decisions that the model was surest of, the worst first.

    Args:
        probabilities: array-like of float, shape (examples, classes).
        labels: array-like of class indices, shape (examples,).
        count: int, how many at most, default 12.

    Returns:
        list of int; shorter where there are fewer mistakes.

    Example:
        ```python
        from keras_transformer.evaluation import worst_mistakes
        assert worst_mistakes([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]], [0, 0, 0]) == [2, 1]
        ```
    """
    scores = float_matrix(probabilities, "probabilities")
    truth = np.asarray(labels)
    wrong = np.flatnonzero(scores.argmax(axis=1) != truth)
    own = scores[wrong, truth[wrong]]
    return wrong[np.argsort(own, kind="stable")][:count].tolist()


def _correct(scores: np.ndarray, truth: np.ndarray, kind: str) -> np.ndarray:
    if kind == "single_label":
        return decide(scores) == truth
    return ((scores >= 0.5) == truth.astype(bool)).all(axis=1)


def _report(scores: np.ndarray, part: Mapping, kind: str, names: list[str], threshold=None) -> dict:
    """The report of the kind on scores that are probabilities already (numbers for regression)."""
    lengths = part.get("lengths")
    if kind == "regression":
        return regression_report(scores, part["labels"], names)
    if kind == "multi_label":
        chosen = 0.5 if threshold is None else threshold
        return multi_label_report(scores, part["labels"], names, lengths, chosen)
    return classification_report(scores, part["labels"], names, lengths, threshold)


def _model_report(part: Mapping, kind: str, names: list[str], temperature: float, threshold) -> dict:
    probabilities = to_probabilities(part["logits"], kind)
    report = _report(probabilities, part, kind, names)
    if kind == "regression":
        return report
    scaled = to_probabilities(part["logits"], kind, temperature)
    report["calibration"] = {
        "temperature": temperature,
        "ece_before": report["ece"],
        "ece_after": expected_calibration_error(scaled, part["labels"]),
        "log_loss_before": report["log_loss"],
        "log_loss_after": _report(scaled, part, kind, names)["log_loss"],
        "bins_before": reliability_bins(probabilities, part["labels"]),
        "bins_after": reliability_bins(scaled, part["labels"]),
    }
    if threshold is not None:
        decided = _report(probabilities, part, kind, names, threshold)
        keys = ["threshold", "accuracy", "accuracy_interval", "precision", "recall", "f1"]
        report["at_threshold"] = {key: decided[key] for key in keys}
        if kind == "single_label":
            report["at_threshold"]["confusion_matrix"] = decided["confusion_matrix"]
    return report


def _threshold(validation: Mapping, kind: str, objective: str) -> float | list[float] | None:
    """One threshold for class 1 of two, one a label for many labels, none for more classes."""
    probabilities = to_probabilities(validation["logits"], kind)
    if kind == "multi_label":
        return choose_threshold(probabilities, validation["labels"], objective)
    if probabilities.shape[1] == 2:
        return choose_threshold(probabilities[:, 1], validation["labels"], objective)
    return None


def _threshold_entry(threshold, temperature: float, objective: str) -> dict | None:
    if threshold is None:
        return None
    many = isinstance(threshold, list)
    scaled = [scaled_threshold(value, temperature) for value in (threshold if many else [threshold])]
    return {"value": threshold, "scaled_value": scaled if many else scaled[0], "objective": objective}
