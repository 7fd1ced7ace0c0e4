"""What every source gives: labelled texts, and their three parts."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from keras_transformer.data.hashing import add_texts

KINDS = ("single_label", "multi_label", "regression")


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled texts.

    Args:
        texts: list of str.
        labels: int32 `(n,)` class numbers for one label of many; float32 `(n, k)` of 0 and 1 for many labels at once;
            float32 `(n, k)` for regression.
        ids: list of str, one stable name per text.
        class_names: tuple of str; for regression the names of the columns.
        kind: "single_label" (default), "multi_label" or "regression".

    Raises:
        ValueError: if the sizes differ, or a label is out of range or not finite.

    Example:
        ```python
        from keras_transformer import data

        examples = data.Examples(["good", "bad", "fine"], [1, 0, 1], ["a", "b", "c"], ("neg", "pos"))
        assert examples.select([2, 0]).texts == ["fine", "good"]
        ```
    """

    texts: list[str]
    labels: np.ndarray
    ids: list[str]
    class_names: tuple[str, ...]
    kind: str = "single_label"

    def __post_init__(self) -> None:
        """Check the fields, and give the labels their dtype."""
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {KINDS}. Received: {self.kind!r}.")
        labels = np.asarray(self.labels)
        if not len(self.texts) == len(labels) == len(self.ids):
            raise ValueError(
                "There must be one label and one id per text. "
                f"Received: {len(self.texts)} texts, {len(labels)} labels, {len(self.ids)} ids."
            )
        if self.kind == "single_label":
            labels = _class_numbers(labels, self.class_names, self.ids)
        else:
            labels = _float_labels(labels, self.class_names, self.ids, self.kind)
        object.__setattr__(self, "texts", list(self.texts))
        object.__setattr__(self, "ids", list(self.ids))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def select(self, indices: Sequence[int] | np.ndarray) -> "Examples":
        """Return the examples at the given places, in that order.

        Args:
            indices: whole numbers from 0 to `len(self) - 1`.

        Returns:
            New `Examples`.
        """
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            texts=[self.texts[i] for i in indices],
            labels=self.labels[indices],
            ids=[self.ids[i] for i in indices],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Splits:
    """The three parts of a data set, and how they came about.

    Args:
        train: `Examples` to fit.
        validation: `Examples` for choosing the checkpoint, the threshold and the temperature; may be empty.
        test: `Examples` that are read once per run; may be empty.
        description: str, which source was used and how it was split, for the log and the report.
        dropped: `{reason: number of texts left out}`.
        test_raw: the test part with its markup left in, or None where the source has none to remove.
        notes: `{what: number of texts}` that were kept but changed.
    """

    train: Examples
    validation: Examples
    test: Examples
    description: str
    dropped: dict[str, int]
    test_raw: Examples | None = None
    notes: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names, the same for every part."""
        return self.train.class_names

    @property
    def kind(self) -> str:
        """The kind of the labels, the same for every part."""
        return self.train.kind


def fingerprint(splits: Splits) -> str:
    """Return a hash of all texts and labels, in order, by which a run can tell whether its data has changed.

    Args:
        splits: `Splits`.

    Returns:
        16 hexadecimal digits.

    Example:
        ```python
        from keras_transformer import data

        splits = data.from_arrays([f"text {i}" for i in range(20)], [0, 1] * 10)
        assert data.fingerprint(splits) == data.fingerprint(splits)
        ```
    """
    digest = hashlib.sha256(repr((splits.kind, splits.class_names)).encode())
    for part in (splits.train, splits.validation, splits.test):
        digest.update(f"{len(part)} {part.labels.dtype} {part.labels.shape}".encode())
        digest.update(np.ascontiguousarray(part.labels).tobytes())
        add_texts(digest, part.texts)
    return digest.hexdigest()[:16]


def _class_numbers(labels: np.ndarray, class_names: Sequence[str], ids: Sequence[str]) -> np.ndarray:
    if labels.ndim != 1:
        raise ValueError(
            "Labels of kind 'single_label' must have one dimension; pass kind='multi_label' or kind='regression' for "
            f"several values per text. Received: shape {labels.shape}."
        )
    if labels.size == 0:
        return labels.astype(np.int32)
    if labels.dtype.kind not in "iub":
        raise ValueError(f"Class labels must be whole numbers. Received: {labels.dtype} labels.")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if wrong.size:
        raise ValueError(
            f"Labels must be from 0 to {len(class_names) - 1}, as there are {len(class_names)} classes. "
            f"Received: {labels[wrong[0]]} for {ids[wrong[0]]}."
        )
    return labels.astype(np.int32)


def _float_labels(labels: np.ndarray, class_names: Sequence[str], ids: Sequence[str], kind: str) -> np.ndarray:
    if labels.size == 0:
        return np.zeros((0, len(class_names)), np.float32)
    labels = labels.astype(np.float32)
    if labels.ndim == 1 and kind == "regression":
        labels = labels[:, None]
    if labels.ndim != 2 or labels.shape[1] != len(class_names):
        raise ValueError(
            f"Labels of kind {kind!r} must have the shape (number of texts, {len(class_names)}). "
            f"Received: shape {labels.shape}."
        )
    wrong = np.flatnonzero(~np.isfinite(labels).all(axis=1))
    if wrong.size:
        raise ValueError(f"Labels must be finite numbers. Received: {labels[wrong[0]].tolist()} for {ids[wrong[0]]}.")
    if kind == "multi_label":
        wrong = np.flatnonzero(((labels < 0) | (labels > 1)).any(axis=1))
        if wrong.size:
            raise ValueError(
                "Labels of kind 'multi_label' must be between 0 and 1. "
                f"Received: {labels[wrong[0]].tolist()} for {ids[wrong[0]]}."
            )
    return labels
