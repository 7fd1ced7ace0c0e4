"""Reading a corpus: every source, every compression, and what cannot be read is counted and passed over."""

import bz2
import contextlib
import csv
import gzip
import json
import lzma
import os
import tracemalloc

import pytest

from keras_transformer.corpus import Counts, open_corpus

COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def texts_of(corpus, counts=None):
    return [document.text for document in corpus.read(counts=counts)]


def write(path, content, compression=""):
    path = path.with_name(path.name + compression)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(COMPRESS[compression](content.encode() if isinstance(content, str) else content))
    return path


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_folder_is_read_with_all_below_it_in_order(compression, tmp_path):
    write(tmp_path / "b" / "2.txt", "two\n\nstill two", compression)
    write(tmp_path / "b" / "1.txt", "\ufeffone é", compression)
    write(tmp_path / "a.jsonl", '{"text": "three\\u2028 a", "n": 1}\n\n{"text": "four"}', compression)
    write(tmp_path / "c.csv", 'n,text\r\n1,"five, ""quoted""\nand on"\n2,six\n', compression)
    write(tmp_path / "d.tsv", "text\tn\nseven, and\t1\n", compression)
    write(tmp_path / "notes.md", "not read", compression)
    write(tmp_path / ".hidden.txt", "not read")
    write(tmp_path / ".git" / "x.txt", "not read")
    found = list(open_corpus(tmp_path))
    assert [document.text for document in found] == [
        *("three\u2028 a", "four", "one é", "two\n\nstill two", 'five, "quoted"\nand on', "six", "seven, and")
    ]
    assert [document.origin.replace(compression, "") for document in found] == [
        *("a.jsonl:1", "a.jsonl:3", "b/1.txt:1", "b/2.txt:1", "c.csv:2", "c.csv:4", "d.tsv:2")
    ]
    assert open_corpus(tmp_path).fingerprint == open_corpus(str(tmp_path)).fingerprint


