"""Files of word vectors: the text of GloVe, the text and the binary form of word2vec, streamed; also gzipped."""

import codecs
import collections
import contextlib
import dataclasses
import gzip
import itertools
import logging
import os
import pathlib
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import BinaryIO

import numpy as np

from keras_transformer._files import new_file

FORMATS = ("glove", "word2vec", "word2vec_binary")
_GZIP = b"\x1f\x8b"
# What tells the format and the width: so many lines of so many bytes from the beginning of the file.
_SAMPLE_LINES, _SAMPLE_BYTES = 100, 1 << 20
# No line, and in a binary file no word, is read beyond this.
_LONGEST = 1 << 20
_WIDEST = 1 << 16

logger = logging.getLogger(__name__)


def read(
    path: str | os.PathLike, wanted: Collection[str] | None = None, limit: int | None = None
) -> tuple[list[str], np.ndarray]:
    """Reads a file of any of the formats, of which its content tells which one it is.

    Args:
        path: The file.
        wanted: Words that are kept; None for all. Lines of other words are not looked into.
        limit: Number of lines (binary: of vectors) that are read, from the beginning; None for all.

    Returns:
        The words in their order, and their vectors, float32 of shape (words, width).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If nothing in it can be used, none of the wanted words is in it, or it is cut in the middle.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of word vectors at this path. Received: {path}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for all. Received: {limit}")
    try:
        with _opened(path) as file:
            sample = file.read(_SAMPLE_BYTES)
            file.seek(0)
            layout = _layout_of(sample, path)
            kept = _Kept(layout, None if wanted is None else {word.encode("utf-8", "replace") for word in wanted})
            (_read_binary if layout.is_binary else _read_text)(file, layout, kept, limit, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"A compressed file must be whole: fetch it again. Received: {path} ({error})") from error
    return kept.finish(path)


def write(path: str | os.PathLike, words: Sequence[str], matrix: np.ndarray, format: str) -> None:
    """Writes a file, whole or not at all; a path that ends in ".gz" is compressed.

    Args:
        path: The file; its folder must exist.
        words: The words.
        matrix: Float32 of shape (words, width).
        format: One of `FORMATS`.

    Raises:
        ValueError: For an unknown format, or a word that the format cannot hold.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}. Received: {format!r}")
    encoded = [word.encode("utf-8") for word in words]
    for word, raw in zip(words, encoded, strict=True):
        fields = raw.split()
        # Only a line without blanks in its word tells by itself how many numbers it has.
        if b" ".join(fields) != raw or (len(fields) != 1 and (format != "glove" or _numbers(fields[-1:]) is not None)):
            raise ValueError(
                f"A word must not be empty, or have white space that the format {format!r} does not allow. "
                f"Received: {word!r}"
            )
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(new_file(path))
        if os.fspath(path).endswith(".gz"):  # without a time: the same vectors give the same file
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        if format != "glove":
            file.write(b"%d %d\n" % matrix.shape)
        for word, row in zip(encoded, matrix, strict=True):
            numbers = row.astype("<f4").tobytes() if format == "word2vec_binary" else b" ".join(row.astype("S"))
            file.write(b"%s %s\n" % (word, numbers))


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What the beginning of a file tells.

    Args:
        width: Numbers in a vector.
        count: Number of vectors, by the header; None without one.
        is_binary: Whether the numbers are bytes.
    """

    width: int
    count: int | None
    is_binary: bool


class _Kept:
    """The words that are kept and their vectors, and what was wrong with the others."""

    def __init__(self, layout: _Layout, wanted: Collection[bytes] | None):
        self._layout = layout
        self._wanted = wanted
        self._words: dict[bytes, str] = {}
        self._values = bytearray()  # grows in place: a list of arrays would be there twice at the end
        self._skipped: collections.Counter[str] = collections.Counter()
        self._first = ""
        self.read = 0

    def add(self, place: int, word: bytes, numbers: Callable[[], np.ndarray | None]) -> None:
        """Keeps a word if it is wanted and its vector can be used."""
        if self._wanted is not None and word not in self._wanted:
            return
        values = numbers()
        if not word:
            self.skip(place, word, "without a word")
        elif values is None:
            self.skip(place, word, "not numbers")
        elif len(values) != self._layout.width:
            self.skip(place, word, "of another width")
        elif not np.isfinite(values).all():
            self.skip(place, word, "not finite")
        elif word in self._words:
            self.skip(place, word, "more than once")
        else:
            try:
                self._words[word] = word.decode("utf-8")
            except UnicodeDecodeError:
                self.skip(place, word, "not UTF-8")
            else:
                self._values += values.tobytes()

    def skip(self, place: int, found: bytes, reason: str) -> None:
        """Counts what cannot be used."""
        self._skipped[reason] += 1
        self._first = self._first or f"{self._unit} {place}, {found[:40]!r}: {reason}"

    def finish(self, path: pathlib.Path) -> tuple[list[str], np.ndarray]:
        """Returns what was kept, and logs what was not."""
        bad = ", ".join(f"{count} {reason}" for reason, count in self._skipped.items())
        if not self._words:
            what = "no vector of a wanted word" if self._wanted is not None else "no vector"
            found = f"; {bad}; the first is {self._first}" if bad else ""
            raise ValueError(
                f"A file of word vectors has a word and {self._layout.width} numbers in each {self._unit}. "
                f"Received: {path} with {what} that can be used ({self.read} {self._unit}s read{found})"
            )
        if bad:
            logger.warning(
                "%s: %d of %d %ss left out (%s); the first is %s",
                *(path, self._skipped.total(), self.read, self._unit, bad, self._first),
            )
        matrix = np.frombuffer(self._values, np.float32).reshape(len(self._words), self._layout.width)
        return list(self._words.values()), matrix

    @property
    def _unit(self) -> str:
        return "vector" if self._layout.is_binary else "line"


def _read_text(file: BinaryIO, layout: _Layout, kept: _Kept, limit: int | None, path: pathlib.Path) -> None:
    if layout.count is not None:
        file.readline()
    first = 1 if layout.count is None else 2
    for place, line in enumerate(itertools.islice(_lines(file), limit), first):
        line = line.strip(b" \t\r\n")
        if not line:
            continue
        kept.read += 1
        word, numbers = _divided(line, layout.width)
        if word is None:
            kept.skip(place, line, "of another width")
        else:
            kept.add(place, word, lambda numbers=numbers: _numbers(numbers.split()))
    if layout.count is not None and limit is None and kept.read != layout.count:
        logger.warning("%s: the header tells of %d vectors, there are %d lines", path, layout.count, kept.read)


def _read_binary(file: BinaryIO, layout: _Layout, kept: _Kept, limit: int | None, path: pathlib.Path) -> None:
    file.readline()
    size = 4 * layout.width
    buffer, place = b"", 0
    for number in range(1, min(layout.count, limit or layout.count) + 1):
        while (end := buffer.find(b" ", place)) < 0 or len(buffer) - end <= size:
            chunk = file.read(_SAMPLE_BYTES)
            buffer, place = buffer[place:] + chunk, 0
            if not chunk or (end < 0 and len(buffer) > _LONGEST + _SAMPLE_BYTES):
                raise ValueError(
                    f"A binary file of word vectors must be whole: by its header it has {layout.count} words, each "
                    f"with a blank and {layout.width} float32. Received: {path}, which ends or breaks in number "
                    f"{number}"
                )
        kept.read += 1
        values = buffer[end + 1 : end + 1 + size]
        kept.add(number, buffer[place:end].lstrip(b"\n"), lambda values=values: np.frombuffer(values, "<f4"))
        place = end + 1 + size
    if limit is None and (buffer[place:] + file.read(_SAMPLE_BYTES)).strip(b"\n"):
        raise ValueError(
            f"A binary file of word vectors must end where its header says. "
            f"Received: {path}, which goes on after {layout.count} words of {layout.width} numbers"
        )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yields lines; of one that is too long its beginning."""
    while line := file.readline(_LONGEST):
        rest = line
        while len(rest) == _LONGEST and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST)
        yield line


