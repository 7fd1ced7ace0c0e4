import json

import numpy as np
import pytest

from keras_transformer import data


def write_csv(path, rows, header="text,label"):
    path.write_text(header + "\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def reviews(number=30):
    return [(f"review {i}", "pos" if i % 3 else "neg") for i in range(number)]


def everything(splits):
    return {
        text: splits.class_names[label]
        for part in (splits.train, splits.validation, splits.test)
        for text, label in zip(part.texts, part.labels, strict=True)
    }


def test_csv_tsv_and_jsonl_give_the_same_splits(tmp_path):
    pairs = reviews()
    write_csv(tmp_path / "a.csv", [f"{text},{label}" for text, label in pairs])
    (tmp_path / "a.tsv").write_text("label\ttext\n" + "".join(f"{label}\t{text}\n" for text, label in pairs))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in pairs))
    loaded = [data.load(tmp_path / f"a.{suffix}") for suffix in ("csv", "tsv", "jsonl")]
    assert len({data.fingerprint(splits) for splits in loaded}) == 1
    assert everything(loaded[0]) == dict(pairs)
    assert [len(part) for part in (loaded[0].train, loaded[0].validation, loaded[0].test)] == [24, 3, 3]
    assert "a.csv" in loaded[0].description
    assert "seed 0" in loaded[0].description


def test_named_columns_quoted_commas_and_line_breaks(tmp_path):
    rows = [f'"good, {i}\nor ""so""",{i % 5},x' for i in range(20)]
    path = write_csv(tmp_path / "a.csv", rows, header="review,stars,other")
    splits = data.load(path, text_column="review", label_column="stars")
    assert splits.class_names == ("0", "1", "2", "3", "4")
    assert 'good, 3\nor "so"' in everything(splits)
    # The id names the line on which the row begins.
    places = dict(zip(splits.train.texts, splits.train.ids, strict=True))
    text, name = next(iter(places.items()))
    number = int(text.split("\n")[0].removeprefix("good, "))
    assert name == f"a.csv:{2 + 2 * number}"


def test_several_labels_by_separator_list_and_columns(tmp_path):
    sets = [["a", "b"], ["b"], [], ["a"], ["a", "b"]] * 4
    write_csv(tmp_path / "a.csv", [f"text {i},{'|'.join(names)}" for i, names in enumerate(sets)])
    (tmp_path / "b.jsonl").write_text(
        "\n".join(json.dumps({"text": f"text {i}", "label": names}) for i, names in enumerate(sets))
    )
    rows = [f"text {i},{int('a' in names)},{int('b' in names)}" for i, names in enumerate(sets)]
    write_csv(tmp_path / "c.csv", rows, header="text,a,b")
    first = data.load(tmp_path / "a.csv", label_separator="|")
    second = data.load(tmp_path / "b.jsonl")
    third = data.load(tmp_path / "c.csv", label_column=["a", "b"], kind="multi_label")
    for splits in (first, second, third):
        assert (splits.kind, splits.class_names) == ("multi_label", ("a", "b"))
        for part in (splits.train, splits.validation, splits.test):
            for text, label in zip(part.texts, part.labels, strict=True):
                names = sets[int(text.split()[1])]
                assert label.tolist() == [float("a" in names), float("b" in names)]
    assert data.fingerprint(first) == data.fingerprint(second) == data.fingerprint(third)


def test_regression_on_one_column_and_on_two(tmp_path):
    rows = [f"text {i},{i / 4},{i * 2}" for i in range(20)]
    path = write_csv(tmp_path / "a.csv", rows, header="text,label,other")
    splits = data.load(path)
    assert (splits.kind, splits.train.labels.shape[1]) == ("regression", 1)
    splits = data.load(path, label_column=["label", "other"], kind="regression")
    assert splits.class_names == ("label", "other")
    for text, label in zip(splits.train.texts, splits.train.labels, strict=True):
        number = int(text.split()[1])
        np.testing.assert_array_equal(label, [number / 4, number * 2])


