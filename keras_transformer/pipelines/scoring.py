"""Logits of encoded texts, computed in batches of equal length and returned in the order of the texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer import data

BUCKET_LENGTHS = (32, 64, 96, 128, 192, 256, 320, 384, 448, 512)


def score_rows(
    model: Any,
    rows: data.TokenRows,
    bucket_lengths: Sequence[int] = BUCKET_LENGTHS,
    tokens_per_batch: int = 8192,
) -> np.ndarray:
    """Scores encoded texts; the logits of the windows of one text are averaged.

    Args:
        model: A Keras model with dict outputs that have `logits`.
        rows: Encoded texts, from `data.encode`.
        bucket_lengths: Lengths, in tokens, that batches are padded to.
        tokens_per_batch: Most tokens in a batch, padding included.

    Returns:
        Float32 array of shape (texts, num_outputs).
    """
    # A long model needs a bucket that takes its longest row.
    longest = int(rows.lengths.max())
    buckets = sorted({*(length for length in bucket_lengths if length < longest), longest})
    plan = data.BatchPlan(rows.lengths, buckets, max(tokens_per_batch, longest), shuffle=False)
    dataset = data.make_dataset(rows, np.zeros(rows.num_examples, np.int32), None, plan)
    order = np.concatenate([plan.batch(0, step)[1] for step in range(plan.steps_per_epoch)])
    scored = model.predict(dataset, verbose=0)["logits"]
    by_row = np.empty_like(scored)
    by_row[order] = scored
    return data.pool_windows(by_row, rows.example_ids)