def _divided(line: bytes, width: int) -> tuple[bytes, bytes] | tuple[None, None]:
    """Divides a line into its word, which may have blanks, and its numbers; None where there are more or fewer."""
    if line.count(b" ") == width and b"\t" not in line:  # nearly every line, at a tenth of the time
        word, _, numbers = line.partition(b" ")
        return word, numbers
    fields = line.rsplit(None, width)
    if len(fields) <= width:
        return None, None
    before = fields[0].rsplit(None, 1)
    # A vector that is too long would be taken for a word that ends in numbers.
    if len(before) > 1 and _numbers(before[1:]) is not None:
        return None, None
    return fields[0], b" ".join(fields[1:])


def _numbers(fields: Sequence[bytes]) -> np.ndarray | None:
    """Returns float32 values, or None if one is no number."""
    try:
        values = np.array([float(field) for field in fields])
    except ValueError:
        return None
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        return values.astype(np.float32)


def _trailing_numbers(fields: Sequence[bytes]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda field: _numbers([field]) is not None, reversed(fields)))


def _layout_of(sample: bytes, path: pathlib.Path) -> _Layout:
    first, _, rest = sample.partition(b"\n")
    header = _header_of(first)
    lines = (sample if header is None else rest).split(b"\n")
    if len(sample) == _SAMPLE_BYTES:
        lines.pop()  # cut by the sample
    widths: collections.Counter[int] = collections.Counter()
    for line in lines[:_SAMPLE_LINES]:
        fields = line.split()
        if fields:
            widths[_trailing_numbers(fields[1:])] += 1
    if header is not None:
        count, width = header
        return _Layout(width, count, is_binary=width not in widths and not _is_text(rest))
    # One broken line does not tell the width, most lines do.
    width = widths.most_common(1)[0][0] if widths else 0
    if not width:
        raise ValueError(
            "A file of word vectors has a word and its numbers in each line, or begins with their number and width. "
            f"Received: {path}, where most of the first {_SAMPLE_LINES} lines are not so"
        )
    return _Layout(width, None, is_binary=False)


def _header_of(line: bytes) -> tuple[int, int] | None:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 12 for field in fields):
        return None
    count, width = map(int, fields)
    return (count, width) if 0 < width <= _WIDEST else None


def _is_text(sample: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return not any(character < " " and character not in "\t\r\n" for character in text)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file, and looks through its compression, which its first bytes tell, not its name."""
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
        file.seek(0)
        if not compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as inside:
            yield inside
