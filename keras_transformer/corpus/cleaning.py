"""What is done to the text of a document before anything else: markup, control characters, white space."""

import dataclasses
import re
from collections import Counter

from keras_transformer.data.markup import remove_markup

# Characters that no reader sees and no vocabulary needs: lone surrogates, the soft hyphen, zero-width spaces, marks of
# direction and of byte order. The joiners U+200C and U+200D stay: Persian and Indic scripts and emoji need them.
_INVISIBLE = re.compile("[\ud800-\udfff\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff]")
# Control characters, but for white space. Some stand for dashes and quotes that an old code page lost: a blank keeps
# the words beside them apart.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_LINE_BREAKS = re.compile("\r\n?|[\n\v\f\x85\u2028\u2029]")


@dataclasses.dataclass(frozen=True)
class Cleaning:
    """How texts are cleaned.

    Args:
        markup: bool, replace HTML tags by blanks and resolve entities (`data.remove_markup`). Default True.
        keep_lines: bool, keep line breaks (several become one); otherwise each run of white space becomes one blank.
            Default False.
        min_characters: int, shorter texts are dropped. Default 20.
        max_word: int, a run of more letters and digits than this without anything between is data, not a word, and is
            left out with what stands beside it up to the next white space. Default 1000.

    Raises:
        ValueError: if a number is below 1.

    Example:
        ```python
        from collections import Counter
        from keras_transformer.corpus import Cleaning

        notes = Counter()
        cleaned = Cleaning(min_characters=5)("A fine\\x96old <b>film</b>.<br /><br />See &amp; hear.", notes)
        assert cleaned == "A fine old film . See & hear."
        assert Cleaning()("Too short.") == ""
        ```
    """

    markup: bool = True
    keep_lines: bool = False
    min_characters: int = 20
    max_word: int = 1000

    def __post_init__(self) -> None:
        for name in ("min_characters", "max_word"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {getattr(self, name)}.")

    def __call__(self, text: str, notes: Counter | None = None) -> str:
        """Clean one text.

        Args:
            text: str.
            notes: Counter of what was changed; "long_words" is added to. Default None.

        Returns:
            The text, or "" where what is left of it is too short.
        """
        if self.markup:
            text = remove_markup(text)
        if not text.isascii():
            text = _INVISIBLE.sub("", text)
        text = _CONTROL.sub(" ", text)
        if self.keep_lines:
            lines = (self._line(line, notes) for line in _LINE_BREAKS.split(text))
            text = "\n".join(line for line in lines if line)
        else:
            text = self._line(text, notes)
        return text if len(text) >= self.min_characters else ""

    def _line(self, text: str, notes: Counter | None) -> str:
        words = text.split()
        if len(text) > self.max_word and max(map(len, words), default=0) > self.max_word:
            run = re.compile(rf"\w{{{self.max_word + 1}}}")
            kept = [word for word in words if len(word) <= self.max_word or not run.search(word)]
            if notes is not None and len(kept) < len(words):
                notes["long_words"] += len(words) - len(kept)
            words = kept
        return " ".join(words)
