"""Rewrites BERT's words over a private alphabet in which `tensorflow_text`'s WordPiece op splits exactly as BERT does.

The op decides by its own Unicode tables where words end, and limits words by bytes; BERT has other tables and counts
characters. Both differences vanish when the op sees other characters than the user wrote: each letter of the
vocabulary becomes a code of fixed byte width (so a limit in bytes is a limit in characters) that no table splits, each
character that BERT isolates becomes a code that the op isolates, and all the characters that the vocabulary does not
have become one code of either kind.
"""

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np

from keras_transformer.text import unicode_rules

SUFFIX_INDICATOR = "##"

# The op isolates every code point of this block, by a range that is written in its source.
_ISOLATED_CODES = range(0x4E00, 0xA000)


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """The private codes of one vocabulary under one setting of the normalizer.

    Attributes:
        letters: dict of character to code, for the characters that occur inside words.
        isolated: dict of character to code, for the characters that are words of their own.
        unknown_letter: The code of every other character that occurs inside words.
        unknown_isolated: The code of every other character that is a word of its own.
        width: Length of a letter's code in UTF-8 bytes.
        isolated_width: Length of an isolated character's code in UTF-8 bytes.
        is_isolated: bool, one entry per code point: the character is a word of its own.
        changed: dict of code point to what the normalizer makes of it, where that is not the character itself.
    """

    letters: dict[str, str]
    isolated: dict[str, str]
    unknown_letter: str
    unknown_isolated: str
    width: int
    isolated_width: int
    is_isolated: np.ndarray
    changed: dict[int, str]

    @classmethod
    def of(
        cls, vocabulary: Sequence[str], lowercase: bool, strip_accents: bool, tokenize_chinese_chars: bool
    ) -> "Alphabet":
        """Finds the characters of the vocabulary that can occur in normalized text, and gives each a code.

        Args:
            vocabulary: WordPiece tokens, suffixes with "##" in front.
            lowercase: bool. Whether the normalizer lower-cases.
            strip_accents: bool. Whether the normalizer strips accents.
            tokenize_chinese_chars: bool. Whether Chinese characters are words of their own.

        Returns:
            An `Alphabet`.

        Raises:
            ValueError: If the vocabulary has more characters than there are codes.
        """
        is_isolated = unicode_rules.punctuation().copy()
        if tokenize_chinese_chars:
            is_isolated |= unicode_rules.chinese()
        changed = unicode_rules.changed_characters(lowercase, strip_accents)
        vanishes = unicode_rules.removed() | unicode_rules.space()
        letters, isolated = set(), set()
        for token in vocabulary:
            characters, is_suffix = split_suffix(token)
            if any(vanishes[ord(c)] or ord(c) in changed for c in characters):
                continue
            if not any(is_isolated[ord(c)] for c in characters):
                letters.update(characters)
            elif len(characters) == 1 and not is_suffix:
                isolated.add(characters)
        codes = _letter_codes(len(letters) + 1)
        if len(isolated) >= len(_ISOLATED_CODES):
            raise ValueError(
                f"The vocabulary has more single-character words than WordPiece in the graph can tell apart "
                f"({len(_ISOLATED_CODES) - 1}). Received: {len(isolated)}."
            )
        return cls(
            letters=dict(zip(sorted(letters), codes[1:], strict=False)),
            isolated={c: chr(code) for c, code in zip(sorted(isolated), _ISOLATED_CODES[1:], strict=False)},
            unknown_letter=codes[0],
            unknown_isolated=chr(_ISOLATED_CODES[0]),
            width=len(codes[0].encode()),
            isolated_width=len(chr(_ISOLATED_CODES[0]).encode()),
            is_isolated=is_isolated,
            changed=changed,
        )

    def encode_token(self, token: str) -> str | None:
        """Returns the token in private codes, or None if no text can ever contain it."""
        characters, is_suffix = split_suffix(token)
        if not is_suffix and characters in self.isolated:
            return self.isolated[characters]
        codes = [self.letters.get(c) for c in characters]
        if not codes or None in codes:
            return None
        return SUFFIX_INDICATOR * is_suffix + "".join(codes)

    def encode_character(self, code_point: int) -> str:
        """Returns what the normalizer writes for one code point of the text."""
        if unicode_rules.removed()[code_point]:
            return ""
        if unicode_rules.space()[code_point]:
            return " "
        codes = [self._code(c) for c in self.changed.get(code_point, chr(code_point))]
        # One unknown letter makes the whole word unknown: how many there are makes no difference.
        return self.unknown_letter if self.unknown_letter in codes else "".join(codes)

    def replacements(self) -> dict[str, np.ndarray]:
        """Returns the whole normalizer: what is written, and the code points (int array) it is written for.

        Code points in no entry become `unknown_letter`. Where two entries hold a code point, the later one counts.
        """
        table = {
            self.unknown_isolated: np.flatnonzero(self.is_isolated),
            "": np.flatnonzero(unicode_rules.removed()),
            " ": np.flatnonzero(unicode_rules.space()),
        }
        special: dict[str, list[int]] = {}
        for code_point in (*map(ord, self.letters), *map(ord, self.isolated), *self.changed):
            special.setdefault(self.encode_character(code_point), []).append(code_point)
        for text, code_points in special.items():
            table[text] = np.union1d(table.get(text, np.array([], int)), code_points)
        return table

    def _code(self, character: str) -> str:
        if self.is_isolated[ord(character)]:
            return self.isolated.get(character, self.unknown_isolated)
        return self.letters.get(character, self.unknown_letter)


def split_suffix(token: str) -> tuple[str, bool]:
    """Returns a WordPiece token without its "##", and whether it had one."""
    is_suffix = token.startswith(SUFFIX_INDICATOR) and len(token) > len(SUFFIX_INDICATOR)
    return (token[len(SUFFIX_INDICATOR) :] if is_suffix else token), is_suffix


def _letter_codes(count: int) -> list[str]:
    """Returns `count` characters of equal UTF-8 width that no Unicode version splits, the narrowest there are."""
    chinese = unicode_rules.chinese()
    # Letters of blocks that were complete long ago: their category is the same in every ICU.
    for first, last in ((0x80, 0x800), (0x800, 0xFB00)):
        codes = [chr(c) for c in range(first, last) if unicodedata.category(chr(c)) in _LETTERS and not chinese[c]]
        if count <= len(codes):
            return codes[:count]
    raise ValueError(
        f"The vocabulary has more different letters than WordPiece in the graph can tell apart ({len(codes) - 1}). "
        f"Received: {count - 1}."
    )


_LETTERS = ("Lu", "Ll", "Lo")
