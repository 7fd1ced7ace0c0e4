"""What is reported about a regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_transformer.evaluation.arrays import class_name_list, float_matrix


def regression_report(predictions, labels, output_names: Sequence[str] | None = None) -> dict:
    """Judge predicted numbers: MSE, MAE, R2, and the correlations of Pearson and Spearman.

    Figures at the top are means over the outputs. A correlation, or R2, of constant values does not exist: None.

    Args:
        predictions: array-like of float, shape (examples, outputs) or (examples,).
        labels: array-like of float of the same shape.
        output_names: sequence of str, one an output, default the indices.

    Returns:
        dict of plain values: "n", "mse", "rmse", "mae", "r2", "pearson", "spearman", "class_names", "by_output" (list
        with the same figures and "name").

    Raises:
        ValueError: if the shapes differ or a value is not finite.

    Example:
        ```python
        from keras_transformer.evaluation import regression_report
        report = regression_report([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])
        assert round(report["mse"], 4) == 0.3333 and report["spearman"] == 1.0
        ```
    """
    predicted = float_matrix(predictions, "predictions")
    truth = float_matrix(labels, "labels")
    if predicted.shape != truth.shape:
        raise ValueError(f"`labels` must have shape {predicted.shape}. Received: {truth.shape}")
    names = class_name_list(output_names, predicted.shape[1])
    by_output = [_one_output(name, predicted[:, i], truth[:, i]) for i, name in enumerate(names)]
    keys = [key for key in by_output[0] if key != "name"]
    means = {}
    for key in keys:
        known = [entry[key] for entry in by_output if entry[key] is not None]
        means[key] = float(np.mean(known)) if known else None
    return {"n": len(truth), **means, "class_names": names, "by_output": by_output}


def _one_output(name: str, predicted: np.ndarray, truth: np.ndarray) -> dict:
    from scipy.stats import pearsonr, spearmanr

    error = predicted - truth
    mse = float(np.mean(error**2))
    spread = float(np.mean((truth - truth.mean()) ** 2))
    varied = len(truth) > 1 and np.ptp(predicted) > 0 and np.ptp(truth) > 0
    return {
        "name": name,
        "mse": mse,
        "rmse": float(np.sqrt(mse)),
        "mae": float(np.mean(np.abs(error))),
        "r2": 1 - mse / spread if spread > 0 else None,
        "pearson": float(pearsonr(predicted, truth).statistic) if varied else None,
        "spearman": float(spearmanr(predicted, truth).statistic) if varied else None,
    }
