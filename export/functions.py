"""Functions of tensors that artefacts are made of: from token ids, texts or `tf.Example` to what is served."""

import math
from collections.abc import Callable
from typing import Any

from .signatures import (
    CLASSES,
    EXAMPLES,
    INPUTS,
    LOGITS,
    PROBABILITIES,
    REGRESSED,
    SCORES,
    TEXT,
    VALUES,
    Contract,
)

ROWS_AT_A_TIME = 8
"""Rows of like length that a SavedModel computes together."""
EMBEDDINGS = ("pooled", "mean")

Tensors = dict[str, Any]
Score = Callable[..., Any]


def embedding_of(model, embedding: str):
    """Returns the symbolic tensor of one vector for each row of the model's input.

    Args:
        model: `TextClassifier`.
        embedding: str, "pooled" or "mean"; see `saved_model.write_saved_model`.

    Returns:
        Float tensor of shape (batch, hidden_dim).

    Raises:
        ValueError: For another name.
    """
    from keras_transformer.layers import MeanPooling

    if embedding not in EMBEDDINGS:
        raise ValueError(f"embedding must be one of {', '.join(EMBEDDINGS)}. Received: {embedding!r}")
    if embedding == "pooled":
        return model.head_dropout.input
    if model.pooling == "mean":
        return model.pool.output
    # All hidden states: the last block of the model itself may have computed the first token only.
    states = model.encoder(model.input)["sequence_output"]
    return MeanPooling(dtype=model.pool.dtype_policy)(states, model.input["padding_mask"])


def score_function(model) -> Score:
    """Returns the function from token ids, mask and segment ids, int32 of shape (batch, length), to logits."""

    def score(*tensors):
        return model(dict(zip(INPUTS.values(), tensors, strict=True)), training=False)["logits"]

    return score


