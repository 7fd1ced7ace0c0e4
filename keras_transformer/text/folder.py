"""The tokenizer's files in a model folder: `vocab.txt` and `tokenizer_config.json`, as Hugging Face names them."""

import json
import os
import pathlib
from typing import TYPE_CHECKING, Any

from keras_transformer._files import write_text
from keras_transformer.text.vocabulary import SPECIAL_TOKENS, save_vocabulary

if TYPE_CHECKING:
    from keras_transformer.text.wordpiece import WordPieceTokenizer

VOCABULARY_FILE = "vocab.txt"
CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILE = "tokenizer.json"
OURS = "keras_transformer"
"""Where a configuration keeps what Hugging Face has no name for."""
ANY_CLASS = ("", "PreTrainedTokenizer", "TokenizersBackend")
"""Classes that say nothing of the kind of tokenizer."""
_CLASS_OF_MODEL = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "roberta": "RobertaTokenizer",
    "bart": "BartTokenizer",
    "albert": "AlbertTokenizer",
    "t5": "T5Tokenizer",
    "llama": "LlamaTokenizer",
    "gpt2": "GPT2Tokenizer",
}
_SPECIAL_KEYS = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


def save(path: str | os.PathLike, tokenizer: "WordPieceTokenizer") -> None:
    """Writes the files.

    Args:
        path: Folder; made if it is not there.
        tokenizer: The tokenizer.
    """
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    save_vocabulary(tokenizer.vocabulary, path / VOCABULARY_FILE)
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.tokenize_chinese_chars,
        "split_special_tokens": tokenizer.split_special_tokens,
        **tokenizer.special_tokens,
        OURS: {"max_characters_per_word": tokenizer.max_characters_per_word},
    }
    write_json(path / CONFIG_FILE, config)


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the files.

    `tokenizer_config.json` counts first, then `tokenizer.json`, then BERT's defaults.

    Args:
        path: Folder of ours or of Hugging Face.

    Returns:
        The arguments of `WordPieceTokenizer`.

    Raises:
        FileNotFoundError: If the folder, or a vocabulary in it, is not there.
        ValueError: If the folder holds another kind of tokenizer, or a broken file.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder with a tokenizer at this path. Received: {path}.")
    config = read_json(path / CONFIG_FILE)
    backend = read_json(path / TOKENIZER_FILE)
    normalizer = _check_backend(backend, path / TOKENIZER_FILE) if backend else {}
    special_tokens = {key: content_of(config[key]) for key in _SPECIAL_KEYS if config.get(key) is not None}
    _check_config(config, {**dict(zip(_SPECIAL_KEYS, SPECIAL_TOKENS, strict=True)), **special_tokens}, backend, path)

    if (path / VOCABULARY_FILE).is_file():
        vocabulary = path / VOCABULARY_FILE
    elif backend:
        vocabulary = _vocabulary_of(backend, path / TOKENIZER_FILE)
    else:
        raise FileNotFoundError(
            f"A tokenizer folder has {VOCABULARY_FILE}, or {TOKENIZER_FILE} with a WordPiece model. Received: {path}, "
            "which has neither."
        )
    ours = config.get(OURS) or {}
    return {
        "vocabulary": vocabulary,
        "lowercase": config.get("do_lower_case", normalizer.get("lowercase", True)),
        "strip_accents": config.get("strip_accents", normalizer.get("strip_accents")),
        "tokenize_chinese_chars": config.get("tokenize_chinese_chars", normalizer.get("handle_chinese_chars", True)),
        "special_tokens": special_tokens,
        "split_special_tokens": config.get("split_special_tokens", False),
        "max_characters_per_word": ours.get(
            "max_characters_per_word", backend.get("model", {}).get("max_input_chars_per_word", 100)
        ),
    }


def class_name(path: pathlib.Path) -> str:
    """Returns Hugging Face's class of the tokenizer in a folder, without "Fast" at its end.

    Args:
        path: The folder.

    Returns:
        What `tokenizer_config.json` says, else what belongs to the `model_type` in `config.json`, else what
        `tokenizer_config.json` says even though it is a class of any tokenizer; "" where there is neither.
    """
    name = str(read_json(path / CONFIG_FILE).get("tokenizer_class") or "").removesuffix("Fast")
    if name not in ANY_CLASS:
        return name
    return _CLASS_OF_MODEL.get(read_json(path / "config.json").get("model_type"), name)


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes a JSON file, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Returns the JSON object of a file, an empty one if there is no file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"This file must be JSON. Received: {path}, which is not ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"This file must hold a JSON object. Received: {path} with a {type(content).__name__}.")
    return content


def content_of(token: str | dict[str, Any]) -> str:
    """Returns the text of a special token, which some files write as an object."""
    return token["content"] if isinstance(token, dict) else token


def _check_backend(backend: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """Returns the settings of a BERT normalizer, or says what else there is."""
    model = backend.get("model") or {}
    # Files of older versions do not name the model's type.
    if model.get("type", "WordPiece" if "continuing_subword_prefix" in model else None) != "WordPiece":
        raise ValueError(f"Only WordPiece tokenizers can be loaded. Received: {path} of type {model.get('type')!r}.")
    if model.get("continuing_subword_prefix", "##") != "##":
        raise ValueError(
            f"Only WordPiece with '##' before suffixes can be loaded. Received: {path} with "
            f"{model['continuing_subword_prefix']!r}."
        )
    normalizer = backend.get("normalizer") or {}
    if normalizer.get("type") != "BertNormalizer" or not normalizer.get("clean_text", True):
        raise ValueError(
            f"Only tokenizers with BERT's normalizer and its clean_text can be loaded. Received: {path} with "
            f"{normalizer.get('type')!r}, clean_text={normalizer.get('clean_text')}."
        )
    splitter = (backend.get("pre_tokenizer") or {}).get("type")
    if splitter != "BertPreTokenizer":
        raise ValueError(
            f"Only tokenizers that split words as BERT does can be loaded. Received: {path}, {splitter!r}."
        )
    return normalizer


def _check_config(
    config: dict[str, Any], special_tokens: dict[str, str], backend: dict[str, Any], path: pathlib.Path
) -> None:
    """Refuses tokens that were added to the vocabulary: the graph knows the five of BERT only."""
    added = {content_of(token) for token in (config.get("added_tokens_decoder") or {}).values()}
    added |= {content_of(token) for token in backend.get("added_tokens") or []}
    added |= {content_of(token) for token in config.get("additional_special_tokens") or []}
    added -= set(special_tokens.values())
    if added:
        raise ValueError(
            f"Only BERT's five special tokens can be loaded ({', '.join(special_tokens.values())}). Received: {path} "
            f"with {', '.join(map(repr, sorted(added)[:3]))} added."
        )


def _vocabulary_of(backend: dict[str, Any], path: pathlib.Path) -> list[str]:
    ids = backend["model"].get("vocab") or {}
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"The ids of a vocabulary must be 0, 1, 2, ... Received: {path} with {len(ids)} others.")
    return sorted(ids, key=ids.get)
