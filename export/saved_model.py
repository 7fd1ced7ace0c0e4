"""Writes a SavedModel: raw strings in, probabilities out, the packer inside the graph."""

import pathlib
from collections.abc import Callable
from typing import Any

from .signatures import INPUTS, LOGITS, SERVING, TEXT, TEXT_LOGITS, TOKENS, Contract

WINDOWS_AT_A_TIME = 16

Tensors = dict[str, Any]
Score = Callable[..., Any]


def write_saved_model(model, packer, contract: Contract, folder: str | pathlib.Path) -> None:
    """Writes the SavedModel of a classifier, unchecked; `export_pipeline` writes, verifies and renames it.

    Signatures: `serving_default` and `text_logits` take `text`, string of shape (batch,); `tokens` takes
    `input_word_ids`, `input_mask` and `input_type_ids`, int32 of shape (batch, length). TensorFlow and tensorflow_text
    are enough to load it.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker`.
        contract: `Contract` that says what the outputs mean.
        folder: Folder to create.

    Raises:
        OSError: If the files cannot be written.
    """
    import tensorflow as tf

    # The graph of the model stands in the file once, and the signatures call it.
    score = tf.function(score_function(model), autograph=False, input_signature=token_specs(None, None))
    signatures = {
        SERVING: (text_function(score, packer, contract.serve), text_specs()),
        TOKENS: (token_function(with_known_ranks(score), contract), token_specs(None, None)),
        TEXT_LOGITS: (text_function(score, packer, lambda logits: {LOGITS: logits}), text_specs()),
    }
    write_archive(signatures, folder)


def score_function(model) -> Score:
    """Returns the function from token ids, mask and segment ids, int32 of shape (batch, length), to logits."""

    def score(*tensors):
        return model(dict(zip(INPUTS.values(), tensors, strict=True)), training=False)["logits"]

    return score


def with_known_ranks(score: Score) -> Score:
    """Makes a score function say that its inputs have two dimensions.

    A session forgets the shapes of what it is fed, and without the rank of the mask the optimiser does not fuse the
    attention scores. TFLite keeps the shapes, and has no operator for this.
    """
    import tensorflow as tf

    return lambda *tensors: score(*(tf.ensure_shape(tensor, [None, None]) for tensor in tensors))


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
    logits = _in_parts(score, packer.pack(rows))
    return tf.math.unsorted_segment_mean(logits, example_ids, tf.shape(text)[0])


def _in_parts(score: Score, packed: Tensors):
    """Computes logits a few rows at a time: a text of 100,000 words has hundreds of windows."""
    import tensorflow as tf

    tensors = tuple(packed[name] for name in INPUTS.values())
    count, length = tf.unstack(tf.shape(tensors[0]))
    parts = tf.maximum(1, (count + WINDOWS_AT_A_TIME - 1) // WINDOWS_AT_A_TIME)
    size = (count + parts - 1) // parts
    # Parts of equal size: the last one is filled up with rows whose mask is 0.
    missing = [[0, parts * size - count], [0, 0]]
    tensors = tuple(tf.reshape(tf.pad(tensor, missing), [parts, size, length]) for tensor in tensors)
    spec = tf.TensorSpec([None, None], tf.float32)
    logits = tf.map_fn(lambda part: score(*part), tensors, fn_output_signature=spec, parallel_iterations=1)
    return tf.reshape(logits, [parts * size, tf.shape(logits)[2]])[:count]


def write_archive(signatures: dict[str, tuple[Callable, list]], folder: str | pathlib.Path) -> None:
    """Writes functions of a model as the signatures of a SavedModel.

    Args:
        signatures: Name -> (function, list of `tf.TensorSpec`).
        folder: Folder to create.

    Raises:
        OSError: If the files cannot be written.
    """
    import keras
    import tensorflow as tf

    from keras_transformer import ops

    # Only Keras' archive tracks the weights; converted from a `tf.Module` around the model they would be lost. It finds
    # them through the functions that read them: `archive.track(model)` would write every weight a second time.
    archive = keras.export.ExportArchive()
    try:
        with ops.products_in("float32"):
            for name, (function, specs) in signatures.items():
                archive.add_endpoint(name, function, input_signature=specs)
            archive.write_out(str(folder), verbose=False)
    except tf.errors.OpError as error:
        raise OSError(f"Could not write the SavedModel: {error.message.splitlines()[0]}") from error
