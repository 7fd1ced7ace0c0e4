"""A plain splitter of sentences: rules for . ! ? and closing quotes, abbreviations and initials."""

import itertools
import re

# Followed by a full stop in the middle of a sentence, in lower case.
_ABBREVIATIONS = frozenset(
    "mr mrs ms messrs dr prof rev fr st sr jr hon gov sen rep gen col maj capt cmdr lt sgt cpl pvt adm supt insp pres "
    "vs v cf viz al approx est dept univ inc ltd co corp bros assn ave blvd rd bldg no nos vol vols fig figs ch pp ed "
    "eds jan feb mar apr jun jul aug sept sep oct nov dec e.g i.e p.s a.k.a ph.d".split()
)
# Of these, words or months too: abbreviations only where a number follows ("No. 5", "Fig. 2", "Dec. 24").
_BEFORE_NUMBERS = frozenset(
    "no nos vol vols fig figs ch pp ed jan feb mar apr jun jul aug sept sep oct nov dec".split()
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_OPENING = "\"'“‘«‹„([{¿¡"
_CLOSING = "\"'”’»›)\\]}"
_END = re.compile(
    rf"(?P<mark>[.!?…]+)[{_CLOSING}]*(?=\s)\s*"  # Western marks end a sentence before white space only.
    r"|[。！？]+[」』”’）]*\s*"
    r"|\n\s*"
)


def sentence_starts(text: str) -> list[int]:
    """Find where the sentences of a text begin.

    A sentence ends at a line break; after 。 ！ or ？; and after . ! ? or … with the quotes and brackets that close
    there, before white space, unless a small letter follows, or before a single full stop stands an abbreviation
    ("Mr.", "e.g."), an initial ("J. R. R. Tolkien") or, at the beginning of a sentence, a number ("2. Stir.").

    Limits: the rules know English abbreviations only. An abbreviation or initial that ends a sentence joins it with the
    next one ("He came to the U.S. She stayed."), as does a sentence that begins with a small letter; an abbreviation
    that is not known, before a capital, divides one. Marks without white space after them ("good.The") divide nothing.

    Args:
        text: str.

    Returns:
        list of int: the place of each sentence's first character, ascending from 0; empty for an empty text.

    Example:
        ```python
        from keras_transformer.corpus import sentence_starts

        assert sentence_starts('Mr. J. Smith said "Go!" He went. Why?') == [0, 24, 33]
        ```
    """
    starts = [0] if text else []
    for match in _END.finditer(text):
        end = match.end()
        if end >= len(text):
            break
        mark = match["mark"]
        if mark is not None and "\n" not in text[match.end("mark") : end] and not _is_end(text, starts[-1], match):
            continue
        starts.append(end)
    return starts


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences as `sentence_starts` finds them, without the white space around them.

    Args:
        text: str.

    Returns:
        list of str, none of them empty.

    Example:
        ```python
        from keras_transformer.corpus import split_sentences

        assert split_sentences("It cost 3.50 dollars. Not bad!") == ["It cost 3.50 dollars.", "Not bad!"]
        ```
    """
    pieces = (text[start:end].strip() for start, end in itertools.pairwise([*sentence_starts(text), len(text)]))
    return [piece for piece in pieces if piece]


def _is_end(text: str, start: int, match: re.Match) -> bool:
    """Whether a Western mark before white space ends the sentence that begins at `start`."""
    following = _first_letter(text, match.end())
    if following.islower():
        return False
    place = match.start("mark")
    if match["mark"] != ".":
        return True
    word = text[max(start, text.rfind(" ", start, place) + 1) : place].lstrip(_OPENING)
    small = word.lower()
    if small in _ABBREVIATIONS:
        return small in _BEFORE_NUMBERS and not following.isdigit()
    if word != "I" and word.isupper() and _INITIALS.fullmatch(word):
        return False
    # "2. Stir." at the beginning of a sentence is the number of an item.
    return not (word.isdigit() and len(word) <= 3 and not text[start:place].removesuffix(word).strip(_OPENING))


def _first_letter(text: str, place: int) -> str:
    """The first character from a place on that does not open a quote or bracket; "" at the end."""
    while place < len(text) and text[place] in _OPENING:
        place += 1
    return text[place : place + 1]
