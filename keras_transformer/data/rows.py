"""Texts as rows of token ids: one row per text, or one per window of a long text."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from keras_transformer.data.token_cache import TokenCache


@dataclasses.dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows of token ids, end to end.

    Args:
        values: int32 `(tokens,)`, the ids of all rows.
        row_splits: int64 `(rows + 1,)`, where each row begins and ends in `values`.
        example_ids: int32 `(rows,)`, the text of each row, ascending.

    Raises:
        ValueError: if the parts do not fit each other.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        rows = data.TokenRows(np.array([2, 7, 3, 2, 3]), np.array([0, 3, 5]), np.array([0, 1]))
        assert rows.lengths.tolist() == [3, 2] and rows.row(1).tolist() == [2, 3]
        ```
    """

    values: np.ndarray
    row_splits: np.ndarray
    example_ids: np.ndarray

    def __post_init__(self) -> None:
        """Check the parts, and give them their dtype."""
        for name, dtype in (("values", np.int32), ("row_splits", np.int64), ("example_ids", np.int32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype))
        splits, ids = self.row_splits, self.example_ids
        if (
            splits.size != ids.size + 1
            or splits[0] != 0
            or splits[-1] != self.values.size
            or (np.diff(splits) < 0).any()
        ):
            raise ValueError(
                "`row_splits` must rise from 0 to the number of values, one more than there are rows. "
                f"Received: {splits.size} splits for {ids.size} rows and {self.values.size} values."
            )
        if (np.diff(ids) < 0).any() or (ids.size and ids[0] < 0):
            raise ValueError("`example_ids` must ascend from 0 or more. Received: ids out of order.")

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.example_ids.size

    @property
    def lengths(self) -> np.ndarray:
        """int64 `(rows,)`: tokens per row."""
        return np.diff(self.row_splits)

    @property
    def num_examples(self) -> int:
        """The number of texts."""
        return int(self.example_ids[-1]) + 1 if len(self) else 0

    def row(self, index: int) -> np.ndarray:
        """Return one row.

        Args:
            index: int.

        Returns:
            int32 `(tokens,)`.
        """
        return self.values[self.row_splits[index] : self.row_splits[index + 1]]


def encode(
    packer: Callable[..., Any],
    texts: Sequence[str],
    batch_size: int = 1000,
    threads: int | None = None,
    cache: "TokenCache | None" = None,
) -> TokenRows:
    """Tokenize texts once, so that every epoch only gathers ids.

    Args:
        packer: `keras_transformer.text.TextPacker`; with `truncation="windows"` a long text gives several rows.
        texts: n strings.
        batch_size: int, texts per call of the packer. Default 1000.
        threads: int, calls of the packer at the same time. Default: the cores that this process may use.
        cache: `data.TokenCache` that keeps the rows, or None (default).

    Returns:
        `TokenRows` of `[CLS] ... [SEP]`.

    Raises:
        ValueError: if `batch_size` or `threads` is below 1.

    Example:
        ```python
        from keras_transformer import data, text

        packer = text.TextPacker(text.WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]))
        rows = data.encode(packer, ["good good", "bad"])
        assert rows.row(0).tolist() == [2, 5, 5, 3] and rows.row(1).tolist() == [2, 1, 3]
        ```
    """
    threads = len(os.sched_getaffinity(0)) if threads is None else threads
    for name, value in (("batch_size", batch_size), ("threads", threads)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {value}.")
    texts = list(texts)
    if cache is not None:
        return cache.get(packer, texts, lambda: encode(packer, texts, batch_size, threads))
    windows = getattr(packer, "truncation", None) == "windows"

    def one(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        batch = texts[start : start + batch_size]
        if windows:
            ragged, ids = packer.windows(batch)
            example_ids = np.asarray(ids) + start
        else:
            ragged = packer.tokens(batch)
            example_ids = np.arange(start, start + len(batch))
        return ragged.values.numpy(), ragged.row_lengths().numpy(), example_ids

    starts = range(0, len(texts), batch_size)
    # The tokenizers are TensorFlow operations, which leave Python to the other threads.
    with ThreadPoolExecutor(max(1, min(threads, len(starts)))) as executor:
        parts = list(executor.map(one, starts))
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int32))
    values, lengths, example_ids = zip(empty, *parts, strict=True)
    splits = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
    return TokenRows(np.concatenate(values), splits, np.concatenate(example_ids))


def pool_windows(outputs: np.ndarray, example_ids: np.ndarray) -> np.ndarray:
    """Average the outputs of the windows of each text.

    Args:
        outputs: float `(rows, k)`, for example logits.
        example_ids: int32 `(rows,)`, the text of each row, ascending and without a gap.

    Returns:
        float `(texts, k)`; the outputs themselves if every text has one row.

    Raises:
        ValueError: if a text has no row.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        assert data.pool_windows(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1])).tolist() == [[2.0], [5.0]]
        ```
    """
    if not len(example_ids):
        return outputs
    counts = np.bincount(example_ids)
    if not counts.all():
        raise ValueError(f"Every text must have a row. Received: none for text {int(counts.argmin())}.")
    if len(counts) == len(outputs):
        return outputs
    sums = np.zeros((len(counts), *outputs.shape[1:]), np.float64)
    np.add.at(sums, example_ids, outputs)
    return (sums / counts.reshape(-1, *[1] * (outputs.ndim - 1))).astype(outputs.dtype)
