"""The token store: in memory and from disk, and what is wrong with one."""

import json

import numpy as np
import pytest

from keras_transformer.corpus import TokenStore
from keras_transformer.corpus.store import write_store

DOCUMENTS = [[[5, 6, 7], [8]], [[9, 9]], [[1], [2, 3], [4]]]


def test_documents_sentences_and_tokens_are_where_they_belong():
    store = TokenStore.of(DOCUMENTS, 10)
    assert (store.num_documents, store.num_sentences, store.num_tokens) == (3, 6, 10)
    assert store.tokens.tolist() == [5, 6, 7, 8, 9, 9, 1, 2, 3, 4]
    assert (store.sentences.tolist(), store.documents.tolist()) == ([0, 3, 4, 6, 7, 9, 10], [0, 2, 3, 6])
    assert [store.document(number).tolist() for number in range(3)] == [[5, 6, 7, 8], [9, 9], [1, 2, 3, 4]]
    assert store.document(0).dtype == np.int32
    assert store.starts().tolist() == [0, 4, 6, 10]
    with pytest.raises(IndexError, match=r"documents 0 to 2\. Received: 3"):
        store.document(3)


@pytest.mark.parametrize(("size", "dtype"), [(10, np.uint16), (65_535, np.uint16), (65_536, np.int32)])
def test_tokens_take_two_bytes_where_the_vocabulary_allows(size, dtype, tmp_path):
    store = TokenStore.of([[[size - 1, 0]]], size)
    assert store.tokens.dtype == dtype
    assert store.document(0).tolist() == [size - 1, 0]
    store.save(tmp_path)
    assert TokenStore.open(tmp_path).tokens.dtype == dtype


def test_empty_sentences_and_documents_are_dropped_and_counted():
    store = TokenStore.of([[[1], [], [2]], [], [[]], [[3]]], 10)
    assert (store.num_documents, store.num_sentences) == (2, 3)
    assert store.about["dropped"] == {"empty": 2, "empty_sentences": 2}
    assert (store.about["read"], store.about["kept"]) == (4, 2)


@pytest.mark.parametrize("token", [-1, 10])
def test_ids_out_of_the_vocabulary_are_refused(token):
    with pytest.raises(ValueError, match=rf"from 0 to 9.*Received: {token}"):
        TokenStore.of([[[3, token]]], 10)


@pytest.mark.parametrize("documents", [DOCUMENTS, []])
def test_a_folder_gives_back_what_was_saved_and_is_mapped(documents, tmp_path):
    TokenStore.of(documents, 10).save(tmp_path)
    store = TokenStore.open(tmp_path)
    assert [store.document(number).tolist() for number in range(store.num_documents)] == [
        [token for sentence in document for token in sentence] for document in documents
    ]
    assert all(isinstance(array, np.memmap) for array in (store.tokens, store.sentences, store.documents))
    assert store.about["vocabulary_size"] == 10


def test_there_must_be_a_store(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"corpus\.prepare\. Received: .*nowhere"):
        TokenStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["tokens.npy", "sentences.npy", "documents.npy"])
@pytest.mark.parametrize("how", ["cut", "gone", "other"])
def test_a_damaged_store_is_refused(name, how, tmp_path):
    TokenStore.of(DOCUMENTS, 10).save(tmp_path)
    path = tmp_path / name
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    elif how == "gone":
        path.unlink()
    else:
        np.save(path, np.load(path)[:-1])
    with pytest.raises(ValueError, match=r"damaged: remove it.*Received: "):
        TokenStore.open(tmp_path)


def test_another_format_is_refused(tmp_path):
    TokenStore.of(DOCUMENTS, 10).save(tmp_path)
    about = json.loads((tmp_path / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(ValueError, match="format 99, and this version reads 1"):
        TokenStore.open(tmp_path)


def test_parts_that_do_not_fit_are_refused():
    store = TokenStore.of(DOCUMENTS, 10)
    with pytest.raises(ValueError, match=r"from 0 to the 9 tokens.*Received: \(0, 10\)"):
        TokenStore(store.tokens[:-1], store.sentences, store.documents)
    with pytest.raises(ValueError, match="must be int64"):
        TokenStore(store.tokens, store.sentences.astype(np.int32), store.documents)


def test_fewer_entries_than_were_said_are_no_store(tmp_path):
    parts = {name: (np.dtype(np.int64), 3, [np.zeros(1), np.zeros(1)]) for name in ("tokens", "sentences", "documents")}
    with pytest.raises(ValueError, match=r"tokens must have 3 entries.*Received: 2"):
        write_store(tmp_path, parts, {})
    assert not (tmp_path / "about.json").exists()
