"""How documents are read: what is a text, and how one that is too long is cut."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_transformer.corpus.counts import Counts

# What `errors="surrogateescape"` makes of bytes that are not UTF-8.
_UNDECODED = re.compile("[\udc80-\udcff]")


class Reading(NamedTuple):
    """How the files of a corpus are read.

    Attributes:
        text_column: Column, or key, of the text in a table.
        delimiter: Character between the columns of .csv and .tsv; None for that of the suffix.
        quoting: Whether `"` quotes fields there.
        max_characters: Most characters of a document; a longer one is cut.
        blank_lines: Whether blank lines divide the documents of a .txt file, instead of the file being one.
    """

    text_column: str = "text"
    delimiter: str | None = None
    quoting: bool = True
    max_characters: int = 1_000_000
    blank_lines: bool = False


def cut(text: str, limit: int) -> tuple[str, str]:
    """Cut a text that is too long: at the last white space, if there is any in its second half, else at the limit.

    Args:
        text: str of more than `limit` characters.
        limit: int.

    Returns:
        The piece, of `limit` characters or fewer, and the rest.
    """
    place = max(text.rfind(space, limit // 2, limit) for space in (" ", "\n", "\t")) + 1 or limit
    return text[:place], text[place:]


def pieces_of(text: Any, where: str, reading: Reading, counts: Counts) -> Iterator[tuple[str, str]]:
    """Check a text that is in memory, and cut it if it is longer than a document may be.

    Args:
        text: what should be a str; bytes that could not be decoded are lone surrogates in it.
        where: str, where it comes from.
        reading: `Reading`.
        counts: `Counts`; `skipped` and `notes` are added to.

    Yields:
        Texts, and where each comes from; nothing if it is no text.
    """
    if not isinstance(text, str):
        counts.skip("rows_without_text", where, f"{reading.text_column!r} must be a text. Received: {text!r:.60}")
        return
    if not is_utf8(text, where, counts):
        return
    number = 1
    while len(text) > reading.max_characters:
        piece, text = cut(text, reading.max_characters)
        counts.notes["cuts_of_long_documents"] += 1
        yield piece, f"{where}, part {number}"
        number += 1
    yield text, where if number == 1 else f"{where}, part {number}"


def is_utf8(text: str, where: str, counts: Counts) -> bool:
    """Whether all of a text could be decoded; counted if not."""
    if "\0" not in text and (text.isascii() or not _UNDECODED.search(text)):
        return True
    counts.skip("binary_texts", where, "it has bytes that are not UTF-8, or of value 0")
    return False
