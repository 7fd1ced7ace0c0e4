"""What ALBERT does to a text before SentencePiece: quotes, accents and case.

The tables are those of the Hugging Face `tokenizers` library (0.23): `tests/text/test_albert.py` compares them with the
installed library on every code point. Reference: `preprocess_text` of https://github.com/google-research/albert.
"""

import dataclasses
import functools
import unicodedata
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text

from keras_transformer.text import normalizer_model, unicode_rules

# Code points as inclusive ranges in hexadecimal. What `tokenizers` does not decompose, though Python does.
_NOT_DECOMPOSED = "32ff a7f2-a7f4 ab69 10781-10785 10787-107b0 107b2-107ba 11938 1f16c 1fbf0-1fbf9"
# What Python takes for a mark (category M), and `tokenizers` does not.
_NO_MARK = (
    "7fd 898-89f 8ca-8d3 9fe afa-aff b55 c04 c3c d00 d3b-d3c d81 eba 1715 180f 1abf-1ace 1cf7 1df6-1dfa a82c a8ff "
    "10d24-10d27 10eab-10eac 10f46-10f50 10f82-10f85 11070 11073-11074 110c2 11145-11146 111c9 111ce-111cf 1133b 1145e "
    "1182c-1183a 11930-11935 11937-11938 1193b-1193e 11940 11942-11943 119d1-119d7 119da-119e0 119e4 11a01-11a0a "
    "11a33-11a39 11a3b-11a3e 11a47 11a51-11a5b 11a8a-11a99 11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 "
    "11d8a-11d8e 11d90-11d91 11d93-11d97 11ef3-11ef6 16f4f 16f7f-16f87 16fe4 16ff0-16ff1 1cf00-1cf2d 1cf30-1cf46 "
    "1e130-1e136 1e2ae 1e2ec-1e2ef"
)
# What `tokenizers` takes for a mark, and Python does not.
_MORE_MARKS = "1cf2-1cf3"
# White space that SentencePiece does not know; the other kinds are left to the model's own normalizer.
_NEXT_LINE = 0x85
# Pieces that ALBERT makes of a number and a comma are divided: as unlikely as this, they are never chosen.
NUMBER_COMMA_PENALTY = 100.0


@dataclasses.dataclass(frozen=True)
class AlbertRules:
    """The options of ALBERT's clean-up.

    Args:
        lowercase: bool. Lower-case the text. Default True.
        strip_accents: bool. Decompose characters (NFKD) and drop their accents. Default True.

    Example:
    ```python
    from keras_transformer.text import AlbertRules

    assert AlbertRules() == AlbertRules(lowercase=True, strip_accents=True)
    ```
    """

    lowercase: bool = True
    strip_accents: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Returns the options by name."""
        return dataclasses.asdict(self)


class AlbertCleaner(tf.Module):
    """Cleans texts in the graph, and remembers where each byte came from.

    Args:
        rules: AlbertRules.
    """

    def __init__(self, rules: AlbertRules):
        super().__init__(name="albert_cleaner")
        with tf.init_scope():
            model = normalizer_model.build(_table(rules), default=None)
            self._normalizer = tensorflow_text.FastBertNormalizer(
                lower_case_nfd_strip_accents=False, model_buffer=tf.constant(np.frombuffer(model, np.uint8))
            )

    def clean(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.RaggedTensor]:
        """Cleans texts.

        Args:
            texts: (batch,) string, valid UTF-8.

        Returns:
            The texts, (batch,) string, and where each of their bytes, and their end, came from: (batch, None) int32
            ragged, in bytes.
        """
        # The second byte is not UTF-8: it goes with the clean-up, and no other byte changes its place.
        quoted = tf.strings.regex_replace(texts, "``|''", tf.constant(b'"\xff'))
        return self._normalizer.normalize_with_offsets(quoted)


@functools.lru_cache(maxsize=4)
def changed_characters(rules: AlbertRules) -> dict[int, str]:
    """Returns what becomes of each character that the clean-up changes.

    Args:
        rules: AlbertRules.

    Returns:
        dict of code point (int) to the string that replaces it, possibly empty.
    """
    whole, no_mark, more_marks = map(unicode_rules.members, (_NOT_DECOMPOSED, _NO_MARK, _MORE_MARKS))
    changed = {}
    for code_point in range(unicode_rules.NUM_CODE_POINTS):
        if 0x323B0 <= code_point < 0xE0000 or 0xD800 <= code_point < 0xE000:
            continue  # nothing there has a case, a decomposition or an accent
        character = text = chr(code_point)
        if rules.strip_accents:
            if not whole[code_point]:
                text = unicodedata.normalize("NFKD", text)
            text = "".join(c for c in text if not _is_mark(c, no_mark, more_marks))
        if rules.lowercase:
            text = "".join(unicode_rules.lower(c) for c in text)
        if code_point == _NEXT_LINE:
            text = " "
        if text != character:
            changed[code_point] = text
    return changed


def _is_mark(character: str, no_mark: np.ndarray, more_marks: np.ndarray) -> bool:
    is_mark = unicodedata.category(character).startswith("M") and not no_mark[ord(character)]
    return bool(is_mark or more_marks[ord(character)])


def _table(rules: AlbertRules) -> dict[str, np.ndarray]:
    table: dict[str, list[int]] = {}
    for code_point, text in changed_characters(rules).items():
        table.setdefault(text, []).append(code_point)
    return {text: np.array(found) for text, found in table.items()}
