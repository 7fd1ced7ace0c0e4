"""Logits of encoded texts, in the order of the texts."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_transformer import data


def score_rows(
    model: Any,
    rows: data.TokenRows,
    tokens_per_batch: int = 8192,
    pad_id: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Scores encoded texts, sorted by length; the logits of the windows of one text are averaged.

    Args:
        model: A Keras model with dict outputs that have `logits`.
        rows: Encoded texts, from `data.encode`.
        tokens_per_batch: Most tokens in a batch, padding included; a longer row is a batch of its own. Default 8192.
        pad_id: Token id of padding. Default 0.
        progress: Called as `progress(done, total)` after each batch, with numbers of batches. Default None.

    Returns:
        Float32 array of shape (texts, num_outputs).
    """
    callbacks = [] if progress is None else [_Progress(progress)]
    return data.predict_in_order(
        lambda batches: model.predict(batches, verbose=0, callbacks=callbacks)["logits"], rows, tokens_per_batch, pad_id
    )


class _Progress(keras.callbacks.Callback):
    """Tells how many batches are predicted."""

    def __init__(self, progress: Callable[[int, int], object]):
        super().__init__()
        self._progress = progress

    def on_predict_batch_end(self, batch, logs=None):
        self._progress(batch + 1, self.params["steps"])
