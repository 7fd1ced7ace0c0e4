"""The files of SentencePiece, `spiece.model` or `tokenizer.model`, and what Hugging Face writes beside them."""

import dataclasses
import os
import pathlib
import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_transformer._files import write_bytes
from keras_transformer.text import special_files
from keras_transformer.text.albert_rules import NUMBER_COMMA_PENALTY, AlbertRules
from keras_transformer.text.folder import CONFIG_FILE, TOKENIZER_FILE, class_name, read_json

if TYPE_CHECKING:
    from keras_transformer.text.sentence_piece import SentencePieceTokenizer

MODEL_FILES = ("spiece.model", "tokenizer.model")
CLASSES = ("T5Tokenizer", "LlamaTokenizer", "AlbertTokenizer")
# The special tokens of the class, where the files say nothing.
_ALBERT = {
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "unk_token": "<unk>",
    "sep_token": "[SEP]",
    "pad_token": "<pad>",
    "cls_token": "[CLS]",
    "mask_token": {"content": "[MASK]", "lstrip": True},
}
_UNIGRAM, _BPE = 1, 2
_UNKNOWN, _CONTROL, _USER, _BYTE = 2, 3, 4, 6
# `normalizer_spec { add_dummy_prefix: false }`: where a message is written twice, the second one counts.
_NO_BLANK = b"\x1a\x02\x18\x00"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a model says of its pieces.

    Attributes:
        pieces: The pieces (str) in the order of their ids.
        texts: What each stands for in decoded text (bytes).
        special_tokens: dict of "unk_token", "bos_token", "eos_token", "pad_token" to the piece, where there is one.
        added_tokens: The control symbols, as `added_tokens` of a tokenizer.
        adds_blank: bool. Texts get a blank in front.
        is_unigram: bool. The model is a unigram language model, else BPE.
        is_plain_unigram: bool. It is one without byte fallback or symbols of the user's own.
    """

    pieces: list[str]
    texts: list[bytes]
    special_tokens: dict[str, str]
    added_tokens: list[dict[str, Any]]
    adds_blank: bool
    is_unigram: bool
    is_plain_unigram: bool


def read_model(model: bytes | str | os.PathLike) -> bytes:
    """Reads a model.

    Args:
        model: The model itself, or its path.

    Returns:
        bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `model` is neither bytes nor a path.
    """
    if isinstance(model, bytes):
        return model
    if not isinstance(model, str | os.PathLike):
        raise ValueError(
            f"model must be the path of a SentencePiece model, or its bytes. Received: {reprlib.repr(model)}."
        )
    if not pathlib.Path(model).is_file():
        raise FileNotFoundError(f"There is no SentencePiece model at this path. Received: {model}.")
    return pathlib.Path(model).read_bytes()


def facts_of(model: bytes) -> Facts:
    """Looks into a model.

    Args:
        model: The serialized model.

    Returns:
        `Facts`.

    Raises:
        ValueError: If it is not a unigram or BPE model of SentencePiece.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    try:
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    except DecodeError:
        proto = None
    if proto is None or not proto.pieces:
        raise ValueError(
            f"This is not a SentencePiece model; look for spiece.model or tokenizer.model, not its text or the "
            f"pointer to a large file. Received: {len(model)} bytes that begin with {model[:16]!r}."
        )
    trainer = proto.trainer_spec
    if trainer.model_type not in (_UNIGRAM, _BPE):
        raise ValueError(f"Only unigram and BPE models can be loaded. Received: model_type {trainer.model_type}.")
    pieces = [piece.piece for piece in proto.pieces]
    texts = []
    for piece in proto.pieces:
        is_byte = piece.type == _BYTE
        texts.append(bytes([int(piece.piece[3:5], 16)]) if is_byte else piece.piece.replace("▁", " ").encode())
    control = [p.piece for p in proto.pieces if p.type == _CONTROL]
    unknown = next((p.piece for p in proto.pieces if p.type == _UNKNOWN), None)
    ids = {"bos_token": trainer.bos_id, "eos_token": trainer.eos_id, "pad_token": trainer.pad_id}
    special = {key: pieces[i] for key, i in ids.items() if 0 <= i < len(pieces) and pieces[i] in control}
    if unknown is not None:
        special["unk_token"] = unknown
    return Facts(
        pieces=pieces,
        texts=texts,
        special_tokens=special,
        added_tokens=[{"content": piece} for piece in control],
        adds_blank=proto.normalizer_spec.add_dummy_prefix,
        is_unigram=trainer.model_type == _UNIGRAM,
        is_plain_unigram=trainer.model_type == _UNIGRAM and not any(p.type in (_USER, _BYTE) for p in proto.pieces),
    )