def by_length(score: Score, width: int) -> Score:
    """Makes a score function compute a batch in parts: rows of like length together, as long as the longest of them.

    A batch is as long as its longest row: without this, short texts are computed mostly as padding, and a text of
    100,000 words, which has hundreds of windows, needs memory for all of them at once.

    Args:
        score: Function of token ids, mask and segment ids, int32 of shape (batch, length), to float32 of shape (batch,
            width).
        width: int.

    Returns:
        Function of the same tensors to the same result, in the order of the batch.
    """
    import tensorflow as tf

    spec = tf.TensorSpec([None, width], tf.float32)

    def compute(part):
        *tensors, longest = part
        # A session forgets the shapes of what it is fed, and without the rank of the mask the optimiser does not fuse
        # the attention scores.
        return score(*(tf.ensure_shape(tensor[:, :longest], [None, None]) for tensor in tensors))

    def call(*tensors):
        mask = tensors[list(INPUTS).index("input_mask")]
        count, length = tf.unstack(tf.shape(mask))
        parts = tf.maximum(1, (count + ROWS_AT_A_TIME - 1) // ROWS_AT_A_TIME)
        size = (count + parts - 1) // parts
        # Up to the last real token, wherever there is padding before it.
        lengths = tf.reduce_max(tf.where(mask > 0, tf.range(1, length + 1), 1), axis=1)
        order = tf.argsort(lengths)
        # Parts of equal size: empty rows fill up the first one.
        missing = parts * size - count
        tensors = [tf.pad(tf.gather(tensor, order), [[missing, 0], [0, 0]]) for tensor in tensors]
        lengths = tf.pad(tf.gather(lengths, order), [[missing, 0]])
        longest = tf.maximum(1, tf.reduce_max(tf.reshape(lengths, [parts, size]), axis=1))
        elements = (*(tf.reshape(tensor, [parts, size, length]) for tensor in tensors), longest)
        results = tf.map_fn(compute, elements, fn_output_signature=spec, parallel_iterations=1)
        results = tf.reshape(results, [parts * size, width])[missing:]
        return tf.gather(results, tf.math.invert_permutation(order))

    return call


def token_function(score: Score, contract: Contract) -> Callable[..., Tensors]:
    """Returns the function from token ids, mask and segment ids to the served outputs and `logits`."""

    def serve(input_word_ids, input_mask, input_type_ids):
        logits = score(input_word_ids, input_mask, input_type_ids)
        return contract.serve(logits) | {LOGITS: logits}

    return serve


def text_function(score: Score, packer, outputs: Callable[[Any], Tensors]) -> Callable[[Any], Tensors]:
    """Returns the function from text, string of shape (batch,), to what `outputs` makes of its logits."""

    def serve(text):
        return outputs(text_logits(score, packer, text))

    return serve


def classify_function(score: Score, packer, contract: Contract) -> Callable[[Any], Tensors]:
    """Returns the function of the Classify API.

    It takes serialised `tf.Example`, string of shape (batch,), to `classes` and `scores`, both of shape (batch,
    classes). An example without the feature `text` gets NaN, and the others their scores.
    """
    import tensorflow as tf

    def serve(inputs):
        text, valid = text_of_examples(inputs)
        probabilities = contract.serve(text_logits(score, packer, text))[PROBABILITIES]
        classes = tf.tile(tf.constant([contract.class_names]), [tf.shape(probabilities)[0], 1])
        return {CLASSES: classes, SCORES: tf.where(valid[:, None], probabilities, math.nan)}

    return serve


def regress_function(score: Score, packer, contract: Contract) -> Callable[[Any], Tensors]:
    """Returns the function of the Regress API.

    It takes serialised `tf.Example`, string of shape (batch,), to `outputs`, float32 of shape (batch,). An example
    without the feature `text` gets NaN.
    """
    import tensorflow as tf

    def serve(inputs):
        text, valid = text_of_examples(inputs)
        values = contract.serve(text_logits(score, packer, text))[VALUES]
        return {REGRESSED: tf.where(valid, values[:, 0], math.nan)}

    return serve


def text_of_examples(serialized):
    """Reads the feature `text` of serialised `tf.Example`.

    A required feature would fail the whole batch, in which TensorFlow Serving may have put other clients' requests.

    Args:
        serialized: String tensor of shape (batch,).

    Returns:
        The texts, string of shape (batch,), and whether there is exactly one, bool of the same shape.
    """
    import tensorflow as tf

    rows = tf.io.parse_example(serialized, {TEXT: tf.io.RaggedFeature(tf.string)})[TEXT]
    return rows.to_tensor("", shape=[None, 1])[:, 0], tf.equal(rows.row_lengths(), 1)


def example_specs() -> list:
    """Returns the input of a signature that takes serialised `tf.Example`."""
    import tensorflow as tf

    return [tf.TensorSpec([None], tf.string, name=EXAMPLES)]


def token_specs(batch: int | None, length: int | None) -> list:
    """Returns the inputs of a token signature; None leaves a size open."""
    import tensorflow as tf

    return [tf.TensorSpec([batch, length], tf.int32, name=name) for name in INPUTS]


def text_specs() -> list:
    """Returns the input of a text signature."""
    import tensorflow as tf

    return [tf.TensorSpec([None], tf.string, name=TEXT)]


def text_logits(score: Score, packer, text):
    """Packs texts inside the graph and computes logits; those of a text's windows are averaged.

    Args:
        score: Function of token ids, mask and segment ids.
        packer: `TextPacker`.
        text: String tensor of shape (batch,).

    Returns:
        Float32 tensor of shape (batch, num_outputs).
    """
    import tensorflow as tf

    if packer.truncation != "windows":
        packed = packer(text)
        return score(*(packed[name] for name in INPUTS.values()))
    rows, example_ids = packer.windows(text)
    packed = packer.pack(rows)
    logits = score(*(packed[name] for name in INPUTS.values()))
    return tf.math.unsorted_segment_mean(logits, example_ids, tf.shape(text)[0])
