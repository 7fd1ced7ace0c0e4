"""Files become records, texts and blocks: nothing lost, nothing twice, whatever the bytes."""

import collections
import csv
import dataclasses
import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.export.scoring import ScoringOptions
from keras_transformer.export.scoring.blocks import read_blocks
from keras_transformer.export.scoring.options import Layout
from keras_transformer.export.scoring.parsing import NOTHING, REASONS, parser
from keras_transformer.export.scoring.records import records
from keras_transformer.export.scoring.work import find_inputs, list_work, tasks

JSONL = Layout("jsonl", False, "text", "id")
CSV = Layout("csv", True, "text", "id", ("id", "text"))


def read(path, **options):
    """Every (line, offset, text or reason, id) of a file, by way of its blocks, and the number of these."""
    options = ScoringOptions(**options)
    sources = list_work([str(path)], options)
    found = []
    for task in tasks(sources, set()):
        for block in read_blocks(task, options.max_line_bytes):
            for record, parsed in block.rows:
                found.append((record.line, record.offset, parsed.problem or parsed.text, parsed.identity))
    return found, len(sources[0].blocks)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"text": "good", "id": 7}', ("good", 7)),
        (b'{"text": "good", "id": null}', ("good", None)),
        (b'{"text": "good", "id": [1]}', ("good", NOTHING)),
        (b'{"text": "\\ud83d\\ude00"}', ("😀", NOTHING)),
        (b'{"text": "good", "id": "x", "stars": 1.5}', ("good", "x")),
        (b"\xff\xfe", "invalid_utf8"),
        (b"{", "invalid_json"),
        (b'{"text": NaN}', "invalid_json"),
        (b'{"text": "good", "id": 1e999}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"id": ' + b"1" * 5000 + b"}", "invalid_json"),
        (b'"good"', "not_an_object"),
        (b'{"review": "good"}', "missing_field"),
        (b'{"text": null}', "not_a_string"),
        (b'{"text": 5}', "not_a_string"),
        (b'{"text": "\\ud800"}', "invalid_unicode"),
        (b'{"text": " \\n"}', "empty_text"),
        (b"", "empty_text"),
        (b" \t", "empty_text"),
    ],
    ids=range(19),
)
def test_a_line_of_json_is_a_text_or_a_reason(content, expected):
    parsed = parser(JSONL)(content)
    assert (parsed.problem == expected) if isinstance(expected, str) else (parsed[:2] == expected)
    assert not parsed.problem or parsed.problem in REASONS


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"1,good", ("good", "1")),
        (b'1,"a ""b"",\nc"', ('a "b",\nc', "1")),
        (b'1,5" screen', ('5" screen', "1")),
        (b"1," + b"x" * 200_000, ("x" * 200_000, "1")),
        (b'1,"a"b', "malformed_quotes"),
        (b"1,a\rb", "malformed_quotes"),
        (b"1", "wrong_columns"),
        (b"1,a,b", "wrong_columns"),
        (b"1,", "empty_text"),
        (b"1,\xe9", "invalid_utf8"),
    ],
    ids=range(10),
)
def test_a_row_of_a_table_is_a_text_or_a_reason(content, expected):
    parsed = parser(CSV)(content)
    assert (parsed.problem == expected) if isinstance(expected, str) else (parsed[:2] == expected)


def test_lines_are_cut_at_line_ends_only():
    text = "one\r\ntwo\u2028still two\n\nfour\x0cstill four\rstill four"
    found = list(records(io.BytesIO(text.encode()), Layout("txt", False, "text", "id"), 1000))
    assert [record.content.decode() for record in found] == [
        "one", "two\u2028still two", "", "four\x0cstill four\rstill four"
    ]  # fmt: skip
    assert [record.line for record in found] == [1, 2, 3, 4]
    assert [text.encode()[record.offset :][:3] for record in found] == [b"one", b"two", b"\nfo", b"fou"]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""], ids=["lf", "crlf", "none"])
@pytest.mark.parametrize(("length", "problem"), [(100, ""), (101, "line_too_long"), (200_000, "line_too_long")])
def test_the_limit_of_a_line_is_exact_and_the_next_line_is_read(ending, length, problem):
    content = b"x" * length + ending + b"next" * bool(ending)
    first, *rest = records(io.BytesIO(content), Layout("txt", False, "text", "id"), 100)
    assert first.problem == problem
    assert first.size == length + len(ending)
    assert len(first.content) <= 256
    assert [record.content for record in rest] == ([b"next"] if ending else [])


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (b'1,"a\nb\n\nc"\n2,d', [(1, ""), (5, "")]),
        (b'1,"a""\n""b"\n2,d\n', [(1, ""), (3, "")]),
        (b'1,"never closed\n2,b\n3,c\n', [(1, "malformed_quotes"), (2, ""), (3, "")]),
        (
            b'1,"never closed\n' + b"2,b\n" * 60 + b'3,"c"\n',
            [(1, "malformed_quotes")] + [(i, "") for i in range(2, 63)],
        ),
        (b'1,a "quote" inside\n2,b', [(1, ""), (2, "")]),
        (b'"1","a"\n"2","b\n"\n', [(1, ""), (2, "")]),
        (b'1,"a\n' + b"x" * 300 + b'\n2,"b"\n', [(1, "malformed_quotes"), (2, "line_too_long"), (3, "")]),
    ],
    ids=range(7),
)
def test_quoted_line_ends_belong_to_the_record_and_a_stray_quote_costs_one_line(table, expected):
    found = list(records(io.BytesIO(table), CSV, 150))
    assert [(record.line, record.problem) for record in found] == expected
    assert sum(record.size for record in found) == len(table)


