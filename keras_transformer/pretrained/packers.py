"""Builds the packer that belongs to pretrained weights, from a Hugging Face folder or a keras-nlp preset."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.families import family_named, family_of_preset
from keras_transformer.pretrained.sources import check_folder

if TYPE_CHECKING:
    from keras_transformer.text import TextPacker

# Tables of tokens are rounded up to multiples of at most this (T5: 32,100 tokens in 32,128 rows).
_MOST_SPARE_ROWS = 127
_GENERATION_FIELDS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
)


def load_packer(
    path: str | os.PathLike[str], max_length: int | None = None, truncation: str | None = None, **options: Any
) -> "TextPacker":
    """Loads the tokenizer of a pretrained folder with the frame of its family, and checks that it fits the weights.

    Args:
        path: A Hugging Face folder (`vocab.txt`, or `vocab.json` and `merges.txt`, or `spiece.model` or
            `tokenizer.model`, or a `tokenizer.json` with a WordPiece or byte-level BPE model), one that
            `save_huggingface` wrote, or a keras-nlp preset.
        max_length: Most tokens in a row, at most the positions of the model. Default: what the folder says, else 512;
            in either case no more than the positions.
        truncation: "head", "head_tail" or "windows"; see `TextPacker`. Default: what the folder says, else "head".
        **options: `head_fraction`, `stride` and `frame` of `TextPacker`.

    Returns:
        A `TextPacker`.

    Raises:
        FileNotFoundError: If the folder or its vocabulary is missing.
        ValueError: If the vocabulary does not fit the rows of the weights, the tokenizer is none that we have, or
            `max_length` is beyond the model's positions.

    Example:
        ```python
        from keras_transformer import pretrained

        packer = pretrained.load_packer(pretrained.resolve("minilm"), max_length=16)
        print(packer(["A fine film."])["token_ids"])
        ```
    """
    # Here and not above: weights are loaded without tensorflow-text.
    from keras_transformer.text import TextPacker

    if max_length is not None:
        options["max_length"] = max_length
    if truncation is not None:
        options["truncation"] = truncation
    folder = check_folder(Path(path).expanduser())
    values = read_json(folder / "config.json")
    if _is_preset(values):
        family = family_of_preset(values.get("class_name"))
        config = configs.to_config(family, family.preset.from_preset(values["config"]), pooler=False, tied=True)
        packer = _from_preset(folder, family.model_type, options)
    else:
        config = configs.from_huggingface(values)
        packer = TextPacker.load(folder, **options)
    config = getattr(config, "encoder", config)
    reason = misfit(packer, config.vocabulary_size)
    if reason:
        raise ValueError(f"{reason} in {folder}. {_MISFIT_CAUSES}")
    if packer.max_length > config.max_length:
        if max_length is not None:
            raise ValueError(f"The model has {config.max_length} positions. Received: max_length={max_length}")
        packer = TextPacker(packer.tokenizer, **packer.get_config() | {"max_length": config.max_length})
    return packer


def load_special_ids(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the special tokens with which a pretrained model generates.

    Args:
        path: A Hugging Face folder, or a keras-nlp preset, which says none.

    Returns:
        Dict of those of "bos_token_id", "eos_token_id" (int or list), "pad_token_id", "decoder_start_token_id",
        "forced_bos_token_id" and "forced_eos_token_id" that `generation_config.json` has, else `config.json`, else the
        family's published models.

    Raises:
        FileNotFoundError: If the folder or its configuration is missing.
        ValueError: If the model is of another architecture.

    Example:
        ```python
        from keras_transformer import pretrained

        assert pretrained.load_special_ids(pretrained.resolve("minilm")) == {"pad_token_id": 0}
        ```
    """
    folder = check_folder(Path(path).expanduser())
    values = read_json(folder / "config.json")
    family = family_of_preset(values["class_name"]) if _is_preset(values) else family_named(values.get("model_type"))
    generation = folder / "generation_config.json"
    sources = (family.token_ids, values, read_json(generation) if generation.is_file() else {})
    found: dict[str, Any] = {}
    for source in sources:
        # An explicit null takes back what an earlier source says.
        found |= {name: source[name] for name in _GENERATION_FIELDS if name in source}
    return {name: value for name, value in found.items() if value is not None}


def misfit(packer: "TextPacker", rows: int) -> str | None:
    """Returns why a vocabulary does not fit a table of tokens, up to "Received: ... tokens", or None if it does.

    Args:
        packer: TextPacker.
        rows: Number of rows of the table.
    """
    from keras_transformer.text import WordPieceTokenizer

    size = packer.tokenizer.vocabulary_size
    spare = 0 if isinstance(packer.tokenizer, WordPieceTokenizer) else _MOST_SPARE_ROWS
    if rows - spare <= size <= rows:
        return None
    return f"The vocabulary does not fit the weights, which embed {rows} tokens. Received: {size} tokens"


_MISFIT_CAUSES = (
    "It belongs to other weights, or tokens were added beside it, or the table is padded: then add as many filler "
    "lines, such as [unused1], to vocab.txt"
)


def _is_preset(values: Mapping[str, Any]) -> bool:
    return "registered_name" in values or "class_name" in values


def _from_preset(folder: Path, model_type: str, options: dict[str, Any]) -> "TextPacker":
    """Returns the packer of a keras-nlp preset."""
    from keras_transformer.text import TextPacker

    assets = folder / "assets" / "tokenizer"
    if not assets.is_dir() or not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f"The preset holds no tokenizer (tokenizer.json and assets/tokenizer/). Received: {folder}"
        )
    settings = read_json(folder / "tokenizer.json").get("config", {})
    if model_type == "albert":
        # keras-nlp cleans no text, so the tokenizer is not that of Hugging Face's class.
        options = {"frame": {"before": ["[CLS]"], "after": ["[SEP]"]}} | options
    return TextPacker(_preset_tokenizer(assets, model_type, settings), **options)


def _preset_tokenizer(assets: Path, model_type: str, settings: Mapping[str, Any]) -> Any:
    from keras_transformer.text import ByteLevelBPETokenizer, SentencePieceTokenizer, WordPieceTokenizer

    # keras-nlp reads "[MASK]" in a text as plain text unless it was told otherwise.
    plain = {"split_special_tokens": not settings.get("special_tokens_in_strings", False)}
    if (assets / "vocabulary.txt").is_file():
        return WordPieceTokenizer(
            assets / "vocabulary.txt",
            lowercase=settings.get("lowercase", False),
            strip_accents=settings.get("strip_accents", False),
            **plain,
        )
    if (assets / "merges.txt").is_file() and (assets / "vocabulary.json").is_file():
        special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        if model_type != "gpt2":
            special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
            special |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
        return ByteLevelBPETokenizer(
            assets / "vocabulary.json",
            assets / "merges.txt",
            add_prefix_space=settings.get("add_prefix_space", False),
            special_tokens=special,
            **plain,
        )
    if (assets / "vocabulary.spm").is_file():
        special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "<pad>"}
        return SentencePieceTokenizer(
            assets / "vocabulary.spm", special_tokens=special if model_type == "albert" else {}, **plain
        )
    raise FileNotFoundError(
        f"A preset's tokenizer has vocabulary.txt, vocabulary.json and merges.txt, or vocabulary.spm. Received: "
        f"{assets}, which has {', '.join(sorted(file.name for file in assets.iterdir())) or 'nothing'}."
    )
