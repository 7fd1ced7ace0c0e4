"""Batches for `model.fit` and for prediction: a `tf.data.Dataset` that gathers tokenized rows inside the graph."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_transformer.data.delivery import PARALLEL_CALLS, delivered
from keras_transformer.data.packing import PackedEpoch
from keras_transformer.data.plan import Epoch, Plan
from keras_transformer.data.rows import TokenRows, pool_windows
from keras_transformer.data.weights import row_weights

if TYPE_CHECKING:
    import tensorflow as tf

# Labels of packed rows are padded to a multiple of so many texts a row: training has few shapes then.
_SLOT_STEP = 4
# Prediction needs few shapes less than it needs little padding; eight columns keep the products aligned.
_LENGTH_STEP = 8


def make_dataset(
    rows: TokenRows,
    labels: np.ndarray,
    weights: np.ndarray | None,
    plan: Plan,
    epoch: int = 0,
    start_step: int = 0,
    num_epochs: int = 1,
    pad_id: int = 0,
) -> "tf.data.Dataset":
    """Make the training data of one epoch, or of several, one after the other.

    Args:
        rows: `TokenRows`; the rows of one text share its label, and its weight is divided among them.
        labels: int32 `(texts,)`, or float32 `(texts, k)`; or as many as there are rows.
        weights: float `(texts,)`, or None for all alike; brought to mean one over the rows. As many as there are rows
            are taken to be shared out already.
        plan: `BatchPlan` or `PackedPlan` over `rows.lengths`.
        epoch: int, the first epoch. Default 0.
        start_step: int, the first step in that epoch, so that a run goes on where it stopped. Default 0.
        num_epochs: int. Default 1.
        pad_id: int, token id of padding. Default 0.

    Returns:
        A dataset of `(inputs, labels, sample_weight)`: a dict of int32 `(batch, length)` tensors `token_ids`,
        `segment_ids`, `padding_mask`; the labels; float32 `(batch,)`. Its order is deterministic, and its options
        switch automatic sharding off.

        With a `PackedPlan` a row holds several texts. The dict then has `position_ids`, from 0 in each text, and
        `example_ids`, from 1 in each row and 0 for padding, too. Labels and weights are of shape (batch, slots, ...),
        the text with example id i at i - 1; what a row lacks has label and weight 0. This is what
        `TextClassifier.packed` and `DistributedModel` take.

    Raises:
        ValueError: if the sizes do not fit each other, or a step is out of range.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        rows = data.TokenRows(np.arange(1, 10), np.array([0, 2, 5, 9]), np.arange(3))
        plan = data.BatchPlan(rows.lengths, bucket_lengths=(4,), tokens_per_batch=8, shuffle=False)
        inputs, labels, weights = next(iter(data.make_dataset(rows, np.array([0, 1, 1]), None, plan)))
        assert inputs["token_ids"].numpy().tolist() == [[1, 2, 0, 0], [3, 4, 5, 0]]
        assert inputs["padding_mask"].numpy().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]
        ```
    """
    if plan.num_rows != len(rows):
        raise ValueError(f"The plan must be over these rows. Received: {plan.num_rows} in the plan, {len(rows)} rows.")
    if not 0 <= start_step <= plan.steps_per_epoch or num_epochs < 1:
        raise ValueError(
            f"`start_step` must be from 0 to {plan.steps_per_epoch}, `num_epochs` at least 1. "
            f"Received: {start_step}, {num_epochs}."
        )
    first = plan.epoch(epoch)
    make_gather = _packed_gatherer if isinstance(first, PackedEpoch) else _gatherer
    gather = make_gather(rows, _per_row(rows, labels, weights), pad_id)
    dataset = _batches(gather, first, start_step)
    for later in range(epoch + 1, epoch + num_epochs):
        dataset = dataset.concatenate(_batches(gather, plan.epoch(later)))
    return delivered(dataset)


def make_eval_dataset(
    rows: TokenRows, tokens_per_batch: int = 16384, pad_id: int = 0
) -> tuple["tf.data.Dataset", np.ndarray]:
    """Make the inputs of a prediction, sorted by length so that little is padded, the longest first.

    Args:
        rows: `TokenRows`.
        tokens_per_batch: int, budget of tokens per batch, padding included. Default 16384.
        pad_id: int, token id of padding. Default 0.

    Returns:
        A dataset of input dicts, and int64 `(rows,)`: output i belongs to row `order[i]`.

    Raises:
        ValueError: if there is no row, or a row does not fit the budget.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        rows = data.TokenRows(np.arange(1, 10), np.array([0, 2, 5, 9]), np.arange(3))
        dataset, order = data.make_eval_dataset(rows)
        assert order.tolist() == [2, 1, 0]
        ```
    """
    if not len(rows):
        raise ValueError("There must be at least one row to predict. Received: 0 rows.")
    # No longer than the longest row: a model may have no more positions.
    lengths = np.minimum(-(-rows.lengths // _LENGTH_STEP) * _LENGTH_STEP, rows.lengths.max())
    if lengths.max() > tokens_per_batch:
        raise ValueError(f"`tokens_per_batch` must be at least {lengths.max()}. Received: {tokens_per_batch}.")
    order = np.argsort(-rows.lengths, kind="stable")
    splits = [0]
    while splits[-1] < len(order):
        longest = max(int(lengths[order[splits[-1]]]), 1)
        splits.append(min(splits[-1] + tokens_per_batch // longest, len(order)))
    batches = Epoch(order, np.array(splits), np.maximum(lengths[order[splits[:-1]]], 1))
    dataset = _batches(_gatherer(rows, (), pad_id), batches).map(lambda inputs: inputs)
    return delivered(dataset), order


def predict_in_order(
    predict: Callable[["tf.data.Dataset"], np.ndarray], rows: TokenRows, tokens_per_batch: int = 16384, pad_id: int = 0
) -> np.ndarray:
    """Predict sorted batches, and return the outputs in the order of the texts, windows averaged.

    Args:
        predict: function of a dataset of input dicts that returns their outputs, `(rows, k)`, one after the other; such
            as `model.predict` of a model with one output.
        rows: `TokenRows`.
        tokens_per_batch: int, budget of tokens per batch, padding included; a longer row is a batch of its own.
            Default 16384.
        pad_id: int, token id of padding. Default 0.

    Returns:
        float `(texts, k)`.

    Raises:
        ValueError: if there is no row.

    Example:
        ```python
        import numpy as np
        from keras_transformer import data

        def predict(batches):
            return np.concatenate([inputs["token_ids"].numpy().sum(1, keepdims=True) for inputs in batches])

        rows = data.TokenRows(np.arange(1, 10), np.array([0, 2, 5, 9]), np.arange(3))
        sums = data.predict_in_order(predict, rows)
        assert sums.tolist() == [[3], [12], [30]]
        ```
    """
    dataset, order = make_eval_dataset(rows, max(tokens_per_batch, int(rows.lengths.max(initial=0))), pad_id)
    sorted_outputs = np.asarray(predict(dataset))
    outputs = np.empty_like(sorted_outputs)
    outputs[order] = sorted_outputs
    return pool_windows(outputs, rows.example_ids)


def _per_row(rows: TokenRows, labels: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The label and the weight of each row."""
    labels = np.asarray(labels)
    labels = labels.astype(np.int32 if labels.ndim == 1 and labels.dtype.kind in "iub" else np.float32)
    weights = np.ones(rows.num_examples) if weights is None else np.asarray(weights)
    sizes = (rows.num_examples, len(rows))
    if len(labels) not in sizes or len(weights) not in sizes:
        raise ValueError(
            f"There must be a label and a weight for each of {rows.num_examples} texts. "
            f"Received: {len(labels)} labels, {len(weights)} weights."
        )
    if len(labels) == rows.num_examples:
        labels = labels[rows.example_ids]
    return labels, row_weights(rows, weights)


