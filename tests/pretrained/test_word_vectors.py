"""Files of word vectors: every format, by hand; what is broken is counted and left out, and nothing else."""

import gzip
import logging
import math
import pathlib
import re
import struct
import tempfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.pretrained import WordVectors

LINES = ["the 0.5 -1.25 3", "film 1e-3 2 -0", ". . . 7 8 9", "naïve 0.25 0.5 0.75"]
WORDS = ("the", "film", ". . .", "naïve")
MATRIX = np.array([[0.5, -1.25, 3], [1e-3, 2, 0], [7, 8, 9], [0.25, 0.5, 0.75]], np.float32)


def binary(words, matrix, end=b"\n", count=None):
    """The format of the first word2vec, written by hand."""
    content = f"{count or len(words)} {len(matrix[0])}\n".encode()
    for word, row in zip(words, matrix, strict=True):
        content += word.encode() + b" " + struct.pack(f"<{len(row)}f", *row) + end
    return content


CONTENTS = {
    "glove": "\n".join(LINES) + "\n",
    "glove without a last line break": "\n".join(LINES),
    "glove of Windows": "\r\n".join(LINES) + "\r\n",
    "word2vec": "4 3\n" + "\n".join(LINES) + "\n",
    "word2vec with blanks at the ends of lines": "4 3\n" + " \n".join(LINES) + " \n",
    "tabs": "\n".join(re.sub(r" (?=[-\d])", "\t", line) for line in LINES),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", CONTENTS)
def test_text_is_read(name, compressed, tmp_path, caplog):
    content = CONTENTS[name].encode()
    (tmp_path / "vectors").write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    vectors = WordVectors.load(tmp_path / "vectors")
    assert vectors.words == WORDS
    np.testing.assert_array_equal(vectors.matrix, MATRIX)
    assert vectors.matrix.dtype == np.float32
    assert not caplog.records


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("end", [b"", b"\n"], ids=["as gensim", "as Google"])
def test_binary_is_read(end, compressed, tmp_path, caplog):
    words = ("the", "film", "naïve", "a\u00a0b")
    content = binary(words, MATRIX, end)
    (tmp_path / "vectors.bin").write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    vectors = WordVectors.load(tmp_path / "vectors.bin")
    assert vectors.words == words
    np.testing.assert_array_equal(vectors.matrix, MATRIX)
    assert not caplog.records


def test_large_binary_is_read_across_the_borders_of_what_is_read_at_once(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(4000, 150)).astype("float32")  # 2.4 MB
    words = [f"word{i}" for i in range(len(matrix))]
    (tmp_path / "vectors.bin").write_bytes(binary(words, matrix))
    vectors = WordVectors.load(tmp_path / "vectors.bin")
    assert vectors.words == tuple(words)
    np.testing.assert_array_equal(vectors.matrix, matrix)
    some = WordVectors.load(tmp_path / "vectors.bin", wanted={"word7", "word3999", "other"})
    np.testing.assert_array_equal(some.matrix, matrix[[7, 3999]])
    assert WordVectors.load(tmp_path / "vectors.bin", limit=12).words == tuple(words[:12])


def test_wanted_words_are_kept_and_no_others(tmp_path, caplog):
    path = tmp_path / "vectors.txt"
    path.write_text("\n".join([*LINES, "unwanted 1 x 2"]))
    vectors = WordVectors.load(path, wanted=["naïve", ". . .", "absent"])
    assert vectors.words == (". . .", "naïve")
    np.testing.assert_array_equal(vectors.matrix, MATRIX[2:])
    assert not caplog.records, "lines of other words are not looked into"
    assert WordVectors.load(path, limit=2).words == WORDS[:2]


def test_memory_is_that_of_the_wanted_words(tmp_path):
    path = tmp_path / "vectors.txt"
    row = " ".join(["0.12345678"] * 100)
    path.write_text("".join(f"word{i} {row}\n" for i in range(12_000)))
    assert path.stat().st_size > 12e6
    tracemalloc.start()
    try:
        vectors = WordVectors.load(path, wanted={"word1", "word11999"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(vectors) == 2
    assert peak < 5e6


BROKEN = {
    "short 1 2": "of another width",
    "long 1 2 3 4": "of another width",
    "double  1 2": "of another width",
    "letters 1 two 3": "not numbers",
    "1 2 3": "of another width",  # the word is missing
    "infinite 1 inf 3": "not finite",
    "undefined nan 2 3": "not finite",
    "large 1 1e39 3": "not finite",
    "the 9 9 9": "more than once",
}


def test_broken_lines_are_counted_and_left_out(tmp_path, caplog):
    path = tmp_path / "vectors.txt"
    lines = [line.encode() for line in [*LINES, *BROKEN]] + [b"caf\xe9 1 2 3"]
    path.write_bytes(b"\n".join(lines) + b"\n\n")
    vectors = WordVectors.load(path)
    assert vectors.words == WORDS
    np.testing.assert_array_equal(vectors.matrix, MATRIX)
    (record,) = caplog.records
    message = record.getMessage()
    assert record.levelno == logging.WARNING
    assert "10 of 14 lines left out" in message
    for reason, count in (
        ("of another width", 4),
        ("not numbers", 1),
        ("not finite", 3),
        ("more than once", 1),
        ("not UTF-8", 1),
    ):
        assert f"{count} {reason}" in message
    assert "line 5, b'short 1 2': of another width" in message


def test_broken_vectors_of_a_binary_file_are_counted_and_left_out(tmp_path, caplog):
    words, matrix = ("the", "bad", "the", "film"), MATRIX.copy()
    matrix[1, 2] = np.nan
    (tmp_path / "vectors.bin").write_bytes(binary(words, matrix))
    vectors = WordVectors.load(tmp_path / "vectors.bin")
    assert vectors.words == ("the", "film")
    np.testing.assert_array_equal(vectors.matrix, MATRIX[[0, 3]])
    (record,) = caplog.records
    assert "2 of 4 vectors left out (1 not finite, 1 more than once)" in record.getMessage()
    assert "vector 2, b'bad'" in record.getMessage()


def test_a_header_that_does_not_tell_the_truth_is_logged(tmp_path, caplog):
    (tmp_path / "vectors.txt").write_text("9 3\n" + "\n".join(LINES))
    assert len(WordVectors.load(tmp_path / "vectors.txt")) == 4
    assert "the header tells of 9 vectors, there are 4 lines" in caplog.records[0].getMessage()


def test_the_width_is_that_of_most_lines_not_of_the_first(tmp_path):
    (tmp_path / "vectors.txt").write_text("\n".join(["first 1 2", *LINES]))
    assert WordVectors.load(tmp_path / "vectors.txt").words == WORDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "most of the first 100 lines are not so"),
        (b"\n\n", "most of the first 100 lines are not so"),
        (b"only text\nof a novel\nchapter 1\nmore text\n", "most of the first 100 lines are not so"),
        (bytes(range(256)) * 20, "most of the first 100 lines are not so"),
        (b"2 3\n", "no vector that can be used .0 lines read"),
        (b"2 5\na 1 2 3\nb 1 2 3\n", "2 of another width; the first is line 2"),
        (b"a nan 1\nb inf 1\n", "2 not finite; the first is line 1, b'a'"),
        (binary(WORDS[:2], MATRIX[:2])[:-3], "which ends or breaks in number 2"),
        (binary(WORDS[:2], MATRIX[:2])[:18], "which ends or breaks in number 1"),
        (binary(WORDS[:2], MATRIX[:2], count=3), "by its header it has 3 words"),
        (binary(WORDS[:2], MATRIX[:2], count=1), "goes on after 1 words of 3 numbers"),
        (gzip.compress("\n".join(LINES * 50).encode(), mtime=0)[:-20], "A compressed file must be whole"),
        (gzip.compress(binary(WORDS[:2], MATRIX[:2]), mtime=0)[:-9], "A compressed file must be whole"),
        (b"\x1f\x8b broken", "A compressed file must be whole"),
    ],
)
def test_a_file_of_which_nothing_or_a_part_is_left_is_refused(content, message, tmp_path):
    (tmp_path / "vectors").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        WordVectors.load(tmp_path / "vectors")
    assert "Received" in str(error.value)
    assert "\n" not in str(error.value)


