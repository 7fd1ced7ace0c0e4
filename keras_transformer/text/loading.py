"""Picks the tokenizer that fits the files of a folder."""

import os
import pathlib

from keras_transformer.text import byte_level_files, sentence_piece_files
from keras_transformer.text.byte_level_bpe import ByteLevelBPETokenizer
from keras_transformer.text.folder import ANY_CLASS, TOKENIZER_FILE, VOCABULARY_FILE, class_name, read_json
from keras_transformer.text.sentence_piece import SentencePieceTokenizer
from keras_transformer.text.wordpiece import WordPieceTokenizer

Tokenizer = WordPieceTokenizer | ByteLevelBPETokenizer | SentencePieceTokenizer


def load_tokenizer(path: str | os.PathLike) -> Tokenizer:
    """Reads the tokenizer of a folder, whichever of the three kinds it is.

    The class in `tokenizer_config.json` counts first, then the `model_type` in `config.json`, then the files that only
    one kind has, then the model in `tokenizer.json`.

    Args:
        path: Folder of ours or of Hugging Face.

    Returns:
        A `WordPieceTokenizer`, `ByteLevelBPETokenizer` or `SentencePieceTokenizer`.

    Raises:
        FileNotFoundError: If there is no such folder, or no tokenizer in it.
        ValueError: If it holds a tokenizer of another kind, or a broken file.

    Example:
    ```python
    from keras_transformer.text import WordPieceTokenizer, load_tokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film"]
    WordPieceTokenizer(vocabulary).save("folder")
    print(load_tokenizer("folder").tokenize(["a film"]).to_list())  # [[5, 6]]
    ```
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder with a tokenizer at this path. Received: {path}.")
    name = class_name(path)
    for loader, fits in (
        (ByteLevelBPETokenizer, name in byte_level_files.CLASSES),
        (SentencePieceTokenizer, name in sentence_piece_files.CLASSES),
        (WordPieceTokenizer, name in _WORDPIECE_CLASSES),
    ):
        if fits:
            return loader.load(path)
    if name not in ANY_CLASS:
        raise ValueError(
            f"No tokenizer here is the same as this class; there are those of "
            f"{', '.join((*_WORDPIECE_CLASSES, *byte_level_files.CLASSES, *sentence_piece_files.CLASSES))}. "
            f"Received: {path} with tokenizer_class {name!r}."
        )
    present = {file.name for file in path.iterdir()}
    backend = read_json(path / TOKENIZER_FILE)
    model = backend.get("model") or {}
    # Files of older versions do not name the model's type.
    kind = model.get("type", "WordPiece" if "continuing_subword_prefix" in model else None)
    if present & set(sentence_piece_files.MODEL_FILES):
        return SentencePieceTokenizer.load(path)
    if byte_level_files.MERGES_FILE in present or (kind == "BPE" and "ByteLevel" in str(backend.get("pre_tokenizer"))):
        return ByteLevelBPETokenizer.load(path)
    if VOCABULARY_FILE in present or kind == "WordPiece":
        return WordPieceTokenizer.load(path)
    names = [VOCABULARY_FILE, f"{byte_level_files.VOCABULARY_FILE} and {byte_level_files.MERGES_FILE}"]
    wanted = ", ".join([*names, *sentence_piece_files.MODEL_FILES])
    if backend:
        raise ValueError(
            f"A {TOKENIZER_FILE} can be loaded alone if its model is WordPiece or byte-level BPE; otherwise put the "
            f"original files beside it ({wanted}). Received: {path} with a model of type {kind!r}."
        )
    raise FileNotFoundError(
        f"A tokenizer folder has {wanted}, or a {TOKENIZER_FILE}. Received: {path}, which has "
        f"{', '.join(sorted(present)[:5]) or 'nothing'}."
    )


_WORDPIECE_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
