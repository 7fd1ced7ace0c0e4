"""Checks and small NumPy functions that every file of this room shares."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np

KINDS = ("single_label", "multi_label", "regression")


def check_kind(kind: str) -> str:
    """Return the task kind, or say which ones exist.

    Args:
        kind: str, one of "single_label", "multi_label", "regression".

    Returns:
        The same string.

    Raises:
        ValueError: for any other value.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {kind!r}")
    return kind


def float_matrix(values, name: str, columns: int | None = None) -> np.ndarray:
    """Return finite float64 values of shape (examples, outputs).

    Args:
        values: array-like, shape (examples, outputs) or (examples,), any numeric dtype.
        name: str, what the values are called in an error.
        columns: int, the number of outputs that is expected, default any.

    Returns:
        float64 array, shape (examples, outputs).

    Raises:
        ValueError: if there is no example, a value is not finite, or the shape does not fit.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or matrix.shape[0] == 0 or matrix.shape[1] == 0:
        raise ValueError(f"`{name}` must have shape (examples, outputs), not empty. Received: {np.shape(values)}")
    if columns is not None and matrix.shape[1] != columns:
        raise ValueError(f"`{name}` must have {columns} columns. Received: {matrix.shape[1]}")
    if not np.isfinite(matrix).all():
        row = int(np.argmin(np.isfinite(matrix).all(axis=1)))
        raise ValueError(f"`{name}` must be finite. Received: {matrix[row].tolist()} in row {row}")
    return matrix


def class_indices(labels, num_classes: int, num_examples: int) -> np.ndarray:
    """Return class indices as int64, checked against the number of classes and of examples.

    Args:
        labels: array-like of integers, shape (examples,).
        num_classes: int, number of classes; a label is 0 to num_classes - 1.
        num_examples: int, expected number of labels.

    Returns:
        int64 array, shape (examples,).

    Raises:
        ValueError: if a label is no class index, or the numbers differ.
    """
    array = np.asarray(labels)
    if array.shape != (num_examples,):
        raise ValueError(f"`labels` must have shape ({num_examples},), one class each. Received: {array.shape}")
    indices = array.astype(np.int64)
    wrong = (indices != array) | (indices < 0) | (indices >= num_classes)
    if wrong.any():
        raise ValueError(
            f"`labels` must be whole numbers from 0 to {num_classes - 1}. Received: {array[np.argmax(wrong)]!r}"
        )
    return indices


def binary_matrix(labels, shape: tuple[int, int]) -> np.ndarray:
    """Return 0/1 labels of the given shape as a boolean array.

    Args:
        labels: array-like, shape (examples, labels), every value 0 or 1.
        shape: (examples, labels), the expected shape.

    Returns:
        bool array of that shape.

    Raises:
        ValueError: if the shape differs or a value is neither 0 nor 1.
    """
    array = np.asarray(labels)
    if array.shape != shape:
        raise ValueError(f"`labels` must have shape {shape}. Received: {array.shape}")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        raise ValueError(f"`labels` of kind 'multi_label' must be 0 or 1. Received: {array[wrong][0]!r}")
    return array.astype(bool)


def class_name_list(class_names: Sequence[str] | None, count: int) -> list[str]:
    """Return one name per output; the index stands in where no names were given.

    Args:
        class_names: sequence of str, or None.
        count: int, number of outputs.

    Returns:
        list of `count` strings.

    Raises:
        ValueError: if the numbers differ or a name occurs twice.
    """
    names = [str(index) for index in range(count)] if class_names is None else [str(name) for name in class_names]
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"`class_names` must be {count} different names. Received: {names}")
    return names


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis in float64.

    Args:
        logits: float array, shape (examples, classes).

    Returns:
        float64 array of the same shape; rows sum to 1.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    exponent = np.exp(shifted)
    return exponent / exponent.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function in float64, without overflow at either end.

    Args:
        logits: float array of any shape.

    Returns:
        float64 array of the same shape.
    """
    values = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def to_probabilities(logits: np.ndarray, kind: str, temperature: float = 1.0) -> np.ndarray:
    """Turn logits into what the task reports: softmax, sigmoid, or the value itself.

    Args:
        logits: float array, shape (examples, outputs).
        kind: str, "single_label", "multi_label" or "regression".
        temperature: float, what logits are divided by first, default 1; no use for regression.

    Returns:
        float64 array of the same shape.
    """
    logits = float_matrix(logits, "logits")
    if check_kind(kind) == "regression":
        return logits
    return softmax(logits / temperature) if kind == "single_label" else sigmoid(logits / temperature)


def check_tools(*modules: str) -> None:
    """Say in one line what to install where an optional tool is missing.

    Args:
        *modules: str, import names.

    Raises:
        ModuleNotFoundError: if one cannot be found.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(
            "Evaluation needs scikit-learn, SciPy and matplotlib: pip install 'keras-transformer-toolkit[evaluation]'. "
            f"Received: no module named {', '.join(missing)}"
        )