def test_zstandard_is_read_or_its_package_is_named(tmp_path):
    path = tmp_path / "a.txt.zst"
    try:
        import zstandard
    except ImportError:
        path.write_bytes(b"anything")
        with pytest.raises(ImportError, match=r"pip install zstandard.*Received: a\.txt\.zst"):
            open_corpus(path)
        return
    content = "\n\n".join(f"document {i} " + "word " * 200 for i in range(2000))
    packed = zstandard.compress(content.encode())
    path.write_bytes(packed)
    assert texts_of(open_corpus(path)) == _with_line_ends(content)
    path.write_bytes(packed[: len(packed) // 2] + b"broken" + packed[len(packed) // 2 :])
    counts = Counts()
    assert 0 < len(texts_of(open_corpus(path), counts)) < 2000
    assert counts.skipped == {"broken_files": 1}


@pytest.mark.parametrize("kept", [0.5, -1, -4, 3], ids=["half", "a byte less", "four bytes less", "three bytes"])
def test_a_zstandard_file_that_breaks_off_is_counted_as_others_are(kept, tmp_path, caplog):
    zstandard = pytest.importorskip("zstandard")
    documents = [f"document {i} " + "word " * 20 for i in range(2000)]
    packed = zstandard.ZstdCompressor(write_content_size=False, write_checksum=False).compress(
        "\n\n".join(documents).encode()
    )
    (tmp_path / "a.txt.zst").write_bytes(packed[: int(kept * len(packed)) if kept == 0.5 else kept])
    (tmp_path / "b.txt").write_text("good")
    counts = Counts()
    found = texts_of(open_corpus(tmp_path), counts)
    assert found[-1] == "good"
    assert counts.skipped == {"broken_files": 1}
    assert "a.txt.zst: it cannot be read to its end (compressed file ended before the end of a frame" in caplog.text
    counts = Counts()
    alone = [document.text.rstrip("\n") for document in _until_empty(tmp_path / "a.txt.zst", counts)]
    assert alone == documents[: len(alone)]
    assert len(alone) < 2000
    assert counts.skipped == {"broken_files": 1}


def _until_empty(path, counts):
    """The documents of a corpus that may have none."""
    with contextlib.suppress(ValueError):  # an empty corpus
        yield from open_corpus(path).read(counts=counts)


def test_zstandard_frames_are_read_one_after_the_other_in_bounded_memory(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"aside"
    parts = [b"one\n\n", b"", skippable, b"x" * 160_000_000 + b"\n\n", b"two"]
    packed = b"".join(part if part is skippable else zstandard.compress(part) for part in parts)
    assert len(packed) < 30_000
    (tmp_path / "a.txt.zst").write_bytes(packed)
    tracemalloc.start()
    corpus = open_corpus(tmp_path / "a.txt.zst", max_characters=100_000)
    lengths = [len(document.text) for document in corpus]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (lengths[0], lengths[-1]) == (4, 3)
    assert sum(lengths[1:-1]) == 160_000_001
    assert peak < 100_000_000, "bytes of Python objects"


def _with_line_ends(content):
    parts = content.split("\n\n")
    return [*(f"{part}\n" for part in parts[:-1]), parts[-1]]


def test_a_text_file_has_documents_between_blank_lines(tmp_path):
    path = write(tmp_path / "a.txt", "\n \none\nmore\n\n\n  \ntwo\r\n\r\nthree\x0bx")
    assert texts_of(open_corpus(path)) == ["one\nmore\n", "two\n", "three\x0bx"]


def test_other_columns_delimiters_and_quotes(tmp_path):
    path = write(tmp_path / "a.csv", 'id;body\n1;say "no\n2;so\n')
    assert texts_of(open_corpus(path, text_column="body", delimiter=";", quoting=False)) == ['say "no', "so"]


def test_a_list_of_texts_is_a_corpus():
    corpus = open_corpus(["one", 3, None, "two\0", "three \udc80", "four"])
    counts = Counts()
    assert texts_of(corpus, counts) == ["one", "four"]
    assert counts.skipped == {"rows_without_text": 2, "binary_texts": 2}
    assert counts.read == 2
    assert corpus.fingerprint != open_corpus(["one", "four"]).fingerprint


def test_reading_goes_on_after_any_document_with_the_same_counts(tmp_path):
    write(tmp_path / "a.jsonl", '{"text": "1"}\n{}\nbroken\n{"text": "2"}\n[]\n')
    write(tmp_path / "b.txt", b"\0binary")
    write(tmp_path / "c.txt", "3 " * 2000)
    write(tmp_path / "d.csv", "text,n\n4,1\n5\n6,2\n")
    corpus = open_corpus(tmp_path, max_characters=1000)
    counts, states = Counts(), []
    documents = []
    for document in corpus.read(counts=counts):
        documents.append(document)
        states.append(counts.to_dict())
    assert len(documents) == 2 + 4 + 2
    for number, state in enumerate(states):
        again = Counts()
        again.set(state)
        assert list(corpus.read(documents[number].place, again)) == documents[number + 1 :]
        assert again == counts
    assert counts.skipped == {"rows_without_column": 1, "malformed_rows": 3, "binary_files": 1}
    assert counts.notes == {"cuts_of_long_documents": 3}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.txt", b"a\0b", "binary_files"),
        ("x.txt", "text in UTF-16".encode("utf-16"), "binary_files"),
        ("x.txt", "façade".encode("latin-1"), "binary_files"),
        ("x.csv", b"\x89PNG\r\n\x1a\n\0\0", "binary_files"),
        ("x.csv", b"other\nvalue\n", "files_without_column"),
        ("x.csv", b'text\n"open quote\n', "malformed_rows"),
        ("x.csv", b"text,n\n1\n", "malformed_rows"),
        ("x.jsonl", b"{}", "rows_without_column"),
        ("x.jsonl", b'{"text": 3}', "rows_without_text"),
        ("x.jsonl", b"nothing\n", "malformed_rows"),
        ("x.jsonl", b'{"text": %s}' % (b"1" * 5000), "malformed_rows"),
        ("x.jsonl", b"[" * 100_000, "malformed_rows"),
        ("x.txt.gz", gzip.compress(b"word " * 100_000)[:-40], "broken_files"),
        ("x.txt.gz", b"not compressed at all", "broken_files"),
        ("x.txt.xz", b"not compressed at all", "broken_files"),
        ("x.txt.bz2", b"not compressed at all", "broken_files"),
    ],
)
def test_what_cannot_be_read_is_counted_logged_and_passed_over(name, content, reason, tmp_path, caplog):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "y.txt").write_text("good")
    counts = Counts()
    assert texts_of(open_corpus(tmp_path), counts)[-1] == "good"
    assert counts.skipped == {reason: 1}
    assert name in caplog.text
    (tmp_path / "y.txt").unlink()
    if reason != "broken_files":
        with pytest.raises(ValueError, match=rf"The corpus is empty.*Received: .*1 {reason}"):
            texts_of(open_corpus(tmp_path))