def without_blank(model: bytes) -> bytes:
    """Returns the model with `add_dummy_prefix` off."""
    return model + _NO_BLANK


def albert_tokens(pieces: Sequence[str]) -> dict[str, str]:
    """Returns ALBERT's special tokens, as far as a model has them."""
    named = {key: special_files.content_of(token) for key, token in _ALBERT.items()}
    return {key: token for key, token in named.items() if token in pieces}


def divides_number_commas(model: bytes) -> bytes:
    """Returns the model with pieces such as "9," so unlikely that they are divided, as ALBERT does."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    for piece in proto.pieces:
        if piece.piece[-1:] == "," and piece.piece[-2:-1].isdigit():
            piece.score -= NUMBER_COMMA_PENALTY
    return proto.SerializeToString()


def save(path: str | os.PathLike, tokenizer: "SentencePieceTokenizer") -> None:
    """Writes the files.

    Args:
        path: Folder; made if it is not there.
        tokenizer: The tokenizer.
    """
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    facts = facts_of(tokenizer.model)
    settings: dict[str, Any] = {"tokenizer_class": tokenizer.hugging_face_class}
    if tokenizer.rules is not None:
        settings |= {"do_lower_case": tokenizer.rules.lowercase, "keep_accents": not tokenizer.rules.strip_accents}
    elif facts.is_unigram:
        # Hugging Face's class adds a hundred of these unless it is told how many there are.
        count = sum(token["id"] >= len(facts.pieces) and _is_extra(token) for token in tokenizer.added_tokens)
        settings |= {"extra_ids": count}
    else:
        settings |= {"add_bos_token": False, "add_eos_token": False}
    settings |= {"legacy": tokenizer.prefix == "always", "add_prefix_space": tokenizer.prefix != "never"}
    write_bytes(path / MODEL_FILES[0 if facts.is_unigram else 1], tokenizer.model)
    special_files.write_config(path, settings, tokenizer)


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Reads the files.

    Args:
        path: Folder of ours or of Hugging Face.

    Returns:
        The arguments of `SentencePieceTokenizer`.

    Raises:
        FileNotFoundError: If the folder or the model is not there.
        ValueError: If the folder is that of a class whose ids are not the model's.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder with a tokenizer at this path. Received: {path}.")
    file = next((path / name for name in MODEL_FILES if (path / name).is_file()), None)
    if file is None:
        hint = f"; {TOKENIZER_FILE} alone is not enough" if (path / TOKENIZER_FILE).is_file() else ""
        raise FileNotFoundError(
            f"A folder with SentencePiece has {' or '.join(MODEL_FILES)}{hint}. Received: {path}, which has neither."
        )
    config = read_json(path / CONFIG_FILE)
    name = class_name(path)
    if name and name not in CLASSES:
        raise ValueError(
            f"Only the SentencePiece tokenizers of ALBERT, T5 and Llama can be loaded: others change the text or the "
            f"ids. Received: {path} with tokenizer_class {name!r}."
        )
    facts = facts_of(read_model(file))
    special_tokens, added_tokens = special_files.read(path, _ALBERT if name == "AlbertTokenizer" else {})
    # The model has it without a flag.
    special_tokens = facts.special_tokens | special_tokens
    prefix, rules = "always", None
    if name == "AlbertTokenizer":
        rules = AlbertRules(
            lowercase=config.get("do_lower_case", True), strip_accents=not config.get("keep_accents", False)
        )
    elif name == "T5Tokenizer":
        if not any(_is_extra(token) for token in added_tokens):
            count = config.get("extra_ids", 100)
            added_tokens += [{"content": f"<extra_id_{i}>"} for i in reversed(range(count))]
    elif name == "LlamaTokenizer":
        prefix = "always" if config.get("legacy") else "first"
        if config.get("add_prefix_space") is False:
            prefix = "never"
    return {
        "model": file,
        "prefix": prefix,
        "rules": rules,
        "special_tokens": special_tokens,
        "added_tokens": added_tokens,
        **special_files.settings_of(config),
    }


def _is_extra(token: dict[str, Any]) -> bool:
    return token["content"].startswith("<extra_id_")
