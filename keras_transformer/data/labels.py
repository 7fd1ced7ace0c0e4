"""From labels as people write them (names, numbers, lists) to arrays."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_transformer.data.examples import KINDS


def encode_labels(
    values: Sequence[Any],
    ids: Sequence[str],
    kind: str | None = None,
    class_names: Sequence[str] | None = None,
    separator: str | None = None,
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """Turn labels into an array, finding the kind and the class names where they are not given.

    Args:
        values: one label per text: a name, a number, a list of names, or a row of numbers.
        ids: str per text, named in errors.
        kind: "single_label", "multi_label" or "regression"; by default lists and rows mean "multi_label", numbers of
            which one has a fraction mean "regression", and everything else means "single_label".
        class_names: the classes in their order; by default those found, sorted (numerically if all are numbers).
        separator: str between the names of a text with several, for example "|"; makes the kind "multi_label".

    Returns:
        The labels (see `Examples`), the class names, and the kind.

    Raises:
        ValueError: if a label is missing, unknown, not finite or out of range, or if there is only one class.

    Example:
        ```python
        from keras_transformer.data.labels import encode_labels

        labels, names, kind = encode_labels(["pos", "neg", "pos"], ["a", "b", "c"])
        assert (labels.tolist(), names, kind) == ([1, 0, 1], ("neg", "pos"), "single_label")
        ```
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {kind!r}.")
    if class_names is not None and len(set(class_names)) != len(class_names):
        raise ValueError(f"`class_names` must differ from each other. Received: {list(class_names)}.")
    values = [value.tolist() if isinstance(value, np.ndarray | np.generic) else value for value in values]
    kind = kind or _infer_kind(values, separator)
    if kind == "regression":
        return _numbers(values, ids, class_names)
    if kind == "multi_label":
        return _sets(values, ids, class_names, separator)
    return _single(values, ids, class_names)


def _infer_kind(values: Sequence[Any], separator: str | None) -> str:
    if separator is not None or any(isinstance(value, list | tuple | set | frozenset) for value in values):
        return "multi_label"
    numbers = [_number(value) for value in values if not _missing(value)]
    if any(number is None for number in numbers):
        return "single_label"
    return "regression" if any(not float(number).is_integer() for number in numbers) else "single_label"


def _single(
    values: Sequence[Any], ids: Sequence[str], class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...], str]:
    for value, name in zip(values, ids, strict=True):
        if isinstance(value, list | tuple | set | frozenset):
            raise ValueError(
                f"Labels of kind 'single_label' must be one name or number per text; for several pass "
                f"kind='multi_label'. Received: {value!r} for {name}."
            )
        if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
            raise ValueError(
                f"Class labels must be names or whole numbers; for numbers to predict pass kind='regression'. "
                f"Received: {value!r} for {name}."
            )
    names = [_name(value, where) for value, where in zip(values, ids, strict=True)]
    if class_names is not None and values and all(isinstance(value, int) for value in values):
        # Whole numbers beside given names are class numbers, unless the names are those numbers.
        if not set(names) <= set(map(str, class_names)):
            return np.array(values, np.int64), tuple(map(str, class_names)), "single_label"
    classes = _classes(names, class_names)
    numbers = {name: number for number, name in enumerate(classes)}
    _check_known(names, ids, numbers)
    return np.array([numbers[name] for name in names], np.int64), classes, "single_label"


def _sets(
    values: Sequence[Any], ids: Sequence[str], class_names: Sequence[str] | None, separator: str | None
) -> tuple[np.ndarray, tuple[str, ...], str]:
    if _is_matrix(values, class_names):
        rows = np.array(values, np.float64)
        return rows, tuple(map(str, class_names or range(rows.shape[1]))), "multi_label"
    names: list[list[str]] = []
    for value, where in zip(values, ids, strict=True):
        if isinstance(value, str):
            # An empty cell is a text with no label at all, which is allowed here.
            value = [piece for piece in (value.split(separator) if separator else [value]) if piece.strip()]
        elif not isinstance(value, list | tuple | set | frozenset):
            value = [] if value is None else [value]
        names.append([_name(piece, where) for piece in value])
    flat = [name for row in names for name in row]
    classes = _classes(flat, class_names)
    numbers = {name: number for number, name in enumerate(classes)}
    _check_known(flat, [where for row, where in zip(names, ids, strict=True) for _ in row], numbers)
    rows = np.zeros((len(names), len(classes)), np.float64)
    for row, pieces in zip(rows, names, strict=True):
        row[[numbers[name] for name in pieces]] = 1.0
    return rows, classes, "multi_label"


def _numbers(
    values: Sequence[Any], ids: Sequence[str], class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...], str]:
    rows = []
    for value, where in zip(values, ids, strict=True):
        row = [_number(piece) for piece in (value if isinstance(value, list | tuple) else [value])]
        if any(number is None or not math.isfinite(number) for number in row):
            raise ValueError(f"Labels of kind 'regression' must be finite numbers. Received: {value!r} for {where}.")
        rows.append(row)
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            f"Every text must have as many numbers as the others. Received: {sorted({len(row) for row in rows})}."
        )
    width = len(rows[0]) if rows else 1
    names = tuple(class_names) if class_names is not None else tuple(f"value_{i}" for i in range(width))
    return np.array(rows, np.float64).reshape(len(rows), width), names, "regression"


def _classes(names: Iterable[str], class_names: Sequence[str] | None) -> tuple[str, ...]:
    if class_names is not None:
        return tuple(map(str, class_names))
    found = set(names)
    if all(name.lstrip("-").isdecimal() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _check_known(names: Iterable[str], ids: Iterable[str], numbers: dict[str, int]) -> None:
    for name, where in zip(names, ids, strict=True):
        if name not in numbers:
            raise ValueError(f"Unknown label for {where}: the classes are {list(numbers)}. Received: {name!r}.")


def _is_matrix(values: Sequence[Any], class_names: Sequence[str] | None) -> bool:
    """Whether the values are rows of 0 and 1 rather than lists of names."""
    rows = [value for value in values if isinstance(value, list | tuple)]
    if not rows or len(rows) != len(values):
        return False
    width = len(rows[0])
    if width < 2 or (class_names is not None and len(class_names) != width) or any(len(row) != width for row in rows):
        return False
    return all(isinstance(piece, int | float) and 0 <= piece <= 1 for row in rows for piece in row)


def _missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan")
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _name(value: Any, where: str) -> str:
    if _missing(value):
        raise ValueError(f"The label is missing for {where}: complete or remove that text. Received: {value!r}.")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
