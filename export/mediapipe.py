"""Files that MediaPipe's TextClassifier and TextEmbedder load as they are; refused where they could not be right."""

import pathlib

from .conversion import Conversion
from .functions import embedding_of, token_specs
from .mediapipe_metadata import INPUT_NAMES, attach
from .mediapipe_tokens import LONGEST_WORD
from .signatures import EMBEDDING, INPUTS, PROBABILITIES, Contract
from .tflite import TFLITE, cut, table_of
from .tflite_file import read_model

SPECIAL_TOKENS = {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]"}


def classifier_refused(pipeline, contract: Contract) -> str | None:
    """Returns why MediaPipe's TextClassifier could not serve a pipeline, or None if it can.

    Args:
        pipeline: `TextPipeline`.
        contract: `Contract` of its artefacts.
    """
    if contract.kind == "regression":
        return _no("its TextClassifier gives probabilities of classes, and this is a regression")
    if len(contract.class_names) < 2:
        return _no("a model with a single logit has no two classes between which its TextClassifier could choose")
    if any("\n" in name or "\r" in name for name in contract.class_names):
        return _no("a label holds an end of line, and the file of labels has one a line")
    return embedder_refused(pipeline, contract)


def embedder_refused(pipeline, contract: Contract) -> str | None:
    """Returns why MediaPipe could not make the tokens of a pipeline, or None if it can; arguments as above."""
    from keras_transformer.text import WordPieceTokenizer

    tokenizer = pipeline.packer.tokenizer
    if not isinstance(tokenizer, WordPieceTokenizer):
        return _no(f"its BertTokenizer reads WordPiece vocabularies, and this is a {type(tokenizer).__name__}")
    if contract.truncation != "head":
        return _no(f"it keeps the beginning of a long text, and this model was trained with {contract.truncation!r}")
    if not tokenizer.lowercase:
        return _no("it makes all letters small, and this vocabulary is cased")
    if not tokenizer.tokenize_chinese_chars:
        return _no("it splits Chinese text into characters, and this tokenizer does not")
    if tokenizer.max_characters_per_word != LONGEST_WORD:
        return _no(
            f"for it words of more than {LONGEST_WORD} bytes are unknown, and for this tokenizer those of more than "
            f"{tokenizer.max_characters_per_word} characters"
        )
    vocabulary = list(tokenizer.vocabulary)
    for key, token in SPECIAL_TOKENS.items():
        if tokenizer.special_tokens.get(key) != token:
            return _no(f"it needs the special token {token}, which here is {tokenizer.special_tokens.get(key)!r}")
    if vocabulary[0] != "[PAD]":
        return _no(f"for it padding is the first token of the vocabulary, which here is {vocabulary[0]!r}")
    if any(not token or token != token.strip("\r\n") for token in vocabulary) or len(set(vocabulary)) < len(vocabulary):
        return _no(
            "the vocabulary has an empty or a repeated line, which it would drop, and every later id would shift"
        )
    return None


def classifier_model(model, contract: Contract, files: dict[str, pathlib.Path]) -> Conversion:
    """Describes the files of TextClassifier: token ids of any length in, probabilities out.

    Args:
        model: `TextClassifier` of this package.
        contract: `Contract` that says what the outputs mean.
        files: Name of the precision -> file to write.
    """

    def function(input_word_ids, input_mask, input_type_ids):
        tensors = (cut(tensor, contract.max_length) for tensor in (input_word_ids, input_mask, input_type_ids))
        logits = model(dict(zip(INPUTS.values(), tensors, strict=True)), training=False)["logits"]
        return {PROBABILITIES: contract.serve(logits)[PROBABILITIES]}

    return Conversion(TFLITE, files, function, token_specs(1, None), table=table_of(model))


def embedder_model(model, contract: Contract, files: dict[str, pathlib.Path]) -> Conversion:
    """Describes the files of TextEmbedder: token ids of any length in, the vector that the head reads out.

    Arguments as for `classifier_model`.
    """
    import keras

    features = keras.Model(model.input, {EMBEDDING: embedding_of(model, "pooled")})

    def function(input_word_ids, input_mask, input_type_ids):
        tensors = (cut(tensor, contract.max_length) for tensor in (input_word_ids, input_mask, input_type_ids))
        return {EMBEDDING: features(dict(zip(INPUTS.values(), tensors, strict=True)), training=False)[EMBEDDING]}

    return Conversion(TFLITE, files, function, token_specs(1, None), table=table_of(model))


def attach_to(path: pathlib.Path, pipeline, labels: tuple[str, ...]) -> None:
    """Puts metadata, vocabulary and labels into a converted file.

    Args:
        path: The file.
        pipeline: `TextPipeline`.
        labels: Names of the classes; empty for an embedder.

    Raises:
        RuntimeError: If the file does not have the tensors that MediaPipe demands.
    """
    model = read_model(path)
    graph = model.subgraphs[0]
    inputs = [graph.tensors[tensor].name.decode() for tensor in graph.inputs]
    names = [next((ours for ours in INPUT_NAMES if ours in name), None) for name in inputs]
    if sorted(map(str, names)) != sorted(INPUT_NAMES) or len(graph.outputs) != 1:
        raise RuntimeError(
            f"{path.name} must have the inputs {', '.join(INPUT_NAMES)} and one output. "
            f"Received: {', '.join(inputs)} and {len(graph.outputs)}"
        )
    title = "text classifier" if labels else "text embedder"
    head = PROBABILITIES if labels else EMBEDDING
    vocabulary = pipeline.packer.tokenizer.vocabulary
    attach(path, title, [INPUT_NAMES[name] for name in names], head, vocabulary, labels)


def _no(reason: str) -> str:
    return f"No file for MediaPipe can be written: {reason}."
