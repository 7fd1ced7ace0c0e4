"""Writes a SavedModel: raw strings in, probabilities out, the packer inside the graph."""

import pathlib
from collections.abc import Callable
from typing import Any

from .signatures import INPUTS, LOGITS, SERVING, TEXT, TOKENS, Contract

WINDOWS_AT_A_TIME = 16


def write_saved_model(model, packer, contract: Contract, folder: str | pathlib.Path) -> None:
    """Writes the SavedModel of a classifier, unchecked; `export_pipeline` writes, verifies and renames it.

    Signatures: `serving_default` takes `text`, string of shape (batch,); `tokens` takes `input_word_ids`, `input_mask`
    and `input_type_ids`, int32 of shape (batch, length). TensorFlow and tensorflow_text are enough to load it.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker`.
        contract: `Contract` that says what the outputs mean.
        folder: Folder to create.

    Raises:
        OSError: If the files cannot be written.
    """
    signatures = {
        SERVING: (text_function(model, packer, contract, logits=False), text_spec()),
        TOKENS: (with_known_ranks(token_function(model, contract)), token_specs(None, None)),
    }
    write_archive(model, signatures, folder)


def text_function(model, packer, contract: Contract, logits: bool) -> Callable[[Any], dict[str, Any]]:
    """Returns the function from text, string of shape (batch,), to the served outputs and, if asked for, `logits`."""

    def serve(text):
        values = text_logits(model, packer, text)
        return contract.serve(values) | ({LOGITS: values} if logits else {})

    return serve


def token_function(model, contract: Contract) -> Callable[..., dict[str, Any]]:
    """Returns the function from token ids, mask and segment ids to the served outputs and `logits`."""

    def serve(input_word_ids, input_mask, input_type_ids):
        values = {"input_word_ids": input_word_ids, "input_mask": input_mask, "input_type_ids": input_type_ids}
        logits = model({INPUTS[name]: value for name, value in values.items()}, training=False)["logits"]
        return contract.serve(logits) | {LOGITS: logits}

    return serve


def with_known_ranks(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Makes a token function say that its inputs have two dimensions.

    A session forgets the shapes of what it is fed, and without the rank of the mask the optimiser does not fuse the
    attention scores. TFLite keeps the shapes, and has no operator for this.
    """
    import tensorflow as tf

    def serve(input_word_ids, input_mask, input_type_ids):
        tensors = (input_word_ids, input_mask, input_type_ids)
        return function(*(tf.ensure_shape(tensor, [None, None]) for tensor in tensors))

    return serve


def text_logits(model, packer, text):
    """Packs texts inside the graph and computes logits; those of a text's windows are averaged.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker`.
        text: String tensor of shape (batch,).

    Returns:
        Float32 tensor of shape (batch, num_outputs).
    """
    import tensorflow as tf

    if packer.truncation != "windows":
        return model(packer(text), training=False)["logits"]
    rows, example_ids = packer.windows(text)
    logits = _in_parts(model, rows, packer.tokenizer.pad_id)
    return tf.math.unsorted_segment_mean(logits, example_ids, tf.shape(text)[0])


def _in_parts(model, rows, pad_id: int):
    """Computes logits of ragged rows, a few rows at a time: a text of 100,000 words has hundreds of windows."""
    import tensorflow as tf

    count = tf.cast(rows.nrows(), tf.int32)
    parts = tf.maximum(1, (count + WINDOWS_AT_A_TIME - 1) // WINDOWS_AT_A_TIME)
    size = (count + parts - 1) // parts
    ids = rows.to_tensor(pad_id)
    length = tf.shape(ids)[1]
    mask = tf.sequence_mask(rows.row_lengths(), length, tf.int32)
    # Parts of equal size; the last one is filled up with rows that are all padding.
    missing = [[0, parts * size - count], [0, 0]]
    ids = tf.reshape(tf.pad(ids, missing, constant_values=pad_id), [parts, size, length])
    mask = tf.reshape(tf.pad(mask, missing), [parts, size, length])

    def score(part):
        values = {"token_ids": part[0], "padding_mask": part[1], "segment_ids": tf.zeros_like(part[0])}
        return model(values, training=False)["logits"]

    spec = tf.TensorSpec([None, model.num_outputs], tf.float32)
    logits = tf.map_fn(score, (ids, mask), fn_output_signature=spec, parallel_iterations=1)
    return tf.reshape(logits, [parts * size, model.num_outputs])[:count]


def text_spec() -> list:
    """Returns the input of the text signature."""
    import tensorflow as tf

    return [tf.TensorSpec([None], tf.string, name=TEXT)]


def token_specs(batch: int | None, length: int | None) -> list:
    """Returns the inputs of the token signature; None leaves a size open."""
    import tensorflow as tf

    return [tf.TensorSpec([batch, length], tf.int32, name=name) for name in INPUTS]


def write_archive(model, signatures: dict[str, tuple[Callable, list]], folder: str | pathlib.Path) -> None:
    """Writes functions of a model as the signatures of a SavedModel.

    Args:
        model: Keras model whose weights the functions use.
        signatures: Name -> (function, list of `tf.TensorSpec`).
        folder: Folder to create.

    Raises:
        OSError: If the files cannot be written.
    """
    import keras
    import tensorflow as tf

    # Only Keras' archive tracks the weights; converted from a `tf.Module` around the model they would be lost.
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, specs) in signatures.items():
        archive.add_endpoint(name, function, input_signature=specs)
    try:
        archive.write_out(str(folder), verbose=False)
    except tf.errors.OpError as error:
        raise OSError(f"Could not write the SavedModel: {error.message.splitlines()[0]}") from error
