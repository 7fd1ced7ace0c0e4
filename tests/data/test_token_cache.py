import functools
import os
import shutil

import numpy as np
import pytest

from keras_transformer import data, text
from keras_transformer.data import token_cache

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "##s", ".")
TEXTS = ["good films.", "", "bad film", "good " * 40, "é � \ud800"]


@functools.cache
def tokenizer(vocabulary, lowercase):
    return text.WordPieceTokenizer(vocabulary, lowercase=lowercase)


def packer(vocabulary=VOCABULARY, lowercase=True, **options):
    return text.TextPacker(tokenizer(vocabulary, lowercase), **{"max_length": 16} | options)


def assert_same(rows, other):
    for name in ("values", "row_splits", "example_ids"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(other, name))
        assert getattr(rows, name).dtype == getattr(other, name).dtype


@pytest.mark.parametrize("truncation", ["head", "windows"])
def test_what_is_read_is_what_was_made(tmp_path, truncation):
    texts = TEXTS[:-1]
    made = data.encode(packer(truncation=truncation), texts)
    for found in (0, 1):
        cache = data.TokenCache(tmp_path / "new")
        assert_same(data.encode(packer(truncation=truncation), texts, cache=cache), made)
        assert (cache.found, cache.made) == (found, 1 - found)
    assert len(list((tmp_path / "new").iterdir())) == 1, "nothing is left beside the rows"


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 15},
        {"truncation": "windows"},
        {"truncation": "head_tail"},
        {"lowercase": False},
        {"vocabulary": (*VOCABULARY[:-3], "films", "##s", ".")},
        {"texts": ["good films", ".", "bad film", "good " * 40]},
        {"texts": ["bad film", "", "good films.", "good " * 40]},
        {"texts": []},
    ],
    ids=lambda change: "-".join(f"{name}" for name in change),
)
def test_whatever_changes_the_rows_makes_them_anew(tmp_path, change):
    data.encode(packer(), TEXTS[:-1], cache=data.TokenCache(tmp_path))
    cache, texts = data.TokenCache(tmp_path), change.pop("texts", TEXTS[:-1])
    rows = data.encode(packer(**change), texts, cache=cache)
    assert (cache.found, cache.made) == (0, 1)
    assert_same(rows, data.encode(packer(**change), texts))


def test_ids_of_two_and_of_four_bytes_come_back(tmp_path):
    cache, wide = data.TokenCache(tmp_path), packer((*VOCABULARY, *(f"t{i}" for i in range(70_000)), "last"))
    for own, sentence, highest in ((packer(), "film.", 9), (wide, "last", 70_010)):
        for _ in range(2):
            rows = data.encode(own, [sentence], cache=cache)
            assert rows.values.max() == highest
    assert (cache.found, cache.made) == (2, 2)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_file_is_made_again(tmp_path, caplog, damage):
    rows = data.encode(packer(), TEXTS[:-1], cache=data.TokenCache(tmp_path))
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    where = content.index(b"values.npy") + 150
    content[where] ^= 1
    foreign = {"values": np.array([{}], object)}
    if damage == "foreign":
        np.savez(path, **foreign)
    else:
        path.write_bytes({"cut": content[:200], "flipped": content, "empty": b""}[damage])
    for found in (0, 1):
        cache = data.TokenCache(tmp_path)
        assert_same(data.encode(packer(), TEXTS[:-1], cache=cache), rows)
        assert (cache.found, cache.made) == (found, 1 - found)
    assert "made again, as their file is damaged" in caplog.text


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache, seen = data.TokenCache(tmp_path), set()
    for i in range(3):
        data.encode(packer(), [f"good {i}"], cache=cache)
        (newest,) = set(tmp_path.iterdir()) - seen
        seen.add(newest)
        os.utime(newest, (i, i))
    data.encode(packer(), ["good 0"], cache=cache)  # used: now the newest
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    small = data.TokenCache(tmp_path, max_bytes=2 * size)
    data.encode(packer(), ["good 3"], cache=small)
    assert len(list(tmp_path.iterdir())) == 2
    for sentence, found in (("good 0", 1), ("good 3", 1), ("good 1", 0)):
        small.found = 0
        data.encode(packer(), [sentence], cache=small)
        assert small.found == found, sentence


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    rows = data.encode(packer(), ["good"], cache=data.TokenCache(tmp_path / "file" / "tokens"))
    assert rows.row(0).tolist() == [2, 5, 3]
    assert "the tokenized texts are not kept" in caplog.text


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def savez(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(token_cache.np, "savez", savez)
    with pytest.raises(KeyboardInterrupt):
        data.encode(packer(), ["good"], cache=data.TokenCache(tmp_path))
    assert not list(tmp_path.iterdir())


def test_where_the_folder_is(tmp_path, monkeypatch):
    monkeypatch.setenv(token_cache.FOLDER, str(tmp_path))
    assert data.TokenCache().folder == tmp_path / "tokens"
    monkeypatch.delenv(token_cache.FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.TokenCache().folder == tmp_path / "xdg" / "keras_transformer" / "tokens"
    with pytest.raises(ValueError, match=r"`max_bytes` must be at least 0\. Received: -1"):
        data.TokenCache(max_bytes=-1)


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_and_batches_change_nothing(threads):
    texts = [f"good {'film ' * (i % 30)} s{i}." for i in range(97)]
    for truncation in ("head", "windows"):
        expected = data.encode(packer(truncation=truncation), texts, batch_size=97)
        assert_same(data.encode(packer(truncation=truncation), texts, batch_size=10, threads=threads), expected)
    with pytest.raises(ValueError, match=r"`threads` must be at least 1\. Received: 0"):
        data.encode(packer(), texts, threads=0)


def test_a_folder_that_was_removed_is_made_again(tmp_path):
    cache = data.TokenCache(tmp_path / "tokens")
    data.encode(packer(), ["good"], cache=cache)
    shutil.rmtree(tmp_path / "tokens")
    data.encode(packer(), ["good"], cache=cache)
    assert cache.made == 2
