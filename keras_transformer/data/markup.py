"""Removal of the HTML that the IMDB reviews carry, and the key by which a review is recognised."""

import hashlib
import html
import re

# Only tags of HTML: reviewers also write "<grin>", "<sigh>" or "<SPOILER>", and those are their words.
_TAGS = re.compile(
    r"</?(?:br|p|hr|i|b|u|em|strong|a|div|span|ul|ol|li|small|big|tt|blockquote|font|center|sub|sup|pre|h[1-6])"
    r"(?:\s+[^<>]*)?\s*/?>",
    re.IGNORECASE,
)
_ENTITIES = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8});", re.IGNORECASE)
_SPACES = re.compile(r"[ \t]{2,}")
_WORDS = re.compile(r"[^\W_]+")


def remove_markup(text: str) -> str:
    """Replace HTML tags by a space, resolve entities, and collapse the runs of spaces that this leaves.

    A text without markup comes back unchanged, apart from its outer white space.

    Args:
        text: str.

    Returns:
        The text as a person would have typed it.

    Example:
        ```python
        from keras_transformer import data

        assert data.remove_markup("Great.<br /><br />Watch it &amp; smile <grin>") == "Great. Watch it & smile <grin>"
        ```
    """
    cleaned = text
    if "<" in cleaned:
        cleaned = _TAGS.sub(" ", cleaned)
    if "&" in cleaned:
        cleaned = _ENTITIES.sub(lambda match: html.unescape(match.group()), cleaned)
    return (_SPACES.sub(" ", cleaned) if cleaned != text else text).strip()


def text_key(text: str) -> str:
    """Return 12 hexadecimal digits that two copies of a text share, whatever their markup, case and punctuation.

    Args:
        text: str.

    Returns:
        The first 48 bits of the SHA-256 of the letters and digits (a clash among 25,000 texts: one in a million).
    """
    letters = "".join(_WORDS.findall(remove_markup(text).lower()))
    # A text of punctuation only has no letters: then its own characters tell it apart.
    return hashlib.sha256((letters or text.strip()).encode("utf-8", "surrogatepass")).hexdigest()[:12]
