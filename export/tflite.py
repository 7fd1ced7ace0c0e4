"""Writes `.tflite` files in several precisions: token ids in, or raw strings in with the packer inside; no Flex."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from . import low_bits
from .conversion import Conversion, Target
from .functions import score_function, text_function, text_specs, token_function, token_specs
from .operators import VARIABLE_OPERATORS, fixed_length, tflite_operators
from .precision import PRECISIONS, Precision
from .signatures import EMBEDDING, LOGITS, PROBABILITIES, TEXT, Contract
from .tflite_file import Graph, read_model, write_model

TEXT_OPERATORS = ("FastBertNormalize", "FastWordpieceTokenizeWithOffsets", "TFText>ByteSplitWithOffsets")
"""Custom operators of a text model; `tflite_registrar.SELECT_TFTEXT_OPS` of tensorflow_text has all of them."""
FULL_INT8_MASK = -30.0
"""Added to the score of a masked key where activations are int8: -30000 would take all 256 steps for itself."""
_MARK = "keras_transformer"


def token_model(model, contract: Contract, files: dict[str, pathlib.Path]) -> Conversion:
    """Describes the files that take token ids: static shape (1, max_length), TFLite's own operators only.

    Args:
        model: `TextClassifier`.
        contract: `Contract` that says what the outputs mean, and the length.
        files: Name of the precision -> file to write.
    """
    function = token_function(score_function(model), contract)
    return Conversion(TFLITE, files, function, token_specs(1, contract.max_length), table=table_of(model))


def dynamic_token_model(model, contract: Contract, files: dict[str, pathlib.Path]) -> Conversion:
    """Describes the files that take one row of token ids of any length: what is over max_length is cut in the graph.

    The last token, [SEP] in a row without padding, is kept, as the packer does that cuts the end of a text.

    Args:
        model: `TextClassifier`.
        contract: `Contract` that says what the outputs mean, and the length.
        files: Name of the precision -> file to write.
    """
    serve = token_function(score_function(model), contract)

    def function(input_word_ids, input_mask, input_type_ids):
        return serve(*(cut(tensor, contract.max_length) for tensor in (input_word_ids, input_mask, input_type_ids)))

    return Conversion(TFLITE, files, function, token_specs(1, None), table=table_of(model))


def text_model(model, packer, contract: Contract, files: dict[str, pathlib.Path]) -> Conversion:
    """Describes the files that take raw strings: any number of texts, padded to the longest of them.

    Args:
        model: `TextClassifier`.
        packer: `TextPacker`.
        contract: `Contract` that says what the outputs mean.
        files: Name of the precision -> file to write.

    Raises:
        ValueError: If TFLite has no operators for the way the packer works.
    """
    reason = text_model_refused(packer)
    if reason:
        raise ValueError(reason)
    function = text_function(score_function(model), packer, lambda logits: contract.serve(logits) | {LOGITS: logits})
    return Conversion(TFLITE, files, function, text_specs(), TEXT_OPERATORS, table_of(model))


def full_int8_model(model, contract: Contract, path: pathlib.Path, examples: dict[str, np.ndarray]) -> Conversion:
    """Describes the file whose activations are int8, too, with ranges measured on examples; else as `token_model`.

    Args:
        model: `TextClassifier`.
        contract: `Contract` that says what the outputs mean, and the length.
        path: File to write.
        examples: Input name -> int32 array of shape (examples, max_length).
    """
    config = model.get_config()
    # As `get_config` gives it: the encoder's own config, in which the fill value is one field.
    encoder = config["encoder"]
    config["encoder"] = encoder | {"config": encoder["config"] | {"mask_fill": FULL_INT8_MASK}}
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    plain = token_model(copy, contract, {"full_int8": path})
    return dataclasses.replace(plain, examples=examples)


def text_model_refused(packer) -> str | None:
    """Returns why the packer cannot go into a `.tflite`, or None if it can."""
    supported, reason = packer.tflite_supported()
    return None if supported else f"No .tflite that takes text can be written: {reason}"


def table_of(model) -> np.ndarray:
    """Returns the table of token embeddings of a model, float32 of shape (vocabulary_size, dim)."""
    return np.array(model.encoder.embeddings.tokens.table, np.float32)


def precision_of(path: str | pathlib.Path) -> Precision:
    """Returns the precision that a file written here says it has; of a file from elsewhere, float32.

    Raises:
        ValueError: If the file is not a TFLite model.
    """
    words = (read_model(path).description or b"").decode("utf-8", "replace").split()
    name = words[1] if len(words) == 2 and words[0] == _MARK else ""
    return PRECISIONS.get(name, PRECISIONS["float32"])


def format_of(path: str | pathlib.Path) -> str:
    """Returns the format of a file written here, by the names of its inputs and outputs.

    Returns:
        "tflite_text", "tflite_tokens", "tflite_dynamic", "mediapipe_classifier" or "mediapipe_embedder".

    Raises:
        ValueError: If the file is not a TFLite model, or has no signature.
    """
    signatures = read_model(path).signatureDefs
    if not signatures:
        raise ValueError(f"{path} has no signature, so it was not written here.")
    inputs, outputs = (
        {entry.name.decode() for entry in part} for part in (signatures[0].inputs, signatures[0].outputs)
    )
    if outputs == {PROBABILITIES}:
        return "mediapipe_classifier"
    if outputs == {EMBEDDING}:
        return "mediapipe_embedder"
    if inputs == {TEXT}:
        return "tflite_text"
    return "tflite_dynamic" if fixed_length(path) is None else "tflite_tokens"


def check_operators(path: pathlib.Path, custom_operators: Sequence[str] = ()) -> None:
    """Refuses a `.tflite` file that cannot work, by its operators.

    Args:
        path: The file.
        custom_operators: Names of the operators that it may need beside TFLite's own.

    Raises:
        RuntimeError: If it has lost its weights, needs operators that are missing, or has several graphs.
    """
    found = tflite_operators(path)
    lost = [name for name in VARIABLE_OPERATORS if name in found["builtin"]]
    if lost:
        raise RuntimeError(f"The conversion of {path.name} dropped the weights: it holds {', '.join(lost)}.")
    strange = sorted(set(found["custom"]) - set(custom_operators))
    if strange:
        raise RuntimeError(f"{path.name} would need operators that TFLite lacks: {', '.join(strange)}.")
    if found["subgraphs"] != 1:
        raise RuntimeError(f"{path.name} must have one graph. Received: {found['subgraphs']}")


def cut(tensor, length: int):
    """Cuts a row of token ids that is too long, and keeps its last token.

    Args:
        tensor: int32 tensor of shape (1, length of the row).
        length: int, of the result at most.
    """
    import tensorflow as tf

    return tf.concat([tensor[:, :length][:, :-1], tensor[:, -1:]], axis=1)


def _base(precision: Precision) -> str:
    """Name of the precision that TensorFlow converts to."""
    return "int8" if precision.table_bits or precision.weight_bits else precision.name


def _finish(source: str, path: pathlib.Path, precision: Precision, conversion: Conversion) -> None:
    """Quantises what TensorFlow leaves, notes the precision in the file, and looks at its operators."""
    model = read_model(source)
    if _base(precision) == "int8":
        graph = Graph(model)
        if precision.table_bits:
            low_bits.quantize_table(graph, conversion.table, precision.table_bits)
        if precision.weight_bits:
            low_bits.quantize_dense(graph, precision.weight_bits)
        low_bits.quantize_constants(graph)
    model.description = f"{_MARK} {precision.name}"
    write_model(model, path)
    check_operators(path, conversion.custom_operators)


TFLITE = Target("tflite", _base, _finish)
"""How `.tflite` files are made."""