def test_text_that_is_broken_further_on_costs_its_document_only(tmp_path):
    content = [f"document {i} " + "word " * 100 for i in range(1000)]
    blob = bytearray("\n\n".join(content).encode())
    place = blob.index(b"document 700 ")
    blob[place] = 0xFF
    (tmp_path / "a.txt").write_bytes(blob)
    counts = Counts()
    found = texts_of(open_corpus(tmp_path / "a.txt"), counts)
    assert [text.rstrip("\n") for text in found] == content[:700] + content[701:]
    assert counts.skipped == {"binary_texts": 1}


def test_files_that_vanish_or_shorten_are_counted_and_the_rest_goes_on(tmp_path, caplog):
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"document {number} " * 10)
    corpus = open_corpus(tmp_path)
    counts = Counts()
    documents = corpus.read(counts=counts)
    first = next(documents).text
    (tmp_path / "2.txt").unlink()
    (tmp_path / "3.txt").write_text("document 3 ")
    rest = [document.text for document in documents]
    assert [first, *rest] == [
        "document 0 " * 10,
        "document 1 " * 10,
        "document 3 ",
        *(f"document {i} " * 10 for i in (4, 5)),
    ]
    assert counts.skipped == {"vanished_files": 1, "shortened_files": 1}
    assert "11 of the 110 bytes" in caplog.text


