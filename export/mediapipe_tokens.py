"""The token ids that MediaPipe makes of a text: its BertTokenizer is not ours, and beyond ASCII they differ.

It makes ASCII letters small, splits at white space, punctuation and Chinese characters, and looks up word pieces. It
strips no accents, decomposes nothing, and knows only the white space of ASCII
(`mediapipe/tasks/cc/text/tokenizers/bert_tokenizer.h`, `mediapipe/calculators/tensor/bert_preprocessor_calculator.cc`).
"""

import string
import unicodedata
from collections.abc import Mapping

_SPACE = frozenset(" \t\n\r\f")
_ASCII_PUNCTUATION = frozenset(string.punctuation)
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
LONGEST_WORD = 100
"""In bytes; longer words are unknown."""
_SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def mediapipe_ids(text: str, vocabulary: Mapping[str, int], max_length: int) -> list[int]:
    """Returns the row that MediaPipe feeds for a text: [CLS], the first tokens, [SEP], without padding.

    Args:
        text: The text.
        vocabulary: Token -> id.
        max_length: int, of the row.

    Example:
        ```python
        from keras_transformer.export.mediapipe_tokens import mediapipe_ids

        vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "film", "##s", "!"])}
        assert mediapipe_ids("A films!", vocabulary, 8) == [2, 4, 5, 6, 7, 3]
        ```
    """
    ids: list[int] = []
    for word in _words(text.translate(_SMALL)):
        ids += _pieces(word, vocabulary)
        if len(ids) >= max_length - 2:
            break
    return [vocabulary["[CLS]"], *ids[: max_length - 2], vocabulary["[SEP]"]]


def _words(text: str):
    word = ""
    for character in text:
        space = character in _SPACE
        if not space and not _stands_alone(character):
            word += character
            continue
        if word:
            yield word
        word = ""
        if not space:
            yield character
    if word:
        yield word


def _stands_alone(character: str) -> bool:
    if character.isascii():
        return character in _ASCII_PUNCTUATION
    code = ord(character)
    return unicodedata.category(character)[0] == "P" or any(first <= code <= last for first, last in _CHINESE)


def _pieces(word: str, vocabulary: Mapping[str, int]) -> list[int]:
    """Greedy longest match from the left; a word with a part that is not in the vocabulary is unknown."""
    if len(word.encode("utf-8", "surrogatepass")) > LONGEST_WORD:
        return [vocabulary["[UNK]"]]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return [vocabulary["[UNK]"]]
        pieces.append(vocabulary[piece])
        start = end
    return pieces
