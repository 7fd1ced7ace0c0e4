"""`python -m keras_transformer.export`."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from keras_transformer.export.__main__ import main
from tests.export.tiny_pipeline import make_pipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run folder as training leaves it: the pipeline is in model/."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    make_pipeline().save(folder / "model")
    return folder


def error_of(capsys, *arguments):
    """The one line that a failing command says."""
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_a_run_is_exported_and_verified(run_folder, capsys):
    assert main([f"--run={run_folder}", "--formats=saved_model", "--version=4"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{run_folder}/export/saved_model/4  ")
    assert "verified on 12 texts, largest difference" in line
    assert main([f"--verify={run_folder}/export"]) == 0
    assert "verified on 12 texts" in capsys.readouterr().out
    report = json.loads((run_folder / "export" / "report.json").read_text())
    assert report["written"] == ["saved_model/4"]
    assert "version" in error_of(capsys, f"--run={run_folder}", "--formats=saved_model", "--version=-1")
    assert "4 exists" in error_of(capsys, f"--run={run_folder}", "--formats=saved_model", "--version=4")


def test_weights_that_do_not_belong_to_the_check_texts_are_noticed(run_folder, tmp_path, capsys):
    import shutil

    import keras

    shutil.copytree(run_folder / "model", tmp_path / "model")
    model = keras.models.load_model(tmp_path / "model" / "model.keras", compile=False)
    model.head.bias.assign([0.0, 0.01])
    model.save(tmp_path / "model" / "model.keras")
    line = error_of(capsys, f"--run={tmp_path}", f"--output={tmp_path / 'out'}", "--formats=saved_model")
    assert "differs from the stored check values" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.keras", None),
        ("model.keras", b"cut short"),
        ("vocab.txt", None),
        ("check.jsonl", None),
        ("check.jsonl", b"{"),
        ("check.jsonl", b""),
        ("check.jsonl", b'{"text": "no logits"}\n'),
        ("pipeline.json", b"{"),
    ],
)
def test_a_damaged_model_folder_is_one_clear_line(run_folder, tmp_path, capsys, file, content):
    import shutil

    shutil.copytree(run_folder / "model", tmp_path / "model")
    path = tmp_path / "model" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    line = error_of(capsys, f"--run={tmp_path}", f"--output={tmp_path / 'out'}", "--formats=saved_model")
    assert line.startswith("error: ")
    assert str(tmp_path / "model") in line
    assert not (tmp_path / "out").exists()


def test_wrong_arguments_are_one_clear_line(run_folder, tmp_path, capsys):
    assert "There is no folder" in error_of(capsys, f"--run={tmp_path / 'nowhere'}")
    assert "no saved pipeline" in error_of(capsys, f"--run={tmp_path}")
    assert "formats must be some of" in error_of(capsys, f"--run={run_folder}", "--formats=coreml")
    assert "No SavedModel and no .tflite" in error_of(capsys, f"--verify={tmp_path}")
    (tmp_path / "file").write_text("")
    arguments = (f"--run={run_folder}", f"--output={tmp_path / 'file'}", "--formats=saved_model")
    assert "is a file" in error_of(capsys, *arguments)


def test_the_module_runs_from_the_checkout():
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "keras_transformer.export", *arguments],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
        )

    shown = call("--help")
    assert shown.returncode == 0
    for flag in ("--run", "--verify", "--formats", "--output", "--version", "--model_name", "--embedding"):
        assert flag in shown.stdout
    for arguments in ((), ("--run=a", "--verify=b"), ("--run=a", "--version=x"), ("--runs=a",)):
        refused = call(*arguments)
        assert refused.returncode == 2
        assert "error: " in refused.stderr


def test_importing_export_loads_nothing_heavy():
    code = "import sys, keras_transformer.export; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