def test_absent_files_and_words_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        WordVectors.load(tmp_path / "nowhere")
    (tmp_path / "vectors").write_text("\n".join(LINES))
    with pytest.raises(ValueError, match="no vector of a wanted word"):
        WordVectors.load(tmp_path / "vectors", wanted={"absent"})
    with pytest.raises(ValueError, match="Received: 0"):
        WordVectors.load(tmp_path / "vectors", limit=0)
    with pytest.raises(ValueError, match="'absent'"):
        WordVectors.load(tmp_path / "vectors").vector("absent")


def test_one_giant_line_is_left_out(tmp_path, caplog):
    path = tmp_path / "vectors.txt"
    path.write_text("\n".join([*LINES[:2], "giant" + " 1" * 10_000_000, *LINES[2:]]))
    tracemalloc.start()
    try:
        vectors = WordVectors.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert vectors.words == WORDS
    assert "1 of 5 lines left out" in caplog.records[0].getMessage()
    assert peak < path.stat().st_size / 2


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)
GOOD = st.tuples(WORD, st.lists(NUMBER, min_size=3, max_size=3))


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@st.composite
def broken_lines(draw):
    kind = draw(st.sampled_from(["short", "long", "text", "nan"]))
    word = draw(WORD.filter(lambda word: not is_number(word)))
    numbers = [repr(draw(NUMBER)) for _ in range({"short": 2, "long": 5}.get(kind, 3))]
    if kind in ("text", "nan"):
        wrong = {"text": ["x", "1,5", "--1"], "nan": ["nan", "-inf"]}[kind]
        numbers[draw(st.integers(0, 2))] = draw(st.sampled_from(wrong))
    return " ".join([word, *numbers])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(GOOD, broken_lines()), min_size=1, max_size=12), st.data())
