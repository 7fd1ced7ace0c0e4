"""TFDS for real: its own builder of imdb_reviews runs on a small archive in the original layout."""

import io
import socket
import tarfile

import numpy as np
import pytest

from keras_transformer import data

URL = "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
SIZE = 12


def review(part, label, number):
    return f"A {label} {part} review, number {number}.<br /><br />Café &amp; more."


def write_archive(path):
    with tarfile.open(path, "w:gz") as archive:

        def add(name, content):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        for part in ("train", "test"):
            for label, stars in (("neg", 2), ("pos", 9)):
                for number in range(SIZE):
                    add(f"aclImdb/{part}/{label}/{number}_{stars}.txt", review(part, label, number).encode())
            add(f"aclImdb/{part}/urls_pos.txt", b"http://www.example.com")
        add("aclImdb/train/unsup/0_0.txt", b"No label.")


@pytest.fixture(scope="module")
def tfds():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def data_dir(tfds, tmp_path_factory):
    """A TFDS folder in which the archive counts as downloaded; what is loaded from it is prepared by TFDS itself."""
    from tensorflow_datasets.core.download import resource

    folder = tmp_path_factory.mktemp("tfds")
    builder = tfds.builder("imdb_reviews", data_dir=str(folder), try_gcs=False)
    name = resource.get_dl_fname(URL, builder.url_infos[URL].checksum)
    downloads = folder / "downloads"
    downloads.mkdir()
    write_archive(downloads / name)
    (downloads / f"{name}.INFO").write_text("{}")
    splits = data.load("imdb", data_dir=folder, download=True)
    assert len(splits.test) == 2 * SIZE
    return folder


def test_imdb_is_read_from_a_prepared_folder_without_downloading(data_dir):
    splits = data.load("imdb", data_dir=data_dir)
    assert "official splits, from TFDS imdb_reviews" in splits.description
    assert splits.class_names == ("neg", "pos")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [22, 2, 24]
    expected = {
        f"A {label} test review, number {number}. Café & more.": ("neg", "pos").index(label)
        for label in ("neg", "pos")
        for number in range(SIZE)
    }
    assert dict(zip(splits.test.texts, splits.test.labels, strict=True)) == expected
    assert set(splits.test_raw.texts) == {review("test", label, n) for label in ("neg", "pos") for n in range(SIZE)}
    assert "unsup" not in " ".join(splits.train.texts)


def test_tfds_and_the_extracted_archive_give_the_same_data(data_dir, tmp_path):
    with tarfile.open(next((data_dir / "downloads").glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    extracted, prepared = (data.load("imdb", data_dir=folder) for folder in (tmp_path, data_dir))
    assert data.fingerprint(extracted) == data.fingerprint(prepared)


def test_the_folder_of_the_environment_comes_before_the_package(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    for source in ("imdb", "imdb:official"):
        assert "TFDS imdb_reviews" in data.load(source).description


def test_any_data_set_of_tfds_by_name(data_dir):
    splits = data.load("tfds:imdb_reviews", data_dir=data_dir, validation_fraction=0.25)
    assert splits.class_names == ("neg", "pos")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 6, 24]
    assert review("test", "pos", 3) in splits.test.texts  # As it is: markup is the business of "imdb".
    with pytest.raises(ValueError, match=r"'review'; the features are \['text', 'label'\]"):
        data.load("tfds:imdb_reviews", data_dir=data_dir, text_column="review")


@pytest.fixture(scope="module")
def other_dir(tfds, tmp_path_factory):
    """Data sets with other features, written by TFDS."""
    folder = tmp_path_factory.mktemp("other")
    text = tfds.features.Text()

    def store(name, features, **splits):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets=splits,
            data_dir=str(folder),
            disable_shuffling=True,
        )

    import tensorflow as tf

    def rows(start, number, label):
        texts = [f"text {i}".encode() for i in range(start, start + number)]
        return tf.data.Dataset.from_tensor_slices({"sentence": texts, "label": label})

    names = tfds.features.ClassLabel(names=["no", "maybe", "yes"])
    store(
        "hidden_test",
        {"sentence": text, "label": names},
        train=rows(0, 30, np.arange(30) % 3),
        validation=rows(30, 6, np.arange(6) % 3),
        test=rows(36, 4, np.full(4, -1)),
    )
    store("stars", {"sentence": text, "label": np.float32}, train=rows(0, 20, np.linspace(0, 1, 20, dtype=np.float32)))
    sets = tf.ragged.constant([[i % 2, 2] if i % 3 else [i % 2] for i in range(20)], dtype=tf.int64)
    store("topics", {"sentence": text, "label": tfds.features.Sequence(names)}, train=rows(0, 20, sets))
    return folder


def test_hidden_labels_are_left_out_and_the_validation_part_is_the_test(other_dir):
    splits = data.load("tfds:hidden_test", data_dir=other_dir)
    assert splits.class_names == ("no", "maybe", "yes")
    assert splits.dropped == {"without_a_label": 4}
    assert set(splits.test.texts) == {f"text {i}" for i in range(30, 36)}
    assert [int(text.split()[1]) % 3 for text in splits.train.texts] == splits.train.labels.tolist()


def test_regression_and_several_labels_from_tfds(other_dir):
    splits = data.load("tfds:stars", data_dir=other_dir)
    assert splits.kind == "regression"
    for text, label in zip(splits.train.texts, splits.train.labels, strict=True):
        assert label[0] == pytest.approx(int(text.split()[1]) / 19, rel=1e-5)
    splits = data.load("tfds:topics", data_dir=other_dir)
    assert (splits.kind, splits.class_names) == ("multi_label", ("no", "maybe", "yes"))
    for text, label in zip(splits.train.texts, splits.train.labels, strict=True):
        number = int(text.split()[1])
        assert label.tolist() == [float(number % 2 == 0), float(number % 2 == 1), float(number % 3 != 0)]


def test_what_is_not_prepared_or_unknown_is_named(tfds, tmp_path):
    with pytest.raises(FileNotFoundError, match="tfds build ag_news_subset"):
        data.load("tfds:ag_news_subset", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"knows no such data set.*'no_such_data'"):
        data.load("tfds:no_such_data", data_dir=tmp_path)


def test_a_download_without_a_network_fails_at_once(tfds, tmp_path, monkeypatch):
    def no_network(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConnectionError, match=r"without a network.*ai.stanford.edu"):
        data.load("imdb", data_dir=tmp_path, download=True)


def test_without_tfds_one_line_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets importlib_resources"):
        data.load("tfds:imdb_reviews", data_dir=tmp_path)
