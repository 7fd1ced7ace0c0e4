"""The reviews of IMDB as a corpus: those of the training part, unless more is asked for by name."""

import functools
from collections.abc import Iterator
from pathlib import Path

from keras_transformer.corpus.counts import Counts
from keras_transformer.corpus.files import file_of, read_file
from keras_transformer.corpus.reading import Reading
from keras_transformer.corpus.tfds_texts import Part, tfds_parts
from keras_transformer.data.examples import Examples, fingerprint
from keras_transformer.data.markup import text_key
from keras_transformer.data.sources import load
from keras_transformer.data.tfds_source import default_data_dir

SOURCES = ("imdb", "imdb:unlabelled", "imdb:all")
_TFDS = "imdb_reviews/plain_text"


def reviews(source: str, data_dir: Path | None, download: bool) -> tuple[str, str, list[Part]]:
    """Read the labelled reviews, and look for the others.

    Args:
        source: one of `SOURCES`.
        data_dir: a prepared TFDS folder, or an extracted aclImdb; None for the folder TFDS uses.
        download: bool, whether TFDS may download.

    Returns:
        What the corpus is called, what changes with it, and its parts.

    Raises:
        FileNotFoundError: if the reviews, or those without label, are nowhere.
    """
    # The markup is left to the cleaning of the corpus.
    splits = load("imdb", data_dir=data_dir, download=download, clean_markup=False)
    chosen = [splits.train, splits.validation, splits.test] if source == "imdb:all" else [splits.train]
    parts: list[Part] = [functools.partial(_texts, part) for part in chosen]
    title = f"{source}: {sum(map(len, chosen))} labelled reviews ({splits.description})"
    facts = f"{source} {fingerprint(splits)}"
    if source == "imdb:unlabelled":
        more, part = _unlabelled(data_dir, download)
        held_out = frozenset(splits.validation.ids) | frozenset(splits.test.ids)
        parts.append(functools.partial(_without, part, held_out))
        title, facts = f"{title}, and the reviews without label of {more}", f"{facts} {more}"
    return title, facts, parts


def _texts(examples: Examples, _: Counts) -> Iterator[tuple[str, str]]:
    yield from zip(examples.texts, examples.ids, strict=True)


def _without(part: Part, held_out: frozenset[str], counts: Counts) -> Iterator[tuple[str, str]]:
    for text, origin in part(counts):
        if f"imdb-{text_key(text)}" in held_out:
            counts.read += 1
            counts.dropped["copies_of_held_out_reviews"] += 1
        else:
            yield text, origin


def _unlabelled(data_dir: Path | None, download: bool) -> tuple[str, Part]:
    for folder in (data_dir, data_dir / "aclImdb") if data_dir is not None else ():
        if (folder / "train" / "unsup").is_dir():
            names = sorted(path.name for path in (folder / "train" / "unsup").glob("*.txt"))
            return f"aclImdb ({len(names)})", functools.partial(_files, folder / "train" / "unsup", names)
    folder = data_dir if data_dir is not None else default_data_dir()
    if not download and not any(folder.glob(f"{_TFDS}/*/dataset_info.json")):
        raise FileNotFoundError(
            "The reviews without label are in aclImdb and in imdb_reviews of TFDS only: pass data_dir= (--data_dir) "
            "with a folder of one of these, or download=True (--download) where there is a network; 'imdb' does "
            f"without them. Received: 'imdb:unlabelled', folder {folder}."
        )
    title, _, parts = tfds_parts(_TFDS, folder, download, ("unsupervised",), "text")
    return title, parts[0]


def _files(folder: Path, names: list[str], counts: Counts) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            file = file_of(folder / name, name)
        except FileNotFoundError:
            counts.skip("vanished_files", name, "it is not there any more")
            continue
        yield from read_file(file, Reading(), counts)
