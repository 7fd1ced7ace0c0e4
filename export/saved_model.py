"""Writes a SavedModel: raw strings in, probabilities out, the packer inside the graph."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from .signatures import (
    CLASSES,
    EMBEDDING,
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

WINDOWS_AT_A_TIME = 16
EMBEDDINGS = ("pooled", "mean")
METHODS = {name: f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress")}
"""API of TensorFlow Serving -> the `method_name` that a signature for it bears."""

Tensors = dict[str, Any]
Score = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature of a SavedModel.

    Args:
        function: Function of named tensors that returns a dict of tensors, each with the batch first.
        specs: Its inputs, list of `tf.TensorSpec`.
        method: str, the API of TensorFlow Serving that it is for: "predict" (default), "classify" or "regress".
    """

    function: Callable[..., Tensors]
    specs: list
    method: str = "predict"


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the signatures of a SavedModel are made of.

    Args:
        score: Function of token ids, mask and segment ids to logits, float32 of shape (batch, num_outputs).
        embed: The same to one vector for each row, float32 of shape (batch, hidden_dim).
        packer: `TextPacker`.
        contract: `Contract` that says what the outputs mean.
    """

    score: Score
    embed: Score
    packer: Any
    contract: Contract


def write_saved_model(
    model, packer, contract: Contract, folder: str | pathlib.Path, embedding: str = EMBEDDINGS[0]
) -> None:
    """Writes the SavedModel of a classifier, unchecked; `export_pipeline` writes, verifies and renames it.

    Which signatures it has depends on the kind of the model: `tasks.TASKS`. TensorFlow and tensorflow_text are enough
    to load it.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker`.
        contract: `Contract` that says what the outputs mean.
        folder: Folder to create.
        embedding: str, what `embed` gives: "pooled" (default), the vector that the head reads, or "mean", the mean
            of the last hidden states over the real tokens.

    Raises:
        ValueError: If the labels of the contract do not match the head.
        OSError: If the files cannot be written.
    """
    import keras
    import tensorflow as tf

    from .tasks import task_of

    outputs = model.output["logits"].shape[-1]
    if outputs != len(contract.class_names):
        raise ValueError(
            f"The labels do not match the head, which has {outputs} outputs. "
            f"Received: {len(contract.class_names)} labels, {', '.join(contract.class_names[:5])}"
        )
    features = keras.Model(model.input, {LOGITS: model.output["logits"], EMBEDDING: embedding_of(model, embedding)})

    # The graph of the model stands in the file once, and the signatures call it.
    @tf.function(autograph=False, input_signature=token_specs(None, None))
    def forward(*tensors):
        return features(dict(zip(INPUTS.values(), tensors, strict=True)), training=False)

    parts = Parts(
        score=lambda *tensors: forward(*tensors)[LOGITS],
        embed=lambda *tensors: forward(*tensors)[EMBEDDING],
        packer=_StoredOnce(packer),
        contract=contract,
    )
    signatures = task_of(contract.kind).signatures(parts)
    write_archive(
        {name: (signature.function, signature.specs) for name, signature in signatures.items()}, folder, [packer]
    )
    _name_methods(folder, {name: METHODS[signature.method] for name, signature in signatures.items()})


class _StoredOnce:
    """A packer whose vocabulary stands in the file once, however many signatures take text."""

    def __init__(self, packer):
        import tensorflow as tf

        self.truncation = packer.truncation
        self.pack = packer.pack
        self._call = tf.function(lambda text: packer(text), autograph=False, input_signature=text_specs())
        self.windows = tf.function(lambda text: packer.windows(text), autograph=False, input_signature=text_specs())

    def __call__(self, text) -> Tensors:
        return self._call(text)


def embedding_of(model, embedding: str):
    """Returns the symbolic tensor of one vector for each row of the model's input.

    Args:
        model: `TextClassifier`.
        embedding: str, "pooled" or "mean"; see `write_saved_model`.

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
    return MeanPooling(dtype=model.pool.dtype_policy)(*model.pool.input)


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


def write_archive(
    signatures: dict[str, tuple[Callable, list]], folder: str | pathlib.Path, resources: Sequence[Any] = ()
) -> None:
    """Writes functions of a model as the signatures of a SavedModel.

    Args:
        signatures: Name -> (function, list of `tf.TensorSpec`).
        folder: Folder to create.
        resources: `tf.Module`s with what else the functions read, such as the model of a SentencePiece tokenizer.

    Raises:
        OSError: If the files cannot be written.
    """
    import keras
    import tensorflow as tf

    from keras_transformer import ops

    # Only Keras' archive tracks the weights; converted from a `tf.Module` around the model they would be lost. It finds
    # them through the functions that read them: `archive.track(model)` would write every weight a second time.
    archive = keras.export.ExportArchive()
    for resource in resources:
        archive.track(resource)
    try:
        with ops.products_in("float32"):
            for name, (function, specs) in signatures.items():
                archive.add_endpoint(name, function, input_signature=specs)
            archive.write_out(str(folder), verbose=False)
    except tf.errors.OpError as error:
        raise OSError(f"Could not write the SavedModel: {error.message.splitlines()[0]}") from error


def _name_methods(folder: str | pathlib.Path, methods: dict[str, str]) -> None:
    """Writes the `method_name` of the signatures, which TensorFlow 2 leaves at that of Predict.

    A server with `--enable_signature_method_name_check`, and every old one, refuses Classify and Regress without it.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = pathlib.Path(folder) / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    definitions = saved_model.meta_graphs[0].signature_def
    for name, method in methods.items():
        definitions[name].method_name = method
    path.write_bytes(saved_model.SerializeToString(deterministic=True))
