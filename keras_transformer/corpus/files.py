"""Texts of a file, in bounded memory: plain text and tables, compressed or not; what cannot be read is counted."""

import bz2
import codecs
import contextlib
import functools
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from keras_transformer.corpus.counts import Counts
from keras_transformer.corpus.reading import Reading, cut, is_utf8
from keras_transformer.corpus.table_rows import delimited, json_lines
from keras_transformer.data.tables import SUFFIXES as TABLES

TEXT = ".txt"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# So much of a file is looked at before it is taken for text.
_HEAD = 1 << 16
# So many compressed bytes are decompressed at once: a few of them may stand for a hundred thousand.
_PIECE = 1 << 10


class File(NamedTuple):
    """A file of a corpus as it was when the corpus was opened.

    Attributes:
        path: Where it is.
        name: What it is called in logs: its path below the folder.
        size: Its bytes.
        modified: When it was written, in nanoseconds.
    """

    path: Path
    name: str
    size: int
    modified: int


def file_of(path: Path, name: str) -> File:
    """Looks at a file.

    Args:
        path: Where it is.
        name: What it is called in logs.

    Returns:
        `File`.
    """
    status = path.stat()
    return File(path, name, status.st_size, status.st_mtime_ns)


def kind_of(name: str | Path) -> tuple[str, str]:
    """Returns the suffix that says what a file holds and that of its compression, "" where there is none."""
    path = Path(name)
    compression = path.suffix if path.suffix in COMPRESSED else ""
    kind = Path(path.stem).suffix if compression else path.suffix
    return (kind if kind in (TEXT, *TABLES) else "", compression)


def check_compression(name: str) -> None:
    """Says at once what is missing to read a file.

    Args:
        name: str, its name.

    Raises:
        ImportError: if it is compressed by Zstandard, and the package for it is not there.
    """
    if name.endswith(".zst"):
        _zstandard(name)


def read_file(file: File, reading: Reading, counts: Counts) -> Iterator[tuple[str, str]]:
    """Read the documents of a file.

    A file that is gone, is not text, or breaks off is logged and counted; what was read of it before stays.

    Args:
        file: `File`.
        reading: `Reading`.
        counts: `Counts`; `skipped` and `notes` are added to.

    Yields:
        Texts, and where each comes from: the file's name, and the line or number of the document in it.
    """
    kind, compression = kind_of(file.name)
    newline, read = _READERS[kind]
    try:
        with file.path.open("rb", buffering=0) as raw, _decompressed(raw, compression, file.name) as stream:
            if problem := _not_text(stream.peek(_HEAD)[:_HEAD]):
                counts.skip("binary_files", file.name, problem)
                return
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
            yield from read(text, file.name, reading, counts)
            if raw.tell() < file.size:
                what = f"it ended after {raw.tell()} of the {file.size} bytes that it had"
                counts.skip("shortened_files", file.name, what)
    except FileNotFoundError:
        counts.skip("vanished_files", file.name, "it is not there any more")
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        counts.skip("broken_files", file.name, f"it cannot be read to its end ({error})")


@contextlib.contextmanager
def _decompressed(raw: IO[bytes], compression: str, name: str) -> Iterator[io.BufferedReader]:
    if compression == ".gz":
        opened: Any = gzip.GzipFile(fileobj=raw)
    elif compression == ".bz2":
        opened = bz2.BZ2File(raw)
    elif compression == ".xz":
        opened = lzma.LZMAFile(raw)
    elif compression == ".zst":
        opened = _Zstandard(raw, _zstandard(name))
    else:
        opened = contextlib.nullcontext(raw)
    with opened as stream, io.BufferedReader(stream, _HEAD) as buffered:
        try:
            yield buffered
        except Exception as error:
            # Zstandard has an error of its own, which is not one of the operating system's.
            if type(error).__name__ == "ZstdError":
                raise OSError(str(error)) from error
            raise


class _Zstandard(io.RawIOBase):
    """The content of a file of Zstandard frames; one that breaks off is an error, as in the other formats.

    The reader of the package itself takes the end of the file for the end of the content.

    Args:
        raw: The file.
        package: The module `zstandard`.
    """

    def __init__(self, raw: IO[bytes], package: Any) -> None:
        super().__init__()
        self._raw = raw
        self._decompressor = package.ZstdDecompressor()
        self._frame: Any = None
        self._compressed, self._content = b"", memoryview(b"")

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer, see `io.RawIOBase`.

        Raises:
            EOFError: If the file ends within a frame.
        """
        while not self._content:
            piece = self._compressed or self._raw.read(_PIECE)
            if not piece:
                if self._frame is not None:
                    raise EOFError("compressed file ended before the end of a frame was reached")
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            self._content = memoryview(self._frame.decompress(piece))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._content))
        buffer[:count], self._content = self._content[:count], self._content[count:]
        return count


def _zstandard(name: str) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(
            f"Reading .zst files needs a package: `pip install zstandard`. Received: {name} ({error})."
        ) from error
    return zstandard


def _not_text(head: bytes) -> str:
    """Why the beginning of a file is not text; "" where it is."""
    if b"\0" in head:
        return "it is not text: it has bytes of value 0 (text in UTF-16 has them, too: convert it to UTF-8)"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        return f"it is not UTF-8 ({error.reason} at byte {error.start})"
    return ""


def _texts(file: IO[str], name: str, reading: Reading, counts: Counts) -> Iterator[tuple[str, str]]:
    """The documents of a .txt file."""
    limit = reading.max_characters
    documents = _between_blank_lines(file, limit) if reading.blank_lines else _whole(file, limit)
    for number, (text, is_cut) in enumerate(documents, 1):
        if is_cut:
            counts.notes["cuts_of_long_documents"] += 1
        if is_utf8(text, f"{name}:{number}", counts):
            yield text, f"{name}:{number}"


def _whole(file: IO[str], limit: int) -> Iterator[tuple[str, bool]]:
    """All of a file, in pieces if it is longer than a document may be; and whether more of it follows."""
    rest = ""
    while True:
        rest += file.read(limit + 1 - len(rest))
        if len(rest) <= limit:
            if rest:
                yield rest, False
            return
        piece, rest = cut(rest, limit)
        yield piece, True


def _between_blank_lines(file: IO[str], limit: int) -> Iterator[tuple[str, bool]]:
    """The runs of lines between blank ones, in pieces if they are longer than a document may be."""
    lines: list[str] = []
    size, begins_line = 0, True
    while line := file.readline(limit):
        is_blank = begins_line and line.endswith("\n") and line.isspace()
        begins_line = line.endswith("\n")
        if is_blank:
            if lines:
                yield "".join(lines), False
            lines, size = [], 0
            continue
        lines.append(line)
        size += len(line)
        while size > limit:
            piece, rest = cut("".join(lines), limit)
            lines, size = [rest], len(rest)
            yield piece, True
    if lines:
        yield "".join(lines), False


# How line ends are read, and what reads the documents. Strings of JSON may hold line breaks of Unicode, quotes any.
_READERS = {
    TEXT: (None, _texts),
    ".jsonl": ("\n", json_lines),
    ".csv": ("", delimited),
    ".tsv": ("", functools.partial(delimited, delimiter="\t")),
}