def test_good_lines_are_kept_exactly_whatever_is_between_them(lines, data):
    expected, written = {}, []
    for line in lines:
        if isinstance(line, str):
            written.append(line)
        else:
            word, numbers = line
            expected.setdefault(word, np.array(numbers, np.float32))
            written.append(" ".join([word, *map(repr, numbers)]))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vectors.txt"
        path.write_bytes("\n".join([f"{len(lines)} 3", *written]).encode())
        if not expected:
            with pytest.raises(ValueError, match="can be used"):
                WordVectors.load(path)
            return
        vectors = WordVectors.load(path)
        assert vectors.words == tuple(expected)
        np.testing.assert_array_equal(vectors.matrix, np.stack(list(expected.values())))
        wanted = data.draw(st.sets(st.sampled_from(list(expected)), min_size=1))
        some = WordVectors.load(path, wanted)
        assert some.words == tuple(word for word in expected if word in wanted)
        np.testing.assert_array_equal(some.matrix, np.stack([expected[word] for word in some.words]))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("format", ["glove", "word2vec", "word2vec_binary"])
def test_what_is_written_is_read_back_exactly(format, suffix, tmp_path):
    rng = np.random.default_rng(1)
    matrix = (rng.normal(size=(50, 7)) * 10.0 ** rng.integers(-30, 30, (50, 1))).astype("float32")
    matrix[3] = 0
    vectors = WordVectors(tuple(f"wörd{i}" for i in range(50)), matrix)
    path = tmp_path / f"vectors{suffix}"
    vectors.save(path, format)
    content = path.read_bytes()
    assert (content[:2] == b"\x1f\x8b") == bool(suffix)
    assert ((gzip.decompress(content) if suffix else content)[:5] == b"50 7\n") == (format != "glove")
    loaded = WordVectors.load(path)
    assert loaded.words == vectors.words
    np.testing.assert_array_equal(loaded.matrix, matrix)
    vectors.save(path, format)
    assert path.read_bytes() == content
    assert not suffix or content[4:8] == bytes(4), "no time, so that the same vectors give the same file"


def test_words_with_blanks_go_into_the_text_of_glove_only(tmp_path):
    vectors = WordVectors((". . .", "at name@domain.com"), MATRIX[:2])
    vectors.save(tmp_path / "vectors.txt")
    assert WordVectors.load(tmp_path / "vectors.txt").words == vectors.words
    for format in ("word2vec", "word2vec_binary"):
        with pytest.raises(ValueError, match=r"'\. \. \.'"):
            vectors.save(tmp_path / "other", format)
    for word in ("", "two\nlines", " before", "a  b", "a\tb", "ends in 7"):
        with pytest.raises(ValueError, match=re.escape(repr(word))):
            WordVectors((word,), MATRIX[:1]).save(tmp_path / "other")
    with pytest.raises(ValueError, match="'pickle'"):
        vectors.save(tmp_path / "other", "pickle")
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.txt"], "nothing is left of what was refused"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "vectors.txt"
    WordVectors(WORDS, MATRIX).save(path)
    before = path.read_bytes()

    class Stopping(np.ndarray):
        def __iter__(self):
            yield np.asarray(self)[0]
            raise KeyboardInterrupt

    vectors = WordVectors(WORDS, MATRIX * 2)
    object.__setattr__(vectors, "matrix", vectors.matrix.view(Stopping))
    with pytest.raises(KeyboardInterrupt):
        vectors.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["vectors.txt"]


def test_nearest_words_are_those_of_the_largest_cosine():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(30, 5))
    matrix[4] = 0
    vectors = WordVectors(tuple(f"w{i}" for i in range(30)), matrix)

    def cosine(a, b):
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0

    expected = sorted(((cosine(matrix[7], matrix[i]), f"w{i}") for i in range(30) if i != 7), reverse=True)[:6]
    found = vectors.nearest("w7", 6)
    assert [word for word, _ in found] == [word for _, word in expected]
    np.testing.assert_allclose([value for _, value in found], [value for value, _ in expected], atol=1e-6)


@pytest.mark.parametrize(
    ("words", "matrix", "message"),
    [
        ((), np.zeros((0, 3)), "0 words"),
        (("a",), np.zeros((2, 3)), r"\(2, 3\)"),
        (("a",), np.zeros(3), r"\(3,\)"),
        (("a", "b", "a"), np.zeros((3, 2)), "'a' more often"),
        (("a", "b"), np.array([[1, 2], [np.inf, 0]]), "'b' that is not"),
    ],
)
def test_parts_that_do_not_fit_are_refused(words, matrix, message):
    with pytest.raises(ValueError, match=message):
        WordVectors(words, matrix)