def test_a_corpus_that_vanishes_as_a_whole_is_an_error(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("text")
    corpus = open_corpus(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"empty.*30 vanished_files"):
        texts_of(corpus)


def test_of_many_problems_the_first_are_logged_and_all_are_counted(tmp_path, caplog):
    write(tmp_path / "a.jsonl", "broken\n" * 500 + '{"text": "good"}')
    counts = Counts()
    assert texts_of(open_corpus(tmp_path), counts) == ["good"]
    assert counts.skipped == {"malformed_rows": 500}
    assert len(caplog.records) == 11


@pytest.mark.parametrize("make_line", [lambda n: b"word " * (n // 5), lambda n: b"x" * n], ids=["words", "one_word"])
@pytest.mark.parametrize("blank_lines", [False, True], ids=["in_a_folder", "alone"])
def test_one_giant_line_is_cut_in_bounded_memory(make_line, blank_lines, tmp_path):
    size = 40_000_000
    line = make_line(size)
    (tmp_path / "a.txt").write_bytes(line)
    del line
    corpus = open_corpus(tmp_path / "a.txt" if blank_lines else tmp_path, max_characters=100_000)
    counts = Counts()
    tracemalloc.start()
    lengths, letters = [], 0
    for document in corpus.read(counts=counts):
        lengths.append(len(document.text))
        letters += len(document.text.replace(" ", ""))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(lengths) == size
    assert letters == len(make_line(1000).replace(b" ", b"")) * size // 1000
    assert max(lengths) <= 100_000
    assert counts.notes["cuts_of_long_documents"] == len(lengths) - 1 == size // 100_000 - 1
    assert peak < 3_000_000, "bytes of Python objects"


def test_words_stay_whole_where_a_document_is_cut(tmp_path):
    words = [f"word{i}" for i in range(5000)]
    (tmp_path / "a.txt").write_text(" ".join(words))
    found = texts_of(open_corpus(tmp_path, max_characters=1000))
    assert len(found) > 40
    assert [word for text in found for word in text.split()] == words
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": " ".join(words)}))
    documents = list(open_corpus(tmp_path, max_characters=1000))
    assert [document.text for document in documents] == found
    assert [document.origin for document in documents[:2]] == ["a.jsonl:1, part 1", "a.jsonl:1, part 2"]


def test_the_end_of_a_line_that_was_read_in_pieces_is_no_blank_line(tmp_path):
    path = write(tmp_path / "a.txt", "a" * 1000 + "\nmore\n\nnext\n")
    counts = Counts()
    assert texts_of(open_corpus(path, max_characters=1000), counts) == ["a" * 1000, "\nmore\n", "next\n"]
    assert counts.notes == {"cuts_of_long_documents": 1}


def test_a_row_that_is_too_long_to_parse_is_passed_over(tmp_path, monkeypatch):
    from keras_transformer.corpus import table_rows

    monkeypatch.setattr(table_rows, "MAX_ROW", 1000)
    rows = ["a", "b" * 5000, "c"]
    write(tmp_path / "a.jsonl", "".join(json.dumps({"text": row}) + "\n" for row in rows))
    write(tmp_path / "b.csv", "text\n" + "".join(f"{row}\n" for row in rows))
    counts = Counts()
    documents = list(open_corpus(tmp_path).read(counts=counts))
    assert [document.text for document in documents] == ["a", "c", "a", "c"]
    assert documents[1].origin == "a.jsonl:3"
    assert counts.skipped == {"long_rows": 2}


def test_other_readers_of_csv_keep_their_limit(tmp_path):
    write(tmp_path / "a.csv", "text\n" + "x" * 200_000 + "\nb\n")
    before = csv.field_size_limit(131_072)
    try:
        documents = iter(open_corpus(tmp_path))
        assert len(next(documents).text) == 200_000
        assert csv.field_size_limit() == 131_072
    finally:
        csv.field_size_limit(before)


def test_the_fingerprint_changes_with_files_and_options(tmp_path):
    write(tmp_path / "a.txt", "one")
    seen = {open_corpus(tmp_path).fingerprint, open_corpus(tmp_path, max_characters=2000).fingerprint}
    write(tmp_path / "b.txt", "two")
    seen.add(open_corpus(tmp_path).fingerprint)
    write(tmp_path / "b.txt", "three")
    seen.add(open_corpus(tmp_path).fingerprint)
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    seen.add(open_corpus(tmp_path).fingerprint)
    os.utime(tmp_path / "c.txt", ns=(1, 1))  # written anew, with as many bytes
    seen.add(open_corpus(tmp_path).fingerprint)
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere", FileNotFoundError, r"No such corpus.*imdb:unlabelled.*\.jsonl.*Received: .*nowhere"),
        ("notes.md", ValueError, r"end in \.txt.*Received: 'notes\.md'"),
        ("folder", ValueError, r"end in \.txt.*folder.*which has none"),
        ("tfds:no_such_set", ValueError, "TFDS knows no such data set"),
    ],
)
def test_sources_that_are_none_are_refused(source, error, message, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.md").write_text("x")
    path = source if source.startswith("tfds:") else tmp_path / source
    with pytest.raises(error, match=message):
        open_corpus(path, data_dir=tmp_path)


def test_documents_may_not_be_limited_to_nothing():
    with pytest.raises(ValueError, match=r"at least 1000\. Received: 3"):
        open_corpus(["x"], max_characters=3)


def test_an_empty_list_is_an_empty_corpus():
    with pytest.raises(ValueError, match=r"empty.*Received: 0 texts, left out: nothing"):
        list(open_corpus([]))


def test_the_stream_of_a_file_is_closed_when_reading_stops(tmp_path):
    path = write(tmp_path / "a.txt", "one\n\ntwo\n", ".gz")
    documents = open_corpus(path).read()
    next(documents)
    documents.close()
    assert not [f for f in _open_files() if f.endswith("a.txt.gz")]


def _open_files():
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found