def acl_folder(root, parts=("train", "test"), number=12):
    for part in parts:
        for label, word in (("neg", "bad"), ("pos", "good")):
            folder = root / part / label
            folder.mkdir(parents=True)
            for i in range(number):
                (folder / f"{i}_1.txt").write_text(f"{part} {word} {i}<br />")
    return root


def test_a_folder_in_the_layout_of_aclimdb(tmp_path):
    acl_folder(tmp_path)
    (tmp_path / "train" / "unsup").mkdir()
    (tmp_path / "train" / "unsup" / "0_0.txt").write_text("nothing")
    (tmp_path / "train" / "labeledBow.feat").write_text("nothing")
    splits = data.load(tmp_path, validation_fraction=0.25)
    assert splits.class_names == ("neg", "pos")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 6, 24]
    for part in (splits.train, splits.validation, splits.test):
        for text, label, name in zip(part.texts, part.labels, part.ids, strict=True):
            assert name.split("/")[1] == splits.class_names[label] == ("pos" if "good" in text else "neg")
    assert set(splits.test.texts) == {f"test {word} {i}<br />" for word in ("good", "bad") for i in range(12)}
    assert data.load(tmp_path, clean_markup=True).test.texts[0] == "test bad 0"


def test_folders_of_classes_alone_and_folders_of_tables(tmp_path):
    classes = tmp_path / "classes"
    for label in ("sport", "science", "art"):
        (classes / label).mkdir(parents=True)
        for i in range(10):
            (classes / label / f"{i}.txt").write_text(f"{label} {i}")
    splits = data.load(classes)
    assert splits.class_names == ("art", "science", "sport")
    assert all(text.split()[0] == label for text, label in everything(splits).items())
    tables = tmp_path / "tables"
    tables.mkdir()
    write_csv(tables / "train.csv", [f"train {i},{'ab'[i % 2]}" for i in range(20)])
    write_csv(tables / "dev.csv", [f"dev {i},{'ab'[i % 2]}" for i in range(4)])
    write_csv(tables / "test.csv", [f"test {i},{'ab'[i % 2]}" for i in range(6)])
    splits = data.load(tables)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [20, 4, 6]
    assert all(text.startswith("dev") for text in splits.validation.texts)


def test_empty_texts_and_copies_are_counted(tmp_path):
    rows = [f"review {i},{i % 2}" for i in range(20)]
    path = write_csv(tmp_path / "a.csv", [*rows, ",1", '"  ",0', *rows[:3]])
    splits = data.load(path)
    assert splits.dropped == {"empty": 2, "duplicates": 3}
    assert "left out: 2 empty, 3 duplicates" in splits.description
    assert len(everything(splits)) == 20


def test_bytes_that_are_not_utf8_are_replaced_and_counted(tmp_path):
    path = tmp_path / "a.csv"
    rows = b"".join(b"review %d,%d\n" % (i, i % 2) for i in range(20))
    path.write_bytes(b"text,label\n" + rows + b"caf\xe9,1\n\xff\xfe bad,0\n")
    splits = data.load(path)
    assert splits.notes == {"with_bytes_that_are_not_UTF-8": 2}
    assert "noted: 2 with bytes that are not UTF-8" in splits.description
    assert "caf\ufffd" in everything(splits)
    folder = acl_folder(tmp_path / "folder")
    (folder / "train" / "pos" / "99_9.txt").write_bytes(b"caf\xe9")
    assert data.load(folder).notes == {"with_bytes_that_are_not_UTF-8": 1}
    # A byte order mark is not a text's own.
    path.write_bytes(b"\xef\xbb\xbftext,label\n" + rows)
    assert data.load(path).notes == {}


def test_a_text_of_a_hundred_thousand_words(tmp_path):
    import csv

    limit = csv.field_size_limit()
    long = "word " * 100_000
    path = write_csv(tmp_path / "a.csv", [*(f"review {i},{i % 2}" for i in range(20)), f'"{long}",1'])
    splits = data.load(path)
    assert long in everything(splits)
    assert csv.field_size_limit() == limit


