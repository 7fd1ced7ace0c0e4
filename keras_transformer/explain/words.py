"""What the model saw of a text: rows of token ids, and the words of the text that each token belongs to."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from keras_transformer.text import TextPacker

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Letters, digits and combining marks, apostrophes inside ("don't"); each Chinese character; any other sign by itself.
_LETTER = rf"(?:(?![{_CHINESE}])[\w\u0300-\u036f])"
_WORD = re.compile(rf"{_LETTER}+(?:['’]{_LETTER}+)*|\S")
SPECIAL = -1
"""Stands for a word where a token belongs to none."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of model input, without padding.

    Args:
        example: int, index of the text; only with windows has a text several rows.
        token_ids: int32 array, shape (length,), those of the frame included.
        words: int64 array, shape (length,), index into `spans` of the text; -1 for special tokens.
    """

    example: int
    token_ids: np.ndarray
    words: np.ndarray


def read_rows(packer: TextPacker, texts: Sequence[str]) -> tuple[list[Row], list[list[tuple[int, int]]]]:
    """Pack texts and find the word that each token belongs to.

    Args:
        packer: TextPacker of the model.
        texts: sequence of str.

    Returns:
        The rows in the order of the texts, and for each text the (start, end) of its words, in characters.
    """
    # A lone surrogate has no bytes; "?" stands in and keeps the character's place.
    encoded = [text.encode("utf-8", "replace") for text in texts]
    spans = [[match.span() for match in _WORD.finditer(text)] for text in texts]
    ragged, example_ids = packer.windows(encoded)
    ids, starts, _ = packer.tokenizer.tokenize_with_offsets(encoded, unit="bytes")
    before, after = len(packer.frame.before), len(packer.frame.after)
    rows: list[Row] = []
    window = 0
    for row, example in enumerate(example_ids.numpy().tolist()):
        window = window + 1 if rows and rows[-1].example == example else 0
        token_ids = ragged[row].numpy()
        inside = slice(before, token_ids.size - after)
        pieces = _kept_pieces(token_ids[inside], ids[example].numpy(), packer, window)
        words = np.full(token_ids.shape, SPECIAL)
        words[inside] = _words_of(starts[example].numpy()[pieces], encoded[example], spans[example])
        rows.append(Row(example, token_ids, words))
    return rows, spans


def _kept_pieces(kept: np.ndarray, pieces: np.ndarray, packer: TextPacker, window: int) -> np.ndarray:
    """Which pieces of the whole text a row holds: its head, its head and tail, or one window."""
    if packer.truncation == "windows":
        stride = packer.stride or max(1, (packer.max_length - len(packer.frame)) // 2)
        return window * stride + np.arange(kept.size)
    differs = np.flatnonzero(kept != pieces[: kept.size])
    head = int(differs[0]) if differs.size else kept.size
    # Where head and tail happen to go on alike, the head seems longer than it is: the ids are the same all the same.
    return np.concatenate([np.arange(head), np.arange(pieces.size - (kept.size - head), pieces.size)])


def _words_of(starts: np.ndarray, encoded: bytes, spans: list[tuple[int, int]]) -> np.ndarray:
    """Index of the word at or after each byte offset: the pieces of most tokenizers begin with the blank before."""
    if not spans:
        return np.full(starts.shape, SPECIAL)
    first_bytes = (np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80
    characters = np.concatenate([[0], np.cumsum(first_bytes)])[starts]
    ends = [end for _, end in spans]
    return np.minimum(np.searchsorted(ends, characters, side="right"), len(spans) - 1)
