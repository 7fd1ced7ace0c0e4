"""`train_vocabulary`: one call for the three kinds of vocabulary."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from keras_transformer.text.loading import Tokenizer
from keras_transformer.text.subword_training import train_byte_level_bpe, train_sentence_piece
from keras_transformer.text.vocabulary import train_wordpiece
from keras_transformer.text.wordpiece import WordPieceTokenizer

_OF_TOKENIZER = ("lowercase", "strip_accents", "tokenize_chinese_chars")


def train_vocabulary(
    kind: str, texts: Iterable[str], vocabulary_size: int, folder: str | os.PathLike, **options: Any
) -> Tokenizer:
    """Learns a vocabulary from texts and writes the tokenizer's files, which other tools read as well.

    | kind | trainer | files, beside `tokenizer_config.json` |
    |---|---|---|
    | `"wordpiece"` | `train_wordpiece` | `vocab.txt` |
    | `"byte_level_bpe"` | `train_byte_level_bpe` | `vocab.json`, `merges.txt` |
    | `"sentence_piece"` | `train_sentence_piece` | `spiece.model` |

    Args:
        kind: str. One of these.
        texts: The texts (str), read once.
        vocabulary_size: int. Largest number of tokens, all special ones included.
        folder: Folder; made if it is not there. Nothing is written if nothing can be learned.
        **options: Further arguments of the trainer.

    Returns:
        The tokenizer.

    Raises:
        ValueError: If the kind is unknown, or the trainer refuses texts, size or options.

    Example:
    ```python
    from keras_transformer.text import load_tokenizer, train_vocabulary

    texts = ["a good film", "good films", "a bad film"]
    tokenizer = train_vocabulary("wordpiece", texts, 40, "vocabulary")
    assert load_tokenizer("vocabulary").vocabulary == tokenizer.vocabulary
    ```
    """
    if kind not in _TRAINERS:
        raise ValueError(f"kind must be one of {tuple(_TRAINERS)}. Received: {kind!r}.")
    tokenizer = _TRAINERS[kind](texts, vocabulary_size, **options)
    tokenizer.save(folder)
    return tokenizer


def _wordpiece(texts: Iterable[str], vocabulary_size: int, **options: Any) -> WordPieceTokenizer:
    vocabulary = train_wordpiece(texts, vocabulary_size, **options)
    return WordPieceTokenizer(vocabulary, **{name: options[name] for name in _OF_TOKENIZER if name in options})


_TRAINERS: dict[str, Callable[..., Tokenizer]] = {
    "wordpiece": _wordpiece,
    "byte_level_bpe": train_byte_level_bpe,
    "sentence_piece": train_sentence_piece,
}
