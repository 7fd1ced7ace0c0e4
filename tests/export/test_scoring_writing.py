"""Scores are written block by block, counted from the files, and gone on with; here without Beam."""

import functools
import gzip
import json
import os

import numpy as np
import pytest

from keras_transformer.export.scoring import ScoringOptions, counting, manifest, score_files, storage
from keras_transformer.export.scoring.__main__ import main
from keras_transformer.export.scoring.blocks import BAD, SCORES, ScoredBlock, part_name, read_blocks, write_block
from keras_transformer.export.scoring.model import ModelError, Scorer, check_model, rows_of
from keras_transformer.export.scoring.pipeline import load_beam
from keras_transformer.export.scoring.progress import Progress
from keras_transformer.export.scoring.work import list_work, tasks
from tests.export.scoring_models import entries, write_model
from tests.export.tiny_pipeline import TEXTS

LINES = 60
OPTIONS = ScoringOptions(block_bytes=300)


@pytest.fixture
def inputs(tmp_path):
    """A file of lines of which every seventh is bad, and a compressed one."""
    lines = [json.dumps({"id": i, "text": f"text {i}"}) if i % 7 else "{" for i in range(LINES)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    packed = tmp_path / "b.txt.gz"
    packed.write_bytes(gzip.compress(b"one\n\n" * 100))
    return [str(path), str(packed)]


def work_off(left, output, options=OPTIONS, most=None):
    """Scores blocks with the length of the text, at most so many."""
    blocks = (block for task in left for block in read_blocks(task, options.max_line_bytes))
    for number, block in enumerate(blocks):
        if number == most:
            return
        write_block(ScoredBlock(block, [{"score": len(text)} for text in block.texts]), str(output), options)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A function from the kind of a model to its pipeline and the folder of its SavedModel, each made once."""

    @functools.cache
    def write(kind):
        folder = tmp_path_factory.mktemp("models") / "1"
        return write_model(folder, kind), folder

    return write


@pytest.fixture
def output(tmp_path):
    for name in (SCORES, BAD):
        (tmp_path / "out" / name).mkdir(parents=True)
    return tmp_path / "out"


@pytest.mark.parametrize("done_first", [0, 1, 4, 6])
def test_a_run_that_goes_on_scores_the_rest_and_nothing_twice(inputs, output, done_first):
    sources = list_work(inputs, OPTIONS)
    work_off(tasks(sources, set()), output, most=done_first)
    before = counting.count(str(output), sources)
    assert len(before.counts) == done_first
    written = {path: path.stat().st_mtime_ns for path in output.glob("*/*")}
    counts = counting.summary(sources, before)
    assert counts["missing"] > 0
    assert not counting.adds_up(counts)
    work_off(tasks(sources, set(before.counts)), output)
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    counts = counting.summary(sources, counting.count(str(output), sources))
    assert counting.adds_up(counts)
    assert counts == {
        "files": 2,
        "lines": LINES + 200,
        "scored": LINES - 9 + 100,
        "bad": 9 + 100,
        "bad_by_reason": {"empty_text": 100, "invalid_json": 9},
        "missing": 0,
    }
    good = entries(output, SCORES)
    assert [(entry["line"], entry["id"]) for entry in good if "a.jsonl" in entry["source"]] == [
        (i + 1, i) for i in range(LINES) if i % 7
    ]
    assert [entry["score"] for entry in good if "a.jsonl" in entry["source"]] == [
        len(f"text {i}") for i in range(LINES) if i % 7
    ]
    places = [(entry["source"], entry["line"]) for entry in good + entries(output, BAD)]
    assert sorted(places) == [(inputs[0], i + 1) for i in range(LINES)] + [(inputs[1], i + 1) for i in range(200)]


def test_a_bad_line_can_be_found_by_its_bytes(inputs, output):
    work_off(tasks(list_work(inputs, OPTIONS), set()), output)
    bad = next(entry for entry in entries(output, BAD) if entry["line"] == 8)
    assert bad | {"detail": ""} == {
        "source": inputs[0],
        "line": 8,
        "offset": bad["offset"],
        "reason": "invalid_json",
        "detail": "",
        "bytes": 2,
        "beginning": "{",
    }
    with open(inputs[0], "rb") as file:
        file.seek(bad["offset"])
        assert file.read(bad["bytes"]) == b"{\n"


@pytest.mark.parametrize("damage", ["cut", "doubled", "copied", "of_another", "removed", "no_json", "no_bad_lines"])
def test_files_that_do_not_hold_each_line_once_are_noticed_and_scored_again(inputs, output, damage):
    sources = list_work(inputs, OPTIONS)
    work_off(tasks(sources, set()), output)
    path = output / SCORES / part_name(1)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "doubled":
        path.write_bytes(content + content)
    elif damage == "copied":
        first, _, *rest = content.splitlines(keepends=True)
        path.write_bytes(b"".join([first, first, *rest]))
    elif damage == "of_another":
        other = (output / SCORES / part_name(2)).read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*content.splitlines(keepends=True)[1:], other[0]]))
    elif damage == "removed":
        path.unlink()
    elif damage == "no_json":
        path.write_bytes(b"[1]\n" + content)
    else:
        (output / BAD / part_name(1)).unlink()
    found = counting.count(str(output), sources)
    assert set(found.counts) == {block.number for source in sources for block in source.blocks} - {1}
    assert len(found.wrong) == (damage != "removed")
    assert not counting.adds_up(counting.summary(sources, found))
    work_off(tasks(sources, set(found.counts)), output)
    assert path.read_bytes() == content
    assert counting.adds_up(counting.summary(sources, counting.count(str(output), sources)))


def test_ids_and_texts_are_written_as_they_came(tmp_path, output):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\u00e9\\u2028x", "id": "\\ud800"}\n{"text": "b", "id": null}\n{"text": "c"}\n')
    options = ScoringOptions(keep_text=True)
    work_off(tasks(list_work([str(path)], options), set()), output, options)
    first, second, third = entries(output, SCORES)
    assert (first["text"], first["id"]) == ("é\u2028x", "\ud800")
    assert second["id"] is None
    assert "id" not in third


def test_a_folder_goes_on_with_what_it_was_begun_with_only(inputs, tmp_path):
    output = str(tmp_path / "new")
    sources = list_work(inputs, OPTIONS)
    begun = manifest.describe("model", "hash", sources, OPTIONS)
    assert not manifest.hold(output, begun)
    assert manifest.hold(output, begun)
    # Another place of the same model is the same model.
    assert manifest.hold(output, manifest.describe("elsewhere", "hash", sources, OPTIONS))
    with pytest.raises(ValueError, match="the model was model, with other files than model"):
        manifest.hold(output, manifest.describe("model", "other", sources, OPTIONS))
    with pytest.raises(ValueError, match="keep_text was False and is True"):
        manifest.hold(
            output, manifest.describe("model", "hash", sources, ScoringOptions(block_bytes=300, keep_text=True))
        )
    with pytest.raises(ValueError, match=r"input no longer there: .*b\.txt\.gz"):
        manifest.hold(output, manifest.describe("model", "hash", sources[:1], OPTIONS))
    with pytest.raises(ValueError, match="in another order"):
        manifest.hold(output, manifest.describe("model", "hash", sources[::-1], OPTIONS))
    with open(inputs[0], "a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match=r"input changed: .*a\.jsonl\."):
        manifest.hold(output, manifest.describe("model", "hash", list_work(inputs, OPTIONS), OPTIONS))
    (tmp_path / "new" / manifest.FILE).write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        manifest.hold(output, begun)


def test_scores_without_a_manifest_are_not_touched(output, inputs):
    (output / SCORES / part_name(0)).write_text("")
    with pytest.raises(ValueError, match=r"no manifest\.json"):
        manifest.hold(str(output), manifest.describe("model", "hash", [], OPTIONS))


def test_leftovers_of_a_kill_are_removed_and_nothing_else(output):
    for name in ("scores/.part-0000001.jsonl.abc", ".manifest.json.abc"):
        (output / name).write_text("half")
    for name in (".lock", ".notes", "scores/part-0000001.jsonl"):
        (output / name).write_text("whole")
    storage.remove_leftovers(str(output))
    assert {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()} == {
        ".lock", ".notes", "scores/part-0000001.jsonl"
    }  # fmt: skip


def test_the_scorer_gives_what_the_pipeline_gives_in_the_order_of_the_texts(models):
    pipeline, folder = models("single_label")
    texts = [*TEXTS, "x" * 100_000, *(f"film {'good ' * (i % 50)}{i}" for i in range(40))]
    expected = pipeline.predict(texts)
    for batch_size in (1, 7, 256):
        answers = Scorer(str(folder), batch_size)(texts)
        np.testing.assert_allclose(
            [answer["probabilities"] for answer in answers], pipeline.probabilities(texts), atol=1e-5
        )
        assert [answer["label"] for answer in answers] == [row["label"] for row in expected]
        assert all(answer["score"] == max(answer["probabilities"]) for answer in answers)
    assert Scorer(str(folder))([]) == []


@pytest.mark.parametrize("kind", ["multi_label", "regression"])
def test_other_kinds_of_models_are_scored(models, kind):
    pipeline, folder = models(kind)
    for text, answer in zip(TEXTS, Scorer(str(folder))(list(TEXTS)), strict=True):
        if kind == "regression":
            assert list(answer) == ["values"]
            np.testing.assert_allclose(answer["values"], pipeline.logits([text])[0], atol=1e-5)
        else:
            probabilities = pipeline.probabilities([text])[0]
            np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)
            names = pipeline.class_names
            assert answer["labels"] == [name for name, p in zip(names, probabilities, strict=True) if p >= 0.5]


@pytest.fixture(scope="module")
def picky(tmp_path_factory):
    """A SavedModel that fails on texts with a z, and gives NaN for those with an n."""
    import tensorflow as tf

    class Picky(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def serve(self, text):
            bad = tf.reduce_any(tf.strings.regex_full_match(text, ".*z.*"))
            with tf.control_dependencies([tf.debugging.Assert(tf.logical_not(bad), ["a z"])]):
                nan = tf.strings.regex_full_match(text, ".*n.*")
                return {"score": tf.where(nan, float("nan"), tf.cast(tf.strings.length(text), tf.float32))}

    folder = tmp_path_factory.mktemp("picky") / "1"
    module = Picky()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return str(folder)


def test_a_text_on_which_the_model_fails_takes_no_other_with_it(picky):
    answers = Scorer(picky, batch_size=8)(["one", "z", "four", *["five5"] * 20, "zz"])
    assert [answers[0], answers[2]] == ["an output is not a finite number", {"score": 4.0}]
    assert answers[3:-1] == [{"score": 5.0}] * 20
    for answer in (answers[1], answers[-1]):
        assert answer == "assertion failed: [a z]"


def test_a_model_that_fails_on_every_text_stops_the_run(picky, monkeypatch):
    monkeypatch.setattr("keras_transformer.export.scoring.model.PROBE", "z")
    with pytest.raises(ModelError, match="fails on every text"):
        Scorer(picky)(["zz"])


def test_numbers_are_written_as_short_as_they_give_the_same_float32():
    values = np.random.default_rng(0).random((100, 3), np.float32)
    found = [row["probabilities"] for row in rows_of({"probabilities": values})]
    assert (np.asarray(found, np.float32) == values).all()
    assert max(len(json.dumps(value)) for row in found for value in row) < 14


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "There is no SavedModel"),
        (b"no message", ValueError, "is damaged"),
        (b"", ValueError, "is damaged"),
    ],
    ids=["missing", "damaged", "empty"],
)
def test_what_is_no_saved_model_is_refused(tmp_path, content, error, message):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(error, match=message):
        check_model(str(tmp_path))


def test_the_folder_above_a_version_is_named_as_such(models):
    _, folder = models("single_label")
    assert check_model(str(folder)) == ["label", "probabilities", "score"]
    with pytest.raises(FileNotFoundError, match="Give one of its versions: 1"):
        check_model(str(folder.parent))


def test_a_model_without_raw_text_is_refused(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.serve = tf.function(lambda ids: {"score": ids}, input_signature=[tf.TensorSpec([None], name="ids")])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.serve})
    with pytest.raises(ValueError, match=r"one input, 'text': raw text\. Received: .*serving_default\(ids\)"):
        check_model(str(tmp_path))


def test_the_fingerprint_is_that_of_names_and_contents(tmp_path):
    for name in ("one", "two", "other"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "variables" / "a").write_text("x" if name != "other" else "y")
    first, second, other = (storage.fingerprint(str(tmp_path / name)) for name in ("one", "two", "other"))
    assert first == second != other
    assert storage.fingerprint(os.path.relpath(tmp_path / "one") + "/") == first
    (tmp_path / "two" / "variables" / "a").rename(tmp_path / "two" / "variables" / "b")
    assert storage.fingerprint(str(tmp_path / "two")) != first


def test_progress_tells_lines_and_what_is_left(inputs, output):
    sources = list_work(inputs, OPTIONS)
    clock = iter([0.0, 10.0]).__next__
    progress = Progress(str(output), sources, seconds=1000, clock=clock)
    with progress:
        work_off(tasks(sources, set()), output, most=3)
        done = sum(block.records for block in sources[0].blocks[:3])
        left = (LINES + 200 - done) / (done / 10)
        assert progress.line() == f"{done} of 260 lines ({done / 260:.0%}), {done / 10:.1f} lines/s, {left:.0f} s left"


def test_a_lock_keeps_two_runs_apart(tmp_path):
    from keras_transformer.export.scoring.run import _alone

    with _alone(str(tmp_path)), pytest.raises(ValueError, match="Another run is writing"), _alone(str(tmp_path)):
        pass
    with _alone(str(tmp_path)):
        pass


def test_without_beam_one_line_says_what_to_install(tmp_path, capsys):
    with pytest.raises(ImportError, match="constraints-beam"):
        load_beam()
    assert main([f"--model={tmp_path}", "--input=x.txt", f"--output={tmp_path}/out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Scoring needs Apache Beam")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"runner": "none"}, "runner must be one of direct"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"workers": 2, "runner": "flink"}, "workers are those of the direct runner"),
    ],
    ids=["runner", "workers", "batch_size", "workers_elsewhere"],
)
def test_arguments_that_cannot_be_used_are_refused(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        score_files("model", ["x.txt"], str(tmp_path), **wrong)
