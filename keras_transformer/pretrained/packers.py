"""Builds the packer that belongs to pretrained weights, from a vocab.txt, a tokenizer.json or a keras-nlp preset."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.sources import check_folder

_SPECIAL_TOKEN_KEYS = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")

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
    if "registered_name" in values or "class_name" in values:
        config = configs.from_keras_hub(values, pooler=True)
        vocabulary, settings = _read_preset(folder)
    else:
        config = configs.from_huggingface(values, pooler=False)
        vocabulary, settings = _read_huggingface(folder)
    if len(vocabulary) != config.vocabulary_size:
        raise ValueError(
            f"The vocabulary does not fit the weights, which embed {config.vocabulary_size} tokens. Received: "
            f"{len(vocabulary)} tokens in {folder}. It belongs to other weights, or tokens were added beside it, or "
            f"the table is padded: then add as many filler lines, such as [unused1], at the end of vocab.txt"
        )
    if max_length is None:
        max_length = min(config.max_length, 512)
    elif max_length > config.max_length:
        raise ValueError(f"The model has {config.max_length} positions. Received: max_length={max_length}")
    return TextPacker(
        WordPieceTokenizer(vocabulary, **settings), max_length=max_length, truncation=truncation, **options
    )


def _read_huggingface(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Returns vocabulary and settings; tokenizer_config.json wins over tokenizer.json, as in transformers."""
    from keras_transformer.text import load_vocabulary

    slow, fast = (
        read_json(path) if path.is_file() else {}
        for path in (folder / "tokenizer_config.json", folder / "tokenizer.json")
    )
    model, normalizer = fast.get("model") or {}, fast.get("normalizer") or {}
    if model.get("type", "WordPiece") != "WordPiece" or normalizer.get("type", "BertNormalizer") != "BertNormalizer":
        raise ValueError(
            f"Only BERT's WordPiece tokenizers can be loaded. Received: {folder / 'tokenizer.json'} with a "
            f"{model.get('type')} model and a {normalizer.get('type')} normalizer"
        )
    special_tokens = {key: _content(slow[key]) for key in _SPECIAL_TOKEN_KEYS if slow.get(key) is not None}
    settings = {
        "lowercase": slow.get("do_lower_case", normalizer.get("lowercase", True)),
        "strip_accents": slow.get("strip_accents", normalizer.get("strip_accents")),
        "tokenize_chinese_chars": slow.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True)),
        "max_characters_per_word": model.get("max_input_chars_per_word", 100),
        "special_tokens": special_tokens,
    }
    if (folder / "vocab.txt").is_file():
        required = special_tokens.values() if len(special_tokens) == len(_SPECIAL_TOKEN_KEYS) else ()
        return load_vocabulary(folder / "vocab.txt", required), settings
    if not fast:
        raise FileNotFoundError(f"The folder has neither vocab.txt nor tokenizer.json. Received: {folder}")
    ids = dict(model["vocab"]) | {token["content"]: token["id"] for token in fast.get("added_tokens", [])}
    vocabulary = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in vocabulary] != list(range(len(vocabulary))):
        raise ValueError(f"The ids in {folder / 'tokenizer.json'} are not 0, 1, 2, ... without a gap.")
    return vocabulary, settings


def _read_preset(folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Returns vocabulary and settings of a keras-nlp preset."""
    from keras_transformer.text import load_vocabulary

    path = folder / "assets" / "tokenizer" / "vocabulary.txt"
    if not path.is_file():
        raise FileNotFoundError(f"The preset has no assets/tokenizer/vocabulary.txt. Received: {folder}")
    settings = read_json(folder / "tokenizer.json").get("config", {})
    return load_vocabulary(path), {
        "lowercase": settings.get("lowercase", False),
        "strip_accents": settings.get("strip_accents", False),
        # keras-nlp reads "[MASK]" in a text as plain text unless it was told otherwise.
        "split_special_tokens": not settings.get("special_tokens_in_strings", False),
    }


def _content(token: str | dict[str, Any]) -> str:
    """Returns the text of a special token, which transformers writes plain or with its flags."""
    return token["content"] if isinstance(token, dict) else token
