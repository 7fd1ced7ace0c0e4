"""Special and added tokens in the files of a Hugging Face tokenizer."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from keras_transformer._files import write_text
from keras_transformer.text.added_tokens import SPECIAL_TOKEN_KEYS, AddedToken
from keras_transformer.text.folder import CONFIG_FILE, TOKENIZER_FILE, content_of, read_json

_MAP_FILE = "special_tokens_map.json"
_ADDED_FILE = "added_tokens.json"
_FLAGS = ("lstrip", "rstrip", "single_word", "special")


def read(
    path: pathlib.Path, defaults: Mapping[str, str | Mapping[str, Any]]
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Reads the special and added tokens of a folder.

    `tokenizer_config.json` counts first, then `tokenizer.json`, `special_tokens_map.json` and `added_tokens.json`.

    Args:
        path: The folder.
        defaults: dict of "bos_token", ... to what the class of the tokenizer has where the files say nothing.

    Returns:
        The arguments `special_tokens` and `added_tokens` of a tokenizer.
    """
    config, backend = read_json(path / CONFIG_FILE), read_json(path / TOKENIZER_FILE)
    special_map = read_json(path / _MAP_FILE)
    named = {}
    for source in (defaults, special_map, config):
        named.update({key: source[key] for key in SPECIAL_TOKEN_KEYS if key in source})
    special = {key: content_of(token) for key, token in named.items() if token is not None}

    found: dict[str, dict[str, Any]] = {}
    for index, token in (config.get("added_tokens_decoder") or {}).items():
        found.setdefault(token["content"], {**token, "id": int(index)})
    for token in backend.get("added_tokens") or []:
        found.setdefault(token["content"], token)
    for token, index in sorted(read_json(path / _ADDED_FILE).items(), key=lambda item: item[1]):
        found.setdefault(token, {"id": index, "special": token in special.values()})
    for source in (config, special_map):
        for key in ("additional_special_tokens", "extra_special_tokens"):
            more = source.get(key) or []
            for token in more.values() if isinstance(more, dict) else more:
                found.setdefault(content_of(token), {**_flags(token), "special": True})
    for source in (named, defaults):
        for token in source.values():
            if isinstance(token, Mapping) and token.get("content") in special.values():
                found.setdefault(token["content"], {**_flags(token), "special": True})
    added = [{"content": content, **_flags(token)} for content, token in found.items()]
    for token in added:
        if "id" in found[token["content"]]:
            token["id"] = found[token["content"]]["id"]
    return special, sorted(added, key=lambda token: token.get("id", len(found) << 32))


def write_config(path: pathlib.Path, settings: Mapping[str, Any], tokenizer: Any) -> None:
    """Writes `tokenizer_config.json`.

    Args:
        path: The folder.
        settings: dict of what comes before the special tokens.
        tokenizer: A `SubwordTokenizer`.
    """
    config = {
        **settings,
        "split_special_tokens": tokenizer.split_special_tokens,
        "clean_up_tokenization_spaces": False,
        **{key: tokenizer.special_tokens.get(key) for key in SPECIAL_TOKEN_KEYS},
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in tokenizer.added_tokens
        },
    }
    write_text(path / CONFIG_FILE, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that all tokenizers read from `tokenizer_config.json`."""
    return {"split_special_tokens": bool(config.get("split_special_tokens", False))}


def _flags(token: Any) -> dict[str, Any]:
    if isinstance(token, AddedToken | str):
        return {}
    return {key: token[key] for key in _FLAGS if key in token}