def _gatherer(rows: TokenRows, targets: tuple[np.ndarray, ...], pad_id: int) -> Callable[..., tuple]:
    """A function for the graph: from the rows of a batch and its length to its tensors."""
    import tensorflow as tf

    # On the processor even where there is an accelerator: the rows are read there, and only batches travel.
    with tf.device("CPU:0"):
        values, row_splits = tf.constant(rows.values), tf.constant(rows.row_splits)
        columns = [tf.constant(target) for target in targets]

    def gather(chosen: "tf.Tensor", length: "tf.Tensor") -> tuple:
        starts = tf.gather(row_splits, chosen)[:, None]
        ends = tf.gather(row_splits, chosen + 1)[:, None]
        places = starts + tf.range(length)[None, :]
        real = places < ends
        # Places beyond a row belong to the next one, or to none: the row's first token is read there, and masked.
        token_ids = tf.where(real, tf.gather(values, tf.where(real, places, starts)), tf.cast(pad_id, tf.int32))
        mask = tf.cast(real, tf.int32)
        inputs = {"token_ids": token_ids, "segment_ids": tf.zeros_like(mask), "padding_mask": mask}
        return (inputs, *(tf.gather(column, chosen) for column in columns))

    return gather


def _packed_gatherer(rows: TokenRows, targets: tuple[np.ndarray, ...], pad_id: int) -> Callable[..., tuple]:
    """The same for packed rows: from the texts of a batch, where each of them stands, and length and number of rows."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        values, row_splits = tf.constant(rows.values), tf.constant(rows.row_splits)
        columns = [tf.constant(target) for target in targets]

    def gather(chosen, packed_rows, slots, starts, length, num_packed) -> tuple:
        begins = tf.gather(row_splits, chosen)
        counts = tf.gather(row_splits, chosen + 1) - begins
        positions = tf.range(tf.reduce_sum(counts)) - tf.repeat(tf.cumsum(counts, exclusive=True), counts)
        cells = tf.repeat(packed_rows * length + starts, counts) + positions

        def spread(tokens: "tf.Tensor", padding: int = 0) -> "tf.Tensor":
            empty = tf.fill([num_packed * length], tf.cast(padding, tf.int32))
            filled = tf.tensor_scatter_nd_update(empty, cells[:, None], tf.cast(tokens, tf.int32))
            return tf.reshape(filled, [num_packed, length])

        width = -(-(tf.reduce_max(slots) + 1) // _SLOT_STEP) * _SLOT_STEP

        def by_slot(column: "tf.Tensor") -> "tf.Tensor":
            shape = tf.concat([[num_packed * width], tf.shape(column, tf.int64)[1:]], 0)
            filled = tf.scatter_nd((packed_rows * width + slots)[:, None], tf.gather(column, chosen), shape)
            return tf.reshape(filled, tf.concat([[num_packed, width], shape[1:]], 0))

        example_ids = spread(tf.repeat(slots + 1, counts))
        inputs = {
            "token_ids": spread(tf.gather(values, tf.repeat(begins, counts) + positions), pad_id),
            "segment_ids": tf.zeros_like(example_ids),
            "padding_mask": tf.cast(example_ids > 0, tf.int32),
            "position_ids": spread(positions),
            "example_ids": example_ids,
        }
        return (inputs, *(by_slot(column) for column in columns))

    return gather


def _reader(gather: Callable[..., tuple], batches: Epoch) -> Callable[["tf.Tensor"], tuple]:
    """A function for the graph: from a step to its batch."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        splits = tf.constant(batches.splits)
        of_rows = [tf.constant(getattr(batches, name)) for name in batches.of_rows]
        of_steps = [tf.constant(getattr(batches, name)) for name in batches.of_steps]

    def batch(step: "tf.Tensor") -> tuple:
        here = slice(splits[step], splits[step + 1])
        return gather(*(column[here] for column in of_rows), *(column[step] for column in of_steps))

    return batch


def _batches(gather: Callable[..., tuple], batches: Epoch, start_step: int = 0) -> "tf.data.Dataset":
    import tensorflow as tf

    return tf.data.Dataset.range(start_step, len(batches.bucket_lengths)).map(
        _reader(gather, batches),
        num_parallel_calls=PARALLEL_CALLS,
        deterministic=True,
    )
