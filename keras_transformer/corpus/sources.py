"""`open_corpus`: documents without labels from any source, streamed."""

import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_transformer.corpus import imdb
from keras_transformer.corpus.counts import Counts
from keras_transformer.corpus.files import (
    COMPRESSED,
    TABLES,
    TEXT,
    File,
    check_compression,
    file_of,
    kind_of,
    read_file,
)
from keras_transformer.corpus.reading import Reading, pieces_of
from keras_transformer.corpus.tfds_texts import Part, tfds_parts
from keras_transformer.data.hashing import add_texts

_ENDINGS = (
    f"The files of a corpus end in {', '.join((TEXT, *TABLES))}, and {', '.join(COMPRESSED)} if they are compressed."
)


class Document(NamedTuple):
    """A document of a corpus.

    Attributes:
        text: Its text, as it is in the source.
        origin: Where it comes from: file and line, or the like.
        place: The part of the corpus, and how many of its documents have been read with it: reading goes on there.
    """

    text: str
    origin: str
    place: tuple[int, int] = (0, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Documents that are read anew, one after the other, each time they are asked for.

    Args:
        title: str, what the corpus is, for logs.
        fingerprint: str that changes with the documents.
        parts: Functions of `Counts` that yield texts and their origins; for files one each.
    """

    title: str
    fingerprint: str
    parts: Sequence[Part]

    def __iter__(self) -> Iterator[Document]:
        """Read all documents."""
        return self.read()

    def read(self, start: tuple[int, int] = (0, 0), counts: Counts | None = None) -> Iterator[Document]:
        """Read documents.

        Args:
            start: the `place` of the last document that was read before. Default: from the beginning.
            counts: `Counts` that is added to. Default None.

        Yields:
            `Document`.

        Raises:
            ValueError: if there is none at all.
        """
        counts = Counts() if counts is None else counts
        found = start != (0, 0)
        for part in range(start[0], len(self.parts)):
            texts = self.parts[part](counts)
            known = start[1] if part == start[0] else 0
            if known:
                before = counts.to_dict()
                for _ in itertools.islice(texts, known):
                    pass
                counts.set(before)  # What is passed over was counted when it was read.
            for number, (text, origin) in enumerate(texts, known + 1):
                counts.read += 1
                found = True
                yield Document(text, origin, (part, number))
        if not found:
            skipped = ", ".join(f"{number} {reason}" for reason, number in counts.skipped.items())
            raise ValueError(
                "The corpus is empty: there is no document in it that can be read (the log says what was left out). "
                f"Received: {self.title}, left out: {skipped or 'nothing'}."
            )


def open_corpus(
    source: str | os.PathLike | Sequence[str],
    text_column: str = "text",
    data_dir: str | os.PathLike | None = None,
    *,
    download: bool = False,
    splits: Sequence[str] = ("train",),
    delimiter: str | None = None,
    quoting: bool = True,
    max_characters: int = 1_000_000,
) -> Corpus:
    """Open a source of documents without labels; but for IMDB, nothing is read before it is iterated.

    - A folder: its files and those of the folders in it, sorted by name. A .txt file is one document; a .jsonl, .csv or
      .tsv file has one in each row. Hidden files and others are passed over.
    - One such file; a .txt file then has many documents, with blank lines between them, as the corpora of BERT.
    - `"imdb"`: the training reviews of `data.load("imdb")`, none of its validation or test part.
    - `"imdb:unlabelled"`: these, and the reviews without label of TFDS or aclImdb that are no copies of held-out ones.
    - `"imdb:all"`: all labelled reviews, those of the validation and test part too, which then judge no model.
    - `"tfds:NAME"`: splits of a data set that TFDS has prepared.
    - A list of str.

    Files may be compressed: .gz, .bz2, .xz, and .zst where the package `zstandard` is installed. What cannot be read is
    logged, counted in `Counts.skipped` and passed over: files that are binary or not UTF-8, vanish or break off; rows
    that are malformed, longer than 16 million characters, or without the column.

    Args:
        source: One of these.
        text_column: str, the column, key or TFDS feature of the text. Default "text" (TFDS: or the only text feature).
        data_dir: path, for "imdb" and "tfds:NAME" as in `data.load`.
        download: bool, whether TFDS may download. Default False.
        splits: The splits of "tfds:NAME". Default only "train".
        delimiter: str between the columns of .csv and .tsv files; by default that of the suffix.
        quoting: bool, whether `"` quotes their fields. Default True.
        max_characters: int, longest document; a longer one, such as a single line of 100 MB, is cut into several, at
            white space where there is some, and the cuts are counted. Default 1,000,000.

    Returns:
        `Corpus`, to be iterated.

    Raises:
        FileNotFoundError: if the source is not there.
        ImportError: if reading it needs a package that is not installed.
        ValueError: if it has no file that can be read, or an option is wrong.

    Example:
        ```python
        import pathlib, tempfile
        from keras_transformer.corpus import open_corpus

        path = pathlib.Path(tempfile.mkdtemp()) / "films.txt"
        path.write_text("A good film.\\nReally.\\n\\nA bad one.\\n")
        assert [document.text for document in open_corpus(path)] == ["A good film.\\nReally.\\n", "A bad one.\\n"]
        ```
    """
    if max_characters < 1000:
        raise ValueError(f"`max_characters` must be at least 1000. Received: {max_characters}.")
    reading = Reading(text_column, delimiter, quoting, max_characters)
    if not isinstance(source, str | os.PathLike):
        return _of_texts(list(source), reading)
    name = str(source)
    folder = Path(data_dir).expanduser() if data_dir is not None else None
    if name in imdb.SOURCES:
        return _of_parts(*imdb.reviews(name, folder, download), reading)
    if name.startswith("tfds:"):
        return _of_parts(*tfds_parts(name.removeprefix("tfds:"), folder, download, splits, text_column), reading)
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_files(path, _files_below(path), reading)
    if not path.is_file():
        raise FileNotFoundError(
            f"No such corpus: expected {', '.join(imdb.SOURCES)}, tfds:NAME, a folder, or a file. {_ENDINGS} "
            f"Received: {name!r}."
        )
    if not kind_of(path)[0]:
        raise ValueError(f"{_ENDINGS} Received: {path.name!r}.")
    return _of_files(path, [file_of(path, path.name)], reading._replace(blank_lines=True))


def _of_files(path: Path, files: list[File], reading: Reading) -> Corpus:
    for file in files:
        check_compression(file.name)
    facts = "".join(f"{file.name}\0{file.size}\0{file.modified}\n" for file in files)
    title = f"{path.name} ({len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB)"
    parts = [functools.partial(read_file, file, reading) for file in files]
    return Corpus(title, _digest(facts, reading), parts)


def _files_below(folder: Path) -> list[File]:
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(base, name)
            if not name.startswith(".") and kind_of(name)[0] and path.is_file():
                found.append(file_of(path, path.relative_to(folder).as_posix()))
    if not found:
        raise ValueError(f"{_ENDINGS} Received: the folder {str(folder)!r}, which has none.")
    return sorted(found, key=lambda file: file.name)


def _of_texts(texts: Sequence[str], reading: Reading) -> Corpus:
    digest = hashlib.sha256()
    add_texts(digest, (text for text in texts if isinstance(text, str)))

    def named(_: Counts) -> Iterator[tuple[str, str]]:
        yield from ((text, f"text {number}") for number, text in enumerate(texts, 1))

    return _of_parts(f"{len(texts)} texts", f"{len(texts)} {digest.hexdigest()}", [named], reading)


def _of_parts(title: str, facts: str, parts: Sequence[Part], reading: Reading) -> Corpus:
    """A corpus of texts that do not come from files: they are checked and cut here."""

    def checked(part: Part, counts: Counts) -> Iterator[tuple[str, str]]:
        for text, origin in part(counts):
            yield from pieces_of(text, origin, reading, counts)

    return Corpus(title, _digest(facts, reading), [functools.partial(checked, part) for part in parts])


def _digest(facts: str, reading: Reading) -> str:
    return hashlib.sha256(f"{reading}\n{facts}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
