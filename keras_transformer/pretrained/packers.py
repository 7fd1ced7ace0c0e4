"""Builds the packer that belongs to pretrained weights, from a vocab.txt, a tokenizer.json or a keras-nlp preset."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transformer.pretrained import configs
from keras_transformer.pretrained.checkpoint import read_json
from keras_transformer.pretrained.families import family_of_preset
from keras_transformer.pretrained.sources import check_folder

if TYPE_CHECKING:
    from keras_transformer.text import TextPacker


def load_packer(
    path: str | os.PathLike[str], max_length: int | None = None, truncation: str | None = None, **options: Any
) -> "TextPacker":
    """Loads the vocabulary and tokenizer settings of a pretrained folder, and checks that they fit its weights.

    Args:
        path: A Hugging Face folder (`vocab.txt`, or a `tokenizer.json` with a WordPiece model), one that
            `save_huggingface` wrote, or a keras-nlp preset.
        max_length: Most tokens in a row, at most the positions of the model. Default: what the folder says, else 512;
            in either case no more than the positions.
        truncation: "head", "head_tail" or "windows"; see `TextPacker`. Default: what the folder says, else "head".
        **options: `head_fraction` and `stride` of `TextPacker`.

    Returns:
        A `TextPacker`.

    Raises:
        FileNotFoundError: If the folder or its vocabulary is missing.
        ValueError: If the vocabulary has not as many tokens as the weights have rows, the tokenizer is not BERT's, or
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
    if "registered_name" in values or "class_name" in values:
        family = family_of_preset(values.get("class_name"))
        config = configs.to_config(family, family.preset.from_preset(values["config"]), pooler=False, tied=True)
        packer = _from_preset(folder, options)
    else:
        config = configs.from_huggingface(values)
        packer = TextPacker.load(folder, **options)
    config = getattr(config, "encoder", config)
    if packer.tokenizer.vocabulary_size != config.vocabulary_size:
        raise ValueError(
            f"The vocabulary does not fit the weights, which embed {config.vocabulary_size} tokens. Received: "
            f"{packer.tokenizer.vocabulary_size} tokens in {folder}. It belongs to other weights, or tokens were added "
            f"beside it, or the table is padded: then add as many filler lines, such as [unused1], to vocab.txt"
        )
    if packer.max_length > config.max_length:
        if max_length is not None:
            raise ValueError(f"The model has {config.max_length} positions. Received: max_length={max_length}")
        packer = TextPacker(packer.tokenizer, **packer.get_config() | {"max_length": config.max_length})
    return packer


def _from_preset(folder: Path, options: dict[str, Any]) -> "TextPacker":
    """Returns the packer of a keras-nlp preset."""
    from keras_transformer.text import TextPacker, WordPieceTokenizer

    vocabulary = folder / "assets" / "tokenizer" / "vocabulary.txt"
    if not vocabulary.is_file() or not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f"The preset holds no tokenizer (tokenizer.json and assets/tokenizer/vocabulary.txt). Received: {folder}"
        )
    settings = read_json(folder / "tokenizer.json").get("config", {})
    tokenizer = WordPieceTokenizer(
        vocabulary,
        lowercase=settings.get("lowercase", False),
        strip_accents=settings.get("strip_accents", False),
        # keras-nlp reads "[MASK]" in a text as plain text unless it was told otherwise.
        split_special_tokens=not settings.get("special_tokens_in_strings", False),
    )
    return TextPacker(tokenizer, **options)
