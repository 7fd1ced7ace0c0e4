"""How much each text counts in the loss."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_transformer.data.rows import TokenRows


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the weights that make all classes count alike, as scikit-learn's "balanced".

    Args:
        labels: int `(n,)`.
        num_classes: int.

    Returns:
        float32 `(num_classes,)`: `n / (classes that occur * texts of the class)`, 0 for a class that does not occur.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        assert np.allclose(data.class_weights(np.array([0, 0, 0, 1]), 2), [2 / 3, 2.0])
        ```
    """
    counts = np.bincount(labels, minlength=num_classes)
    present = counts > 0
    weights = np.where(present, len(labels) / (present.sum() * np.maximum(counts, 1)), 0.0)
    return weights.astype(np.float32)


def example_weights(
    labels: np.ndarray,
    class_weight: str | Mapping[int, float] | Sequence[float] | None = None,
    weights: np.ndarray | None = None,
    num_classes: int | None = None,
) -> np.ndarray:
    """Return the weight of each text: that of its class times its own, with mean one.

    Args:
        labels: int `(n,)` class numbers; with `class_weight=None` any labels.
        class_weight: "balanced", a weight per class number (a mapping leaves the others at 1), or None.
        weights: float `(n,)`, the texts' own weights. Default: all 1.
        num_classes: int; by default the largest label tells it.

    Returns:
        float32 `(n,)`.

    Raises:
        ValueError: if a weight is negative or not finite, all are zero, or classes are weighted where a text has no
            single class.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        assert np.allclose(data.example_weights(np.array([0, 0, 0, 1]), "balanced"), [2 / 3, 2 / 3, 2 / 3, 2])
        ```
    """
    labels = np.asarray(labels)
    result = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    if result.shape != (len(labels),):
        raise ValueError(f"There must be one weight per text. Received: shape {result.shape} for {len(labels)} texts.")
    if class_weight is not None:
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError("Class weights need labels of kind 'single_label'. Received: labels of another kind.")
        result = result * _per_class(labels, class_weight, num_classes)[labels]
    return _mean_one(result).astype(np.float32)


def row_weights(rows: TokenRows, weights: np.ndarray) -> np.ndarray:
    """Share each text's weight among its rows, and bring the mean over rows to one.

    Args:
        rows: `TokenRows`.
        weights: float `(texts,)`; as many as there are rows are taken to be shared already.

    Returns:
        float32 `(rows,)`.
    """
    weights = np.asarray(weights, np.float64)
    if len(weights) == len(rows):
        return _mean_one(weights).astype(np.float32)
    shares = np.bincount(rows.example_ids, minlength=len(weights))
    return _mean_one(weights[rows.example_ids] / shares[rows.example_ids]).astype(np.float32)


def _per_class(
    labels: np.ndarray, class_weight: str | Mapping[int, float] | Sequence[float], num_classes: int | None
) -> np.ndarray:
    num_classes = num_classes or int(labels.max()) + 1
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"`class_weight` must be 'balanced' or a number per class. Received: {class_weight!r}.")
        return class_weights(labels, num_classes)
    table = np.ones(num_classes)
    if isinstance(class_weight, Mapping):
        unknown = [label for label in class_weight if label not in range(num_classes)]
        if unknown:
            raise ValueError(f"Classes are numbered from 0 to {num_classes - 1}. Received: a weight for {unknown[0]}.")
        for label, weight in class_weight.items():
            table[label] = weight
        return table
    if len(class_weight) != num_classes:
        raise ValueError(f"There must be one weight for each of {num_classes} classes. Received: {len(class_weight)}.")
    return np.asarray(class_weight, np.float64)


def _mean_one(weights: np.ndarray) -> np.ndarray:
    if not weights.size:
        return weights
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError("Weights must be finite, not negative, and not all zero. Received: some that are not.")
    return weights / weights.mean()