def test_limits_keep_the_shares_of_the_classes(tmp_path):
    path = write_csv(tmp_path / "a.csv", [f"review {i},{int(i % 4 == 0)}" for i in range(400)])
    splits = data.load(path, max_examples=40, max_eval_examples=8)
    assert [np.bincount(part.labels).tolist() for part in (splits.train, splits.validation, splits.test)] == [
        [30, 10],
        [6, 2],
        [6, 2],
    ]
    assert "Limited to 40 training, 8 validation and 8 test texts." in splits.description
    assert set(splits.test.texts) <= set(data.load(path).test.texts)


def test_unquoted_tables_can_be_read(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(f'"open {i}\t{i % 2}\n' for i in range(20)))
    with pytest.raises(ValueError, match="quoting=False"):
        data.load(tmp_path / "a.tsv")
    assert '"open 3' in everything(data.load(tmp_path / "a.tsv", quoting=False))
    (tmp_path / "b.csv").write_text("text;label\n" + "".join(f"it, {i};{i % 2}\n" for i in range(20)))
    assert "it, 3" in everything(data.load(tmp_path / "b.csv", delimiter=";"))


GOOD = "text,label\n" + "".join(f"review {i},{i % 2}\n" for i in range(20))


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "", {}, "a.csv is empty"),
        ("a.jsonl", " \n", {}, "a.jsonl is empty"),
        ("a.csv", "text,label\n", {}, "no rows"),
        ("a.csv", GOOD, {"text_column": "review"}, r"no column 'review'.*columns \['text', 'label'\]"),
        ("a.csv", GOOD, {"label_column": ["label", "x"]}, "no column 'x'"),
        ("a.csv", GOOD + "a,b,1\n", {}, "line 22.*2 columns.*Received: 3 columns"),
        ("a.csv", GOOD + "alone\n", {}, "line 22.*Received: 1 columns"),
        ("a.csv", GOOD + '"open,1\n', {}, "malformed quotes"),
        ("a.csv", GOOD + "more,\n", {}, "missing for a.csv:22"),
        ("a.csv", GOOD + "more,2\n", {"class_names": ["0", "1"]}, "a.csv:22.*'2'"),
        ("a.csv", GOOD + "more,nan\n", {}, "missing for a.csv:22"),
        ("a.csv", GOOD + "more,nan\n", {"kind": "regression"}, "finite numbers.*'nan' for a.csv:22"),
        ("a.csv", GOOD.replace(",0", ",1"), {}, "at least two classes"),
        ("a.csv", GOOD, {"kind": "other"}, "must be one of"),
        ("a.csv", GOOD, {"test_fraction": 1.5}, "below 1"),
        ("a.csv", GOOD, {"max_examples": 0}, "at least 1"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n', {}, r"line 2: no column 'label'.*\['text'\]"),
        ("a.jsonl", '{"text": "a", "label": 1}\nb\n', {}, "line 2.*JSON object"),
        ("a.jsonl", '["a", 1]\n', {}, "must be an object.*list"),
        ("a.jsonl", '{"text": 3, "label": 1}\n', {}, "must be a string. Received: 3"),
        ("a.parquet", "PAR1", {}, "must end in .csv, .tsv, .jsonl"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, name, content, options, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        data.load(path, **options)
    assert "\n" not in str(error.value)
    assert "Received" in str(error.value)


def test_missing_sources_are_named(tmp_path):
    for source in (tmp_path / "none.csv", tmp_path / "none", "imbd"):
        with pytest.raises(FileNotFoundError, match="Received"):
            data.load(source)


def test_folders_of_another_layout_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no training texts"):
        data.load(tmp_path)
    acl_folder(tmp_path / "a", parts=("test",))
    with pytest.raises(ValueError, match="no training texts"):
        data.load(tmp_path / "a")
    folder = acl_folder(tmp_path / "b")
    (folder / "train" / "mixed").mkdir()
    with pytest.raises(ValueError, match=r"train/mixed: a class must have \.txt files"):
        data.load(folder)
    (tmp_path / "c" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="a folder per class"):
        data.load(tmp_path / "c")
    one = tmp_path / "d" / "train" / "pos"
    one.mkdir(parents=True)
    (one / "1.txt").write_text("good")
    with pytest.raises(ValueError, match=r"at least two classes.*'pos'"):
        data.load(tmp_path / "d")
