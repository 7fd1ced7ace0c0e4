"""Writes a SavedModel: raw strings in, probabilities out, the packer inside the graph."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from .functions import EMBEDDINGS, Score, Tensors, by_length, embedding_of, text_specs, token_specs
from .signatures import EMBEDDING, INPUTS, LOGITS, Contract

METHODS = {name: f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress")}
"""API of TensorFlow Serving -> the `method_name` that a signature for it bears."""


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

    num_outputs = model.output["logits"].shape[-1]
    if num_outputs != len(contract.class_names):
        raise ValueError(
            f"The labels do not match the head, which has {num_outputs} outputs. "
            f"Received: {len(contract.class_names)} labels, {', '.join(contract.class_names[:5])}"
        )
    vectors = embedding_of(model, embedding)
    outputs = {LOGITS: model.output["logits"], EMBEDDING: keras.ops.cast(vectors, "float32")}
    features = keras.Model(model.input, outputs)

    # The graph of the model stands in the file once, and the signatures call it.
    @tf.function(autograph=False, input_signature=token_specs(None, None))
    def forward(*tensors):
        return features(dict(zip(INPUTS.values(), tensors, strict=True)), training=False)

    parts = Parts(
        score=by_length(lambda *tensors: forward(*tensors)[LOGITS], num_outputs),
        embed=by_length(lambda *tensors: forward(*tensors)[EMBEDDING], vectors.shape[-1]),
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
