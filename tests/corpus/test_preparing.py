"""A corpus on disk: what is in it, what was left out, and going on after a kill."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from keras_transformer import corpus
from keras_transformer.corpus import Cleaning, Corpus, NearDuplicates, TokenStore, split_sentences, text_hash
from keras_transformer.corpus import shards as shards_module

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def same(one, other):
    """Whether two stores hold the same."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("tokens", "sentences", "documents")
    )


def by_hand(texts, tokenizer):
    """The documents, by a loop: cleaned, each once, in sentences."""
    seen, found = set(), []
    for text in texts:
        text = Cleaning()(text)
        key = " ".join(text.lower().split())
        if text and key not in seen:
            seen.add(key)
            sentences = [tokenizer.tokenize(sentence).numpy().tolist() for sentence in split_sentences(text)]
            found.append([sentence for sentence in sentences if sentence])
    return found


def documents_of(store):
    bounds = store.sentences[:]
    return [
        [store.tokens[bounds[s] : bounds[s + 1]].tolist() for s in range(first, last)]
        for first, last in zip(store.documents[:-1], store.documents[1:], strict=True)
    ]


def test_the_store_holds_what_a_loop_finds(tokenizer, reviews, tmp_path):
    texts = [*reviews[:20], "too short", *reviews[5:15], reviews[3].upper(), "", "A <br />new, short text with markup."]
    store = corpus.prepare(texts, tokenizer, tmp_path / "store")
    assert documents_of(store) == by_hand(texts, tokenizer)
    about = store.about
    assert (about["read"], about["kept"]) == (len(texts), store.num_documents)
    assert about["dropped"] == {"duplicates": 11, "too_short": 2}
    assert about["vocabulary_size"] == 800
    assert store.tokens.dtype == np.uint16
    assert isinstance(store.tokens, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert corpus.describe(store).endswith("left out: 11 duplicates, 2 too short")


@pytest.mark.parametrize("threads", [1, 3])
def test_shards_batches_and_threads_do_not_change_the_store(threads, tokenizer, reviews, tmp_path, monkeypatch):
    from keras_transformer.corpus import batches

    expected = corpus.prepare(reviews[:300], tokenizer, tmp_path / "one", threads=2)
    monkeypatch.setattr(batches, "_BATCH", 5000)
    found = corpus.prepare(reviews[:300], tokenizer, tmp_path / "two", threads=threads, shard_tokens=3000)
    assert same(expected, found)
    assert expected.about == found.about


def test_a_finished_store_is_opened_and_nothing_is_done(tokenizer, reviews, tmp_path, monkeypatch):
    first = corpus.prepare(reviews[:20], tokenizer, tmp_path / "store")
    monkeypatch.setattr(Corpus, "read", None)
    assert same(corpus.prepare(reviews[:20], tokenizer, str(tmp_path / "store")), first)


def test_another_source_or_option_asks_before_it_replaces(tokenizer, minilm_tokenizer, reviews, tmp_path):
    folder = tmp_path / "store"
    first = corpus.prepare(reviews[:20], tokenizer, folder)
    tokens = first.tokens.tolist()
    for source, other, options in (
        (reviews[:21], tokenizer, {}),
        (reviews[:20], minilm_tokenizer, {}),
        (reviews[:20], tokenizer, {"held_out": 0.5}),
        (reviews[:20], tokenizer, {"cleaning": Cleaning(markup=False)}),
        (reviews[:20], tokenizer, {"duplicates": True}),
        (reviews[:20], tokenizer, {"near_duplicates": True}),
        (reviews[:20], tokenizer, {"max_characters": 1000}),
    ):
        with pytest.raises(FileExistsError, match=r"replace=True\. Received: .*20 texts"):
            corpus.prepare(source, other, folder, **options)
    assert TokenStore.open(folder).tokens.tolist() == tokens
    second = corpus.prepare(reviews[:30], tokenizer, folder, replace=True)
    assert second.num_documents == 30
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        corpus.prepare(reviews[:20], tokenizer, tmp_path / "else")
    (tmp_path / "empty").mkdir()
    assert corpus.prepare(reviews[:20], tokenizer, tmp_path / "empty").num_documents == 20


def test_held_out_documents_are_chosen_by_their_text(tokenizer, reviews, tmp_path):
    texts = [*reviews[:150], *reviews[:150:7]]
    store = corpus.prepare(texts, tokenizer, tmp_path / "store", held_out=0.1, duplicates=True)
    held_out = TokenStore.open(tmp_path / "store" / "held_out")
    chosen = [text_hash(Cleaning()(text)) < 0.1 * 2**64 for text in texts]
    assert held_out.num_documents == sum(chosen) == len(texts) - store.num_documents
    assert 8 < sum(chosen) < 30
    parts = {False: [], True: []}
    rows = tokenizer.tokenize([Cleaning()(text) for text in texts]).to_list()
    for row, is_chosen in zip(rows, chosen, strict=True):
        parts[is_chosen].append(row)
    for is_chosen, found in ((False, store), (True, held_out)):
        assert [found.document(number).tolist() for number in range(found.num_documents)] == parts[is_chosen]
    assert not {tuple(row) for row in parts[True]} & {tuple(row) for row in parts[False]}, "no copy on both sides"
    assert (store.about["kept"], held_out.about["kept"]) == (store.num_documents, held_out.num_documents)


def test_of_too_few_documents_none_is_held_out_and_that_is_said(tokenizer, tmp_path, caplog):
    corpus.prepare(["A film that is good."], tokenizer, tmp_path / "store", held_out=1e-9)
    assert TokenStore.open(tmp_path / "store" / "held_out").num_documents == 0
    assert "no document was held out" in caplog.text


def test_near_duplicates_go_on_either_side(tokenizer, reviews, tmp_path):
    texts = []
    for text in reviews[:100]:
        words = text.split()
        texts += [text, " ".join([*words[: len(words) // 2], "indeed", *words[len(words) // 2 :]])]
    long = [len(text.split()) > 80 for text in texts[1::2]]
    store = corpus.prepare(texts, tokenizer, tmp_path / "store", near_duplicates=True, held_out=0.5)
    assert sum(long) > 80
    assert store.about["dropped"]["near_duplicates"] >= sum(long)
    held_out = TokenStore.open(tmp_path / "store" / "held_out")
    assert store.num_documents + held_out.num_documents == 200 - sum(store.about["dropped"].values())
    other = corpus.prepare(texts, tokenizer, tmp_path / "other", near_duplicates=NearDuplicates(threshold=0.99))
    assert other.about["dropped"].get("near_duplicates", 0) < 20 < store.about["dropped"]["near_duplicates"]


class Killed(BaseException):
    """As a kill, but the process goes on."""


def killed_after(count, source):
    """The corpus, the reading of which ends the process after so many documents."""
    whole = corpus.open_corpus(source)

    def read(part, counts):
        for number, found in enumerate(part(counts)):
            if number == count:
                raise Killed
            yield found

    return Corpus(
        whole.title, whole.fingerprint, [lambda counts, part=part: read(part, counts) for part in whole.parts]
    )


@pytest.fixture(scope="module")
def unbroken(tokenizer, reviews, tmp_path_factory):
    """A file, its texts, and the folders of what is made of it at one go, without near duplicates left out and with."""
    folder = tmp_path_factory.mktemp("unbroken")
    texts = [*reviews[:250], *reviews[100:150], *(f"{text} Indeed." for text in reviews[:50]), *reviews[250:300]]
    rows = [json.dumps({"text": text}) for text in texts]
    path = folder / "source.jsonl"
    path.write_text("\n".join([*rows[:50], "broken", *rows[50:]]))
    for near_duplicates in (False, True):
        options = {"near_duplicates": near_duplicates, "held_out": 0.2}
        corpus.prepare(path, tokenizer, folder / str(near_duplicates), **options)
    return path, texts, {near_duplicates: folder / str(near_duplicates) for near_duplicates in (False, True)}


# How a damaged part is found does not depend on near duplicates.
@pytest.mark.parametrize(
    ("near_duplicates", "damage"),
    [(False, None), (False, "middle"), (True, None), (True, "last"), (True, "middle"), (True, "half_written")],
)
def test_a_killed_preparation_goes_on_where_it_stopped(
    near_duplicates, damage, tokenizer, unbroken, tmp_path, monkeypatch, caplog
):
    from keras_transformer.corpus import batches

    monkeypatch.setattr(batches, "_BATCH", 8000)
    path, texts, folders = unbroken
    expected = TokenStore.open(folders[near_duplicates])
    options = {"shard_tokens": 6000, "near_duplicates": near_duplicates, "held_out": 0.2}
    for count in (150, 60, 300):
        with pytest.raises(Killed):
            corpus.prepare(killed_after(count, path), tokenizer, tmp_path / "store", **options)
        assert not (tmp_path / "store").exists()
    work = tmp_path / ".store.preparing"
    parts = sorted(work.glob("*.npz"))
    assert len(parts) > 5
    if damage in ("last", "middle"):
        part = parts[-1 if damage == "last" else 2]
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    elif damage == "half_written":
        (work / ".000099.npz.abc").write_bytes(b"half")
    read = []
    whole = corpus.open_corpus(path)
    monkeypatch.setattr(text_module(), "text_hash", lambda text, hashed=text_hash: read.append(text) or hashed(text))
    caplog.set_level("INFO")
    caplog.clear()  # the killed ones may have said the same
    found = corpus.prepare(whole, tokenizer, tmp_path / "store", **options)
    assert same(expected, found)
    held_out = [TokenStore.open(folder / "held_out") for folder in (folders[near_duplicates], tmp_path / "store")]
    assert same(*held_out)
    assert found.about == expected.about
    assert found.about["skipped"] == {"malformed_rows": 1}
    assert found.about["dropped"]["duplicates"] >= 50
    assert (found.about["dropped"].get("near_duplicates", 0) > 40) == near_duplicates, "of those before the kill"
    known = int(re.search(r"going on after (\d+) documents", caplog.text)[1])
    assert known > (20 if damage == "middle" else 200), "finished parts are kept"
    assert len(read) == len(texts) - known
    assert ("damaged" in caplog.text) == (damage in ("last", "middle"))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def text_module():
    from keras_transformer.corpus import batches

    return batches


def test_parts_after_a_damaged_one_are_removed(tmp_path):
    """They may have been made with other `shard_tokens`, so that they do not follow on what is made again."""
    parts = shards_module.Shards(tmp_path, "key", 10)
    for number in range(4):
        parts.add({"train_tokens": np.arange(number)}, {"number": number})
    damaged = sorted(tmp_path.glob("*.npz"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    again = shards_module.Shards(tmp_path, "key", 10)
    assert (len(again), again.state) == (1, {"number": 0})
    assert [path.name for path in sorted(tmp_path.glob("*.npz"))] == ["000000.npz"]
    again.add({"train_tokens": np.arange(7)}, {"number": 1})
    assert [len(array) for array in shards_module.Shards(tmp_path, "key", 10).arrays("train_tokens")] == [0, 7]
    assert shards_module.Shards(tmp_path, "other key", 10).state is None


def test_a_kill_while_the_store_is_put_together_costs_nothing_else(tokenizer, reviews, tmp_path, monkeypatch):
    expected = corpus.prepare(reviews[:50], tokenizer, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "write_store", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            corpus.prepare(reviews[:50], tokenizer, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr(Corpus, "read", None)
    assert same(corpus.prepare(reviews[:50], tokenizer, tmp_path / "store"), expected)


def test_work_of_another_corpus_is_begun_anew(tokenizer, reviews, tmp_path):
    with pytest.raises(Killed):
        corpus.prepare(killed_after(100, reviews[:200]), tokenizer, tmp_path / "store", shard_tokens=1)
    expected = corpus.prepare(reviews[200:230], tokenizer, tmp_path / "whole")
    assert same(corpus.prepare(reviews[200:230], tokenizer, tmp_path / "store"), expected)


PROGRAM = """
import pathlib, sys
sys.path.insert(0, {root!r})
from keras_transformer import corpus
from keras_transformer.corpus import batches
from keras_transformer.text import load_tokenizer
batches._BATCH = 4000
corpus.prepare({source!r}, load_tokenizer({tokenizer!r}), {folder!r}, shard_tokens=2000, threads=1)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_parts_that_another_goes_on_with(tokenizer, reviews, tmp_path):
    (tmp_path / "source.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in reviews[:3000]))
    tokenizer.save(tmp_path / "tokenizer")
    names = {name: str(tmp_path / name) for name in ("tokenizer", "folder")} | {
        "source": str(tmp_path / "source.jsonl")
    }
    program = PROGRAM.format(root=str(ROOT), **names)
    command, environment = [sys.executable, "-c", program], {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    work = tmp_path / ".folder.preparing"
    kept = 0
    for _ in range(3):
        process = subprocess.Popen(command, env=environment)
        while len(list(work.glob("*.npz"))) < kept + 5 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "folder").exists()
        kept = len(list(work.glob("*.npz")))
        assert kept >= 5
    # Two at once: one does the rest, the other waits for it.
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    expected = corpus.prepare(tmp_path / "source.jsonl", tokenizer, tmp_path / "whole")
    found = TokenStore.open(tmp_path / "folder")
    assert same(found, expected)
    assert found.about == expected.about
    assert not work.exists()


def test_two_at_once_do_the_work_once(tokenizer, reviews, tmp_path, monkeypatch):
    reads, stores = [], []
    original = Corpus.read

    def slowly(self, *arguments):
        reads.append(1)
        time.sleep(0.5)
        return original(self, *arguments)

    monkeypatch.setattr(Corpus, "read", slowly)
    threads = [
        threading.Thread(target=lambda: stores.append(corpus.prepare(reviews[:30], tokenizer, tmp_path / "store")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    assert len(stores) == 3
    assert same(stores[0], stores[2])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "The corpus is empty"),
        (["", "short"], r"left after cleaning.*2 read, dropped \{'too_short': 2\}"),
        (["中" * 30, "文" * 40], r"left after cleaning.*\{'only_unknown_tokens': 2\}"),
        ([b"bytes"], r"empty.*1 rows_without_text"),
    ],
)
def test_a_corpus_without_a_document_is_an_error_and_leaves_nothing(texts, message, tokenizer, tmp_path):
    with pytest.raises(ValueError, match=message):
        corpus.prepare(texts, tokenizer, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_documents_without_a_known_character_are_dropped_and_counted(tokenizer, tmp_path):
    texts = ["A film 中 that is good.", "中" * 30, "So is the film that I saw. 文 文 文 文."]
    store = corpus.prepare(texts, tokenizer, tmp_path / "store")
    assert store.num_documents == 2
    assert store.about["dropped"] == {"only_unknown_tokens": 1}
    unknown = int((np.asarray(store.tokens) == tokenizer.unk_id).sum())
    assert store.about["unknown_tokens"] == unknown == 5


def test_files_of_a_folder_are_read_with_their_problems_counted(tokenizer, reviews, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        (source / f"{number}.txt").write_text(reviews[number])
    (source / "binary.txt").write_bytes(b"\0\1\2")
    store = corpus.prepare(source, tokenizer, tmp_path / "store")
    assert store.about["skipped"] == {"binary_files": 1}
    assert documents_of(store) == by_hand(reviews[:5], tokenizer)
    assert "1 binary files" in corpus.describe(store)


@pytest.mark.parametrize("fixture", ["gpt2_folder", "t5_folder"])
def test_other_tokenizers_are_as_good(fixture, reviews, tmp_path, request):
    from keras_transformer.text import load_tokenizer

    tokenizer = load_tokenizer(request.getfixturevalue(fixture))
    store = corpus.prepare(reviews[:30], tokenizer, tmp_path / "store")
    cleaned = [Cleaning()(text) for text in reviews[:30]]
    texts = [tokenizer.detokenize(store.document(number)).numpy().decode() for number in range(30)]
    assert texts == [tokenizer.detokenize(tokenizer.tokenize(text)).numpy().decode() for text in cleaned]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "`threads` must be at least 1"),
        ({"shard_tokens": 0}, "`shard_tokens` must be at least 1"),
        ({"held_out": 1.0}, "`held_out` must be at least 0 and below 1"),
        ({"held_out": -0.1}, "`held_out` must be at least 0 and below 1"),
        ({"near_duplicates": NearDuplicates(), "text_column": "x", "source": "open"}, "takes no options of reading"),
    ],
)
def test_options_out_of_range_are_refused(options, message, tokenizer, tmp_path):
    source = ["A film that is good."]
    if options.pop("source", None):
        source = corpus.open_corpus(source)
    with pytest.raises(ValueError, match=message):
        corpus.prepare(source, tokenizer, tmp_path / "store", **options)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_room_loads_no_tensorflow():
    heavy = ("tensorflow", "keras", "datasketch", "sentencepiece", "tokenizers")
    code = f"import sys, keras_transformer.corpus; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
