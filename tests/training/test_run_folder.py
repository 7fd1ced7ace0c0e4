"""The run folder: one recipe, one process, one record."""

import json
import multiprocessing
import os

import pytest

from keras_transformer.training import Recipe, RunFolder
from keras_transformer.training.run_folder import environment, format_seconds


def test_the_same_recipe_goes_on(tmp_path):
    recipe = Recipe().override("train.epochs=1")
    for _ in range(2):
        with RunFolder(tmp_path / "run").open(recipe) as folder:
            folder.record(strategy="one_device")
            with folder.phase("train"):
                pass
    assert folder.recipe() == recipe
    assert folder.run()["strategy"] == "one_device"
    assert set(folder.run()["seconds"]) == {"train"}
    json.loads((tmp_path / "run" / "recipe.json").read_text())


def test_another_recipe_is_refused_with_the_fields_that_differ(tmp_path):
    first = Recipe().override("train.epochs=3", "seed=0")
    with RunFolder(tmp_path).open(first):
        pass
    (tmp_path / "model").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    other = Recipe().override("train.epochs=5", "seed=3")
    with pytest.raises(ValueError, match="another recipe") as error, RunFolder(tmp_path).open(other):
        pass
    message = str(error.value)
    assert "train.epochs is 3 there and 5 here" in message
    assert "seed is 0 there and 3 here" in message
    assert "--run_dir" in message
    assert "--overwrite" in message
    assert RunFolder(tmp_path).recipe() == first
    with RunFolder(tmp_path).open(other, overwrite=True):
        pass
    assert RunFolder(tmp_path).recipe() == other
    assert sorted(name for name in os.listdir(tmp_path) if name != ".lock") == ["notes.txt", "recipe.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds no run.*thesis.tex"), RunFolder(tmp_path).open(Recipe(), overwrite):
        pass
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(NotADirectoryError), RunFolder(tmp_path / "run").open(Recipe()):
        pass
    with pytest.raises(FileNotFoundError, match="holds no run"):
        RunFolder(tmp_path).recipe()


def test_a_damaged_recipe_is_named(tmp_path):
    (tmp_path / "recipe.json").write_text('{"train": ')
    with pytest.raises(ValueError, match=r"recipe.json is not a JSON file"), RunFolder(tmp_path).open(Recipe()):
        pass


def _hold(path, opened, let_go):
    with RunFolder(path).open(Recipe()):
        opened.set()
        let_go.wait(60)


def test_a_second_process_is_refused(tmp_path):
    context = multiprocessing.get_context("fork")
    opened, let_go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, opened, let_go))
    process.start()
    try:
        assert opened.wait(60)
        with pytest.raises(RuntimeError, match="Another process is at work"), RunFolder(tmp_path).open(Recipe()):
            pass
    finally:
        let_go.set()
        process.join()
    with RunFolder(tmp_path).open(Recipe()):
        pass


def test_the_record_names_versions_and_machine():
    record = environment()
    assert record["versions"]["tensorflow"].startswith("2.")
    assert record["machine"]["cores"] >= 1
    json.dumps(record)


def test_durations_read_well():
    assert [format_seconds(s) for s in (0.04, 59.94, 60, 125, 3602)] == ["0.0 s", "59.9 s", "1:00", "2:05", "1:00:02"]
