"""Reads and writes the rows of a table that AdamW updates only where a batch has them; see `optimizers.lazy`."""

from typing import Any

import keras
import tensorflow as tf

from keras_transformer.optimizers.clipping import dense


def check(optimizer: Any, replicas: int, accumulation_steps: int) -> None:
    """Refuses a table of single rows where the gradient is summed up as a whole table.

    Raises:
        ValueError: On several replicas, or with several batches an update.
    """
    if getattr(optimizer, "lazy_table", None) is not None and (replicas > 1 or accumulation_steps > 1):
        raise ValueError(
            "Sparse embedding updates need one replica and one batch an update. Leave them out. "
            f"Received: lazy_table={optimizer.lazy_table!r}, replicas={replicas}, "
            f"accumulation_steps={accumulation_steps}"
        )


def catch_up(optimizer: Any, token_ids: Any = None) -> None:
    """Makes the updates that rows have missed.

    Args:
        optimizer: Built `AdamW` with a `lazy_table`.
        token_ids: Integer tensor with the rows that are about to be read, or None for all of them.
    """
    lazy = optimizer.lazy
    size = lazy.table.shape[0]
    rows = tf.range(size) if token_ids is None else tf.unique(tf.reshape(token_ids, [-1]))[0]
    variables = [v.value for v in (*optimizer.moments_of(lazy.table), lazy.table)]
    state = [v.value.sparse_read(rows) for v in (lazy.updates, lazy.row_decay)]
    caught_up = lazy.caught_up(state, *(v.sparse_read(rows) for v in variables))
    for variable, values in zip(variables, caught_up, strict=True):
        variable.scatter_update(tf.IndexedSlices(values, rows))
    now = tf.cast(optimizer.iterations.value, tf.int32)
    lazy.updates.value.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), now), rows))
    decay = tf.fill(tf.shape(rows), lazy.decay.value.read_value())
    lazy.row_decay.value.scatter_update(tf.IndexedSlices(decay, rows))


def by_rows(optimizer: Any, gradients: list, variables: list) -> list:
    """Returns the gradients with each row of the table once, and those of the other variables as tensors."""
    return [_of_table(g) if v is optimizer.lazy.table else dense(g) for g, v in zip(gradients, variables, strict=True)]


def _of_table(gradient: Any) -> tf.IndexedSlices:
    if not isinstance(gradient, tf.IndexedSlices):
        raise ValueError(
            "Sparse embedding updates need a table that is only looked up in: here it is also multiplied by, so that "
            "its gradient has all rows. Leave them out."
        )
    return each_row_once(gradient)


def each_row_once(gradient: Any) -> Any:
    """Adds up what the gradient of a table has for the same row: a batch has most of its tokens more than once.

    Args:
        gradient: `tf.IndexedSlices`; a tensor or None is returned as it is.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, place, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


class CatchUp(keras.callbacks.Callback):
    """Brings the whole table up to date at the end of an epoch, before it is validated."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self._catch_up = tf.function(lambda: catch_up(optimizer), autograph=False)

    def on_test_begin(self, logs: dict | None = None) -> None:
        self._catch_up()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._catch_up()
