"""The reviews as a corpus: the training part, and more only when asked by name."""

import pytest

from keras_transformer import data
from keras_transformer.corpus import Counts, open_corpus
from keras_transformer.data.markup import text_key
from tests.data.test_tfds import SIZE, data_dir, review, tfds  # noqa: F401


@pytest.fixture(scope="module")
def splits():
    return data.load("imdb:package", clean_markup=False)


def keys_of(corpus, counts=None):
    return {text_key(document.text) for document in corpus.read(counts=counts)}


def test_imdb_is_the_training_part_and_nothing_else(splits, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    corpus = open_corpus("imdb")
    texts = [document.text for document in corpus]
    assert texts == splits.train.texts
    assert any("<br />" in text for text in texts), "markup is left to the cleaning"
    held_out = {text_key(text) for part in (splits.validation, splits.test) for text in part.texts}
    assert not {text_key(text) for text in texts} & held_out
    everything = open_corpus("imdb:all")
    assert keys_of(everything) == {text_key(text) for text in texts} | held_out
    assert corpus.fingerprint != everything.fingerprint
    with pytest.raises(FileNotFoundError, match=r"download=True.*Received: 'imdb:unlabelled'"):
        open_corpus("imdb:unlabelled")


def test_reviews_without_label_come_from_tfds_or_the_archive(data_dir, tmp_path):  # noqa: F811
    of_tfds = open_corpus("imdb:unlabelled", data_dir=data_dir)
    texts = [document.text for document in of_tfds]
    labelled = {review("train", label, number) for label in ("neg", "pos") for number in range(SIZE)}
    assert texts[-1] == "No label."
    assert set(texts[:-1]) < labelled
    assert len(texts) == 22 + 1
    assert "No label." not in [document.text for document in open_corpus("imdb", data_dir=data_dir)]
    folder = tmp_path / "aclImdb"
    for part in ("train", "test"):
        for label in ("neg", "pos"):
            (folder / part / label).mkdir(parents=True)
            for number in range(SIZE):
                (folder / part / label / f"{number}_1.txt").write_text(review(part, label, number))
    unlabelled = folder / "train" / "unsup"
    unlabelled.mkdir()
    (unlabelled / "0_0.txt").write_text("No label.")
    (unlabelled / "1_0.txt").write_text(review("test", "neg", 3).upper())
    counts = Counts()
    found = [document.text for document in open_corpus("imdb:unlabelled", data_dir=tmp_path).read(counts=counts)]
    assert found[-1] == "No label."
    assert counts.dropped == {"copies_of_held_out_reviews": 1}
    assert counts.read == len(found) + 1


def test_splits_of_tfds_are_streamed(data_dir):  # noqa: F811
    corpus = open_corpus("tfds:imdb_reviews", data_dir=data_dir)
    assert {document.text for document in corpus} == {
        review("train", label, number) for label in ("neg", "pos") for number in range(SIZE)
    }
    two = open_corpus("tfds:imdb_reviews", data_dir=data_dir, splits=("unsupervised", "test"))
    documents = list(two)
    assert documents[0].text == "No label."
    assert len(documents) == 1 + 2 * SIZE
    assert list(two.read(documents[5].place)) == documents[6:]
    with pytest.raises(ValueError, match=r"has the splits .*'unsupervised'.*Received: splits=\['dev'\]"):
        open_corpus("tfds:imdb_reviews", data_dir=data_dir, splits=["dev"])
    with pytest.raises(ValueError, match=r"text_column=.*Received: 'body'; the features are"):
        open_corpus("tfds:imdb_reviews", text_column="body", data_dir=data_dir)
