"""The options of the command line for phones, and the held-out texts of a run folder."""

import json

import numpy as np
import pytest

from keras_transformer.export.__main__ import main
from keras_transformer.export.held_out import load_held_out
from tests.export.tiny_pipeline import write_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    words = ["good", "bad", "great", "story", "film", "actor"]
    texts = [f"the {words[i % 6]} was {words[i // 6 % 6]} {'and ' * (i % 5)}it" for i in range(60)]
    return write_run(tmp_path_factory.mktemp("runs") / "tiny", texts)


def test_the_held_out_texts_are_those_of_the_recipe(run_folder, tmp_path):
    from keras_transformer import data

    splits = data.load(run_folder / "reviews.csv", validation_fraction=0.2, test_fraction=0.5, seed=3)
    everything = load_held_out(run_folder, None)
    assert everything.texts == splits.test.texts
    np.testing.assert_array_equal(everything.labels, splits.test.labels)
    few = load_held_out(run_folder, 10)
    assert len(few) == 10
    assert set(few.texts) <= set(everything.texts)
    assert len(load_held_out(run_folder, 10**6)) == len(everything)
    with pytest.raises(FileNotFoundError, match=r"no recipe\.json"):
        load_held_out(tmp_path, None)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match=r"recipe\.json is damaged"):
        load_held_out(tmp_path, None)


def test_one_command_writes_measures_and_reports(run_folder, capsys):
    options = ["--formats=tflite_dynamic", "--precisions=int8,full_int8", "--held_out=all"]
    assert main([f"--run={run_folder}", *options]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{run_folder}/export/tflite/tokens_dynamic_int8.tflite  ")
    assert "right on 30 held-out texts (Keras: 100.00%)" in line
    report = json.loads((run_folder / "export" / "report.json").read_text())
    (entry,) = report["artefacts"]
    assert [refused["precision"] for refused in report["refused"]] == ["full_int8"]
    assert "tflite_tokens only" in report["refused"][0]["reason"]
    assert entry["held_out"]["texts"] == 30
    assert (run_folder / "export" / "report.html").read_text().count(entry["path"]) >= 2


def test_wrong_options_are_one_clear_line(run_folder, capsys):
    for options, message in (
        (["--held_out=some"], "--held_out must be a number of texts, or 'all'. Received: 'some'"),
        (["--precisions=int5"], "precisions must be some of float32, float16, int8, int4_table, int4, full_int8"),
        (["--precisions=full_int8", "--held_out=0"], "it needs held-out texts"),
    ):
        assert main([f"--run={run_folder}", "--formats=tflite_tokens", *options]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        # Warnings come by way of logging; the error is the last line.
        assert message in captured.err.splitlines()[-1]