CELL = st.text(st.sampled_from('ab",\n\r é'), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELL, CELL), max_size=20), st.integers(1, 200), st.sampled_from(["\n", "\r\n"]))
def test_tables_are_read_as_python_reads_them(tmp_path_factory, rows, block_bytes, ending):
    path = tmp_path_factory.mktemp("tables") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([("id", "text"), *rows])
    found, _ = read(path, block_bytes=block_bytes)
    assert [(entry[3], entry[2]) for entry in found if entry[2] != "empty_text"] == [
        row for row in rows if row[1].strip()
    ]
    assert len(found) == len(rows)


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv", "a.tsv"])
@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"a", b'"', b",", b"\t", b"\n", b"\r\n", b'{"text": "b"}\n', b"\xff", b'1,"x\n'] * 2 + [b"y" * 70]
        ),
        max_size=60,
    ),
    st.integers(1, 300),
)
def test_blocks_of_any_size_hold_the_same_records(tmp_path_factory, name, parts, block_bytes):
    """Any bytes: in one piece, in blocks, and compressed, each byte belongs to one record."""
    path = tmp_path_factory.mktemp("bytes") / name
    header = {"a.csv": b"id,text\n", "a.tsv": b"id\ttext\n"}.get(name, b"")
    path.write_bytes(header + b"".join(parts))
    packed = path.with_name(name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    whole, _ = read(path, max_line_bytes=60)
    assert read(path, max_line_bytes=60, block_bytes=block_bytes)[0] == whole
    assert read(packed, max_line_bytes=60, block_bytes=block_bytes)[0] == whole
    assert len({offset for _, offset, _, _ in whole}) == len(whole)
    if name in ("a.jsonl", "a.txt"):
        lines = path.read_bytes().split(b"\n")
        assert len(whole) == len(lines) - (lines[-1] == b"")


def test_a_byte_order_mark_belongs_to_no_text(tmp_path):
    for name, content in (
        ("a.txt", "one\ntwo"),
        ("a.jsonl", '{"text": "one"}\n{"text": "two"}'),
        ("a.csv", "text\none\ntwo"),
    ):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
        assert [entry[2] for entry in read(tmp_path / name)[0]] == ["one", "two"]


def test_tables_without_quotes_take_them_as_they_are(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tid\n"a\t1\nb "c"\t2\n')
    assert [entry[2:] for entry in read(tmp_path / "a.tsv", quotes="none")[0]] == [('"a', "1"), ('b "c"', "2")]


def test_a_file_is_cut_into_many_blocks_of_the_stated_size(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(1000)))
    found, blocks = read(path, block_bytes=2000)
    assert [entry[2] for entry in found] == [f"text {i}" for i in range(1000)]
    assert blocks == pytest.approx(path.stat().st_size / 2000, abs=1)
    assert [entry[0] for entry in found] == list(range(1, 1001))


def test_a_compressed_file_is_one_task_and_others_are_one_for_each_block(tmp_path):
    content = b"text\n" * 100
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(content))
    sources = list_work([str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")], ScoringOptions(block_bytes=100))
    assert [block.end for block in sources[0].blocks] == [100, 200, 300, 400, 500]
    assert collections.Counter(task.source.path[-2:] for task in tasks(sources, set())) == {"xt": 5, "gz": 1}
    (left,) = tasks(sources, {0, 1, 2, 3, 4, 5, 7})
    assert [block.number for block in left.blocks] == [6, 8, 9]
    assert [block.block for block in read_blocks(left, 1000)] == list(left.blocks)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,review\n1,x\n", "no column 'text'.*--text_field"),
        ("a.csv", b"text,text\n1,x\n", "must be there once"),
        ("a.csv", b"\xff\n", "first row must name the columns"),
        ("a.csv", b'"text\n', "first row must name the columns"),
        ("a.jsonl.gz", b"plain", "no gzip file"),
        ("a.jsonl.gz", gzip.compress(b"text\n" * 1000)[:-20], "damaged"),
        ("a.parquet", b"", "must end with .jsonl"),
    ],
    ids=range(7),
)
def test_a_file_that_is_wrong_as_a_whole_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        list_work([str(tmp_path / name)], ScoringOptions())
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt.gz"])
def test_an_empty_file_has_no_lines(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    assert read(tmp_path / name) == ([], 0)


def test_inputs_are_found_once_and_a_pattern_without_any_is_an_error(tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text("x")
    assert find_inputs([f"{tmp_path}/*.txt", f"{tmp_path}/a.txt"]) == [f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"]
    with pytest.raises(FileNotFoundError, match=r"--input=.*\*.csv"):
        find_inputs([f"{tmp_path}/a.txt", f"{tmp_path}/*.csv"])


def test_a_file_that_changed_is_noticed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\nthree\n")
    (task,) = tasks(list_work([str(path)], ScoringOptions()), set())
    path.write_text("one\ntwothree\n")
    with pytest.raises(ValueError, match=r"changed while it was scored.*Received: 2 in"):
        list(read_blocks(task, 1000))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "xml"}, "format must be one of"),
        ({"quotes": "single"}, "quotes must be one of"),
        ({"block_bytes": 0}, "block_bytes must be at least 1"),
        ({"max_line_bytes": -1}, "max_line_bytes must be at least 1"),
        ({"text_field": ""}, "text_field must name"),
    ],
    ids=["format", "quotes", "block_bytes", "max_line_bytes", "text_field"],
)
def test_options_that_cannot_be_used_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ScoringOptions(), **wrong)
