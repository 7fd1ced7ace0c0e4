"""Logits of encoded texts, in the order of the texts."""

from typing import Any

import numpy as np

from keras_transformer import data


def score_rows(model: Any, rows: data.TokenRows, tokens_per_batch: int = 8192, pad_id: int = 0) -> np.ndarray:
    """Scores encoded texts, sorted by length; the logits of the windows of one text are averaged.

    Args:
        model: A Keras model with dict outputs that have `logits`.
        rows: Encoded texts, from `data.encode`.
        tokens_per_batch: Most tokens in a batch, padding included; a longer row is a batch of its own. Default 8192.
        pad_id: Token id of padding. Default 0.

    Returns:
        Float32 array of shape (texts, num_outputs).
    """
    return data.predict_in_order(
        lambda batches: model.predict(batches, verbose=0)["logits"], rows, tokens_per_batch, pad_id
    )
