"""Builds the packer that belongs to pretrained weights, from a vocab.txt, a tokenizer.json or a keras-nlp preset."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.sources import check_folder

if TYPE_CHECKING:
    from keras_transformer.text import TextPacker


def load_packer(
    path: str | os.PathLike[str], max_length: int | None = None, truncation: str = "head", **options: Any
) -> "TextPacker":
    """Loads the vocabulary and tokenizer settings of a pretrained folder, and checks that they fit its weights.

    Args:
        path: A Hugging Face folder (`vocab.txt`, or a `tokenizer.json` with a WordPiece model) or a keras-nlp preset.
        max_length: Longest packed row in tokens, at most the positions of the model. Default: the positions, but no
            more than 512.
        truncation: "head" (default), "head_tail" or "windows"; see `TextPacker`.
        **options: Other arguments of `TextPacker`.

    Returns:
        A `TextPacker`.

    Raises:
        FileNotFoundError: If the folder or its vocabulary is missing.
        ValueError: If the vocabulary has not as many tokens as the weights have rows, the tokenizer is not WordPiece,
            or `max_length` is beyond the model's positions.

    Example:
        ```python
        from keras_transformer import pretrained

        packer = pretrained.load_packer(pretrained.resolve("minilm"), max_length=16)
        print(packer(["A fine film."])["token_ids"])
        ```
    """
    # Here and not above: weights are loaded without tensorflow-text.
    from keras_transformer.text import TextPacker, WordPieceTokenizer

    folder = check_folder(Path(path).expanduser())
    values = read_json(folder / "config.json")
    is_preset = "registered_name" in values or "class_name" in values
    vocabulary, settings = _read_preset(folder) if is_preset else _read_huggingface(folder)
    sizes = values.get("config", {}) if is_preset else values
    rows = sizes.get("vocabulary_size" if is_preset else "vocab_size", 30522)
    positions = sizes.get("max_sequence_length" if is_preset else "max_position_embeddings", 512)
    if len(vocabulary) != rows:
        raise ValueError(
            f"The vocabulary in {folder} has {len(vocabulary)} tokens, but the weights embed {rows}. Received: a "
            f"vocabulary of other weights, or one with added tokens; a table padded at its end needs as many filler "
            f"lines (such as [unused1]) at the end of vocab.txt"
        )
    if max_length is None:
        max_length = min(positions, 512)
    elif max_length > positions:
        raise ValueError(f"The model has {positions} positions. Received: max_length={max_length}")
    tokenizer = WordPieceTokenizer(vocabulary, **settings)
    return TextPacker(tokenizer, max_length=max_length, truncation=truncation, **options)


def _read_huggingface(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Returns vocabulary and settings; tokenizer_config.json wins over the normalizer of tokenizer.json."""
    fast = read_json(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else {}
    if (folder / "vocab.txt").is_file():
        vocabulary = _read_lines(folder / "vocab.txt")
    elif fast:
        vocabulary = _wordpiece_vocabulary(folder, fast)
    else:
        raise FileNotFoundError(f"The folder has neither vocab.txt nor tokenizer.json. Received: {folder}")
    path = folder / "tokenizer_config.json"
    slow = read_json(path) if path.is_file() else {}
    normalizer = fast.get("normalizer") or {}
    return vocabulary, {
        "lowercase": slow.get("do_lower_case", normalizer.get("lowercase", True)),
        "strip_accents": slow.get("strip_accents", normalizer.get("strip_accents")),
        "tokenize_chinese_chars": slow.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True)),
    }


def _wordpiece_vocabulary(folder: Path, fast: dict[str, Any]) -> list[str]:
    model = fast.get("model") or {}
    if model.get("type") != "WordPiece":
        raise ValueError(
            f"Only WordPiece tokenizers are loaded. Received: {folder / 'tokenizer.json'} with a model of type "
            f"{model.get('type')!r}"
        )
    ids = dict(model["vocab"]) | {token["content"]: token["id"] for token in fast.get("added_tokens", [])}
    vocabulary = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in vocabulary] != list(range(len(vocabulary))):
        raise ValueError(f"The ids in {folder / 'tokenizer.json'} are not 0, 1, 2, ... without a gap.")
    return vocabulary


def _read_preset(folder: Path) -> tuple[list[str], dict[str, Any]]:
    path = folder / "assets" / "tokenizer" / "vocabulary.txt"
    if not path.is_file():
        raise FileNotFoundError(f"The preset has no assets/tokenizer/vocabulary.txt. Received: {folder}")
    settings = read_json(folder / "tokenizer.json").get("config", {})
    return _read_lines(path), {
        "lowercase": settings.get("lowercase", False),
        "strip_accents": settings.get("strip_accents", False),
        "tokenize_chinese_chars": settings.get("split_on_cjk", True),
    }


def _read_lines(path: Path) -> list[str]:
    # Not splitlines(): it would also split at the rare Unicode line ends that some tokens hold.
    text = path.read_bytes().decode("utf-8")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
