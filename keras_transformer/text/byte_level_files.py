"""The files of byte-level BPE: `vocab.json` and `merges.txt`, or `tokenizer.json`, as Hugging Face names them."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_transformer._files import write_text
from keras_transformer.text import special_files
from keras_transformer.text.byte_level import bytes_to_letters
from keras_transformer.text.folder import CONFIG_FILE, TOKENIZER_FILE, class_name, read_json

if TYPE_CHECKING:
    from keras_transformer.text.byte_level_bpe import ByteLevelBPETokenizer

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
# The class in Hugging Face's configuration, without "Fast" at its end, and its special tokens.
_ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": {"content": "<mask>", "lstrip": True},
}
_GPT2 = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
CLASSES: dict[str, dict[str, Any]] = {"GPT2Tokenizer": _GPT2, "RobertaTokenizer": _ROBERTA, "BartTokenizer": _ROBERTA}


def read_vocabulary(path: str | os.PathLike) -> dict[str, int]:
    """Reads a `vocab.json`.

    Args:
        path: The file.

    Returns:
        dict of tokens to ids.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or not such a dict.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no vocabulary at this path. Received: {path}.")
    return read_json(path)


def read_merges(path: str | os.PathLike) -> list[str]:
    """Reads a `merges.txt`.

    Args:
        path: The file.

    Returns:
        list of "a b", by rank.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file with merges at this path. Received: {path}.")
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"A file with merges must be UTF-8. Received: {path}, which is not ({error}).") from error
    lines = [line.rstrip("\r") for line in lines]
    return [line for line in lines if line and not line.startswith("#version")]


def check_vocabulary(vocabulary: Mapping[str, int]) -> list[str]:
    """Returns the tokens in the order of their ids, or says what is wrong.

    Args:
        vocabulary: dict of tokens to ids.

    Returns:
        list of str.

    Raises:
        ValueError: If the ids are not 0, 1, 2, ..., or a byte has no token.
    """
    ids = list(vocabulary.values())
    if any(isinstance(i, bool) or not isinstance(i, int) for i in ids) or sorted(ids) != list(range(len(ids))):
        raise ValueError(
            f"The ids of a vocabulary must be 0, 1, 2, ... Received: {len(ids)} tokens with other ids, or one id twice."
        )
    missing = [letter for letter in bytes_to_letters() if letter not in vocabulary]
    if missing:
        raise ValueError(
            f"A byte-level vocabulary has a token for each of the 256 bytes. Received: {len(ids)} tokens without "
            f"{len(missing)} of them, such as {missing[0]!r}; is it the vocabulary of another kind of tokenizer?"
        )
    return sorted(vocabulary, key=vocabulary.__getitem__)


def check_merges(merges: Sequence[str], ids: Mapping[str, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """Looks the merges up in the vocabulary, or says which does not fit.

    Args:
        merges: "a b" by rank.
        ids: dict of tokens to ids.

    Returns:
        The ids of each pair, and the id of what it becomes. Where a pair occurs twice, its last rank counts.

    Raises:
        ValueError: If a merge is not two tokens with a blank between, or one of its three tokens is not there.
    """
    found = {}
    for rank, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else []
        if len(parts) != 2 or not all(parts):
            raise ValueError(f"A merge is two tokens with one blank between. Received: {merge!r} at merge {rank}.")
        missing = [token for token in (*parts, "".join(parts)) if token not in ids]
        if missing:
            raise ValueError(
                f"The merges do not fit the vocabulary: use the two files of one tokenizer. Received: {merge!r} at "
                f"merge {rank}, where the vocabulary has no {missing[0]!r}."
            )
        pair = (ids[parts[0]], ids[parts[1]])
        found.pop(pair, None)
        found[pair] = ids["".join(parts)]
    return list(found), list(found.values())


def save(path: str | os.PathLike, tokenizer: "ByteLevelBPETokenizer") -> None:
    """Writes the files.

    Args:
        path: Folder; made if it is not there.
        tokenizer: The tokenizer.
    """
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    write_text(path / VOCABULARY_FILE, json.dumps(tokenizer.vocabulary, ensure_ascii=False) + "\n")
    write_text(path / MERGES_FILE, "".join(f"{line}\n" for line in ("#version: 0.2", *tokenizer.merges)))
    settings = {
        "tokenizer_class": tokenizer.hugging_face_class,
        "add_prefix_space": tokenizer.add_prefix_space,
    }
    special_files.write_config(path, settings, tokenizer)


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the files.

    Args:
        path: Folder of ours or of Hugging Face.

    Returns:
        The arguments of `ByteLevelBPETokenizer`.

    Raises:
        FileNotFoundError: If the folder or a file is not there.
        ValueError: If the folder holds another kind of tokenizer, or a broken file.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder with a tokenizer at this path. Received: {path}.")
    config, backend = read_json(path / CONFIG_FILE), read_json(path / TOKENIZER_FILE)
    splitter = _check_backend(backend, path / TOKENIZER_FILE) if backend else {}
    if (path / VOCABULARY_FILE).is_file() and (path / MERGES_FILE).is_file():
        vocabulary, merges = read_vocabulary(path / VOCABULARY_FILE), read_merges(path / MERGES_FILE)
    elif backend:
        vocabulary = backend["model"].get("vocab") or {}
        merges = [m if isinstance(m, str) else " ".join(m) for m in backend["model"].get("merges") or []]
    else:
        raise FileNotFoundError(
            f"A folder with byte-level BPE has {VOCABULARY_FILE} and {MERGES_FILE}, or {TOKENIZER_FILE}. Received: "
            f"{path}, which has neither."
        )
    defaults = CLASSES.get(class_name(path))
    if defaults is None:
        candidates = (_ROBERTA, _GPT2)
        defaults = next(
            (d for d in candidates if all(special_files.content_of(t) in vocabulary for t in d.values())), {}
        )
    special_tokens, added_tokens = special_files.read(path, defaults)
    return {
        "vocabulary": {t: i for t, i in vocabulary.items()},
        "merges": merges,
        "add_prefix_space": config.get("add_prefix_space", splitter.get("add_prefix_space", False)),
        "special_tokens": special_tokens,
        "added_tokens": added_tokens,
        **special_files.settings_of(config),
    }


def _check_backend(backend: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """Returns the settings of GPT-2's pre-tokenizer, or says what else there is."""
    model = backend.get("model") or {}
    if model.get("type", "BPE" if "merges" in model else None) != "BPE":
        raise ValueError(f"Only BPE can be loaded as byte-level BPE. Received: {path} of type {model.get('type')!r}.")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"):
        if model.get(key):
            raise ValueError(
                f"Only byte-level BPE as GPT-2 has it can be loaded. Received: {path} with {key}={model[key]!r}."
            )
    splitter = backend.get("pre_tokenizer") or {}
    if backend.get("normalizer") or splitter.get("type") != "ByteLevel" or not splitter.get("use_regex", True):
        raise ValueError(
            f"Only tokenizers that split words as GPT-2 does, without a normalizer, can be loaded as byte-level BPE. "
            f"Received: {path} with pre_tokenizer {splitter.get('type')!r}, normalizer "
            f"{(backend.get('normalizer') or {}).get('type')!r}."
        )
    return splitter
