"""The command line: one process trains to the artefacts, killed ones go on, bad input is one line."""

import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import train_main
from keras_transformer.training import Recipe

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "--recipe=scratch",
    "--vocabulary_size=150",
    "--hidden_dim=16",
    "--num_layers=1",
    "--num_heads=2",
    "--intermediate_dim=16",
    "--max_length=24",
    "--set=data.bucket_lengths=12,24",
    "--tokens_per_batch=420",
    "--epochs=3",
    "--learning_rate=0.03",
    "--set=judge.worst_mistakes=1",
    "--set=judge.deletion_texts=2",
    "--set=judge.attribution_steps=4",
    "--set=export.formats=saved_model",
]
# What every process that opens a run writes to.
CHANGING = ("run.json", "run.log", ".lock")
# 160 training texts in 2 buckets give 8 steps an epoch, 24 in all.
STEPS = 24


def write_reviews(path, count=200):
    """A CSV file of short made-up reviews that a bag of words could tell apart."""
    words = random.Random(0)
    kinds = {"pos": ["great", "loved", "superb"], "neg": ["awful", "hated", "dull"]}
    fill = "the film was a story with actors and scenes that ran for two hours in town".split()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(count):
            label = ("pos", "neg")[i % 2]
            text = [words.choice(fill) for _ in range(words.randint(3, 20))]
            text[words.randrange(len(text))] = words.choice(kinds[label])
            writer.writerow([" ".join(text) + f" {i}", label])
    return path


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("data") / "reviews.csv")


def command(*arguments, kill_at=None):
    """Run train_main.py in a process of its own; the result has returncode, stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # the program itself must be quiet
    if kill_at:
        environment["KERAS_TRANSFORMER_KILL_AT"] = kill_at
    return subprocess.run(
        [sys.executable, str(ROOT / "train_main.py"), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


def in_process(*arguments):
    """Run the program's main here, where TensorFlow is loaded already; the exit status."""
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        rest = flags.FLAGS(["train_main.py", *map(str, arguments)])
        return train_main.main(rest)


@pytest.fixture(scope="module")
def finished(reviews, tmp_path_factory):
    """A run that was never killed, and what its process said."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    flags = [f"--data={reviews}", f"--run_dir={folder}", f"--token_cache={folder.parent / 'tokens'}"]
    process = command(*TINY, *flags, "--deterministic", "--log_seconds=0")
    assert process.returncode == 0, process.stderr
    return folder, process


def test_one_command_leaves_what_the_design_says(finished):
    folder, _ = finished
    left = {path.name for path in folder.iterdir() if path.name != ".lock"}
    names = {"recipe.json", "run.json", "checkpoints", "model", "metrics.json", "report.json", "report.html", "logs"}
    assert left == names | {"export"}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"]["model"]["accuracy"] > 0.7
    assert {"accuracy"} <= set(metrics["test"]["baseline"])
    assert metrics["test"]["difference"]["metric"] == "accuracy"
    assert (folder / "export" / "saved_model" / "1" / "saved_model.pb").is_file()
    assert len((folder / "model" / "check.jsonl").read_text().splitlines()) >= 20
    assert len(list((folder / "checkpoints").glob("*.safetensors"))) <= 3
    run = json.loads((folder / "run.json").read_text())
    assert run["done"] == ["train", "evaluate", "save", "explain", "report", "export"]
    assert run["training"]["steps"] == STEPS
    assert run["data"]["sizes"] == {"train": 160, "validation": 20, "test": 20}
    assert run["processes"][0]["deterministic"] is True
    assert "http" not in (folder / "report.html").read_text()


def test_the_tokens_of_each_part_are_kept(finished):
    kept = [np.load(path)["row_splits"] for path in (finished[0].parent / "tokens").iterdir()]
    assert sorted(len(row_splits) - 1 for row_splits in kept) == [20, 20, 160]


def test_the_terminal_shows_progress_and_nothing_of_tensorflow(finished):
    _, process = finished
    assert process.stdout == ""
    lines = process.stderr.splitlines()
    shown = [line for line in lines if line.startswith("epoch ")]
    assert len(shown) == STEPS
    for part in ("epoch 3/3", "8/8", "loss ", "accuracy ", "examples/s", " left"):
        assert part in shown[-1]
    others = [line for line in lines if line not in shown]
    assert all(line.startswith("[") for line in others), others
    assert any("test, baseline: accuracy" in line for line in others)


def test_tensorboard_finds_the_curves(finished):
    import tensorflow as tf

    folder, _ = finished
    values = {}
    for part in ("train", "validation"):
        for path in (folder / "logs" / part).glob("events.out.tfevents.*"):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    assert value.metadata.plugin_data.plugin_name == "scalars"
                    values.setdefault(f"{part}/{value.tag}", {})[event.step] = float(tf.make_ndarray(value.tensor))
    assert len(values["train/loss"]) == STEPS
    assert sorted(values["validation/epoch_accuracy"]) == [8, 16, 24]
    rates = [values["train/learning_rate"][step] for step in sorted(values["train/learning_rate"])]
    assert max(rates) == pytest.approx(0.03, rel=0.2)
    assert rates[-1] < 0.1 * max(rates), "warm-up, then a linear decay to nothing"


def same_result(folder, finished):
    """Whether a run has the weights, figures and curves of the one that was never killed."""
    whole = finished[0]
    runs = [json.loads((path / "run.json").read_text()) for path in (folder, whole)]
    for key in ("weights_sha256", "final_state_sha256", "best_step", "steps"):
        assert runs[0]["training"][key] == runs[1]["training"][key], key
    metrics = [json.loads((path / "metrics.json").read_text()) for path in (folder, whole)]
    assert metrics[0] == metrics[1]
    return True


@pytest.mark.slow
def test_a_run_killed_again_and_again_goes_on_to_the_same_weights(reviews, finished, tmp_path, monkeypatch):
    """At the first step, within a checkpoint, at a step drawn from a seed, and in every phase that follows."""
    monkeypatch.setenv("KERAS_TRANSFORMER_CACHE", str(tmp_path / "cache"))
    drawn = random.Random(0).choice(range(12, STEPS, 3))
    points = ["step:1", "checkpoint:12", f"step:{drawn}", "evaluate", "save", "explain", "export", "export:writing"]
    arguments = [*TINY, f"--data={reviews}", f"--run_dir={tmp_path / 'run'}", "--deterministic", "--checkpoint_steps=3"]
    arguments.append("--token_cache=none")
    said = {}
    for point in points:
        process = command(*arguments, kill_at=point)
        assert process.returncode == -signal.SIGKILL, f"{point}: {process.stderr}"
        said[point] = process.stderr
    assert "going on from the checkpoint of step 9 of 24" in said[f"step:{drawn}"]
    process = command(*arguments)
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "cache").exists()
    assert same_result(tmp_path / "run", finished)
    assert sorted(os.listdir(tmp_path / "run" / "export")) == [
        "MODEL_CARD.md",
        "report.html",
        "report.json",
        "saved_model",
        "serving",
    ]
    assert os.listdir(tmp_path / "run" / "export" / "saved_model") == ["1"]


@pytest.mark.slow
def test_another_number_of_devices_goes_on(reviews, tmp_path):
    """Begun on two logical CPUs, killed, ended on one: the recipe is the same, so the run is."""
    arguments = [*TINY, f"--data={reviews}", f"--run_dir={tmp_path / 'run'}", "--checkpoint_steps=3"]
    process = command(*arguments, "--strategy=mirrored", "--logical_cpus=2", kill_at="step:14")
    assert process.returncode == -signal.SIGKILL, process.stderr
    process = command(*arguments)
    assert process.returncode == 0, process.stderr
    assert "going on from the checkpoint of step 12" in process.stderr
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [entry["replicas"] for entry in run["processes"]] == [2, 1]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["model"]["accuracy"] > 0.7


def test_a_finished_run_has_nothing_left_to_do(finished, capfd, reviews):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.name not in CHANGING}
    assert in_process(*TINY, f"--data={reviews}", f"--run_dir={folder}") == 0
    assert "nothing is left to do" in capfd.readouterr().err
    now = {path: path.stat().st_mtime_ns for path in before}
    assert now == before


def test_predict_takes_arguments_files_and_standard_input(finished, capfd, tmp_path, monkeypatch):
    folder, _ = finished
    (tmp_path / "texts.txt").write_text("a superb film\n\nan awful film\n")
    (tmp_path / "texts.jsonl").write_text('{"text": "loved it"}\n"hated it"\n')
    sources = [f"--input={tmp_path / name}" for name in ("texts.txt", "texts.jsonl")]
    assert in_process("--mode=predict", f"--run_dir={folder}", "a great film", *sources) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["a great film", "a superb film", "an awful film", "loved it", "hated it"]
    for row in rows:
        assert row["label"] in ("pos", "neg")
        assert row["score"] == max(row["probabilities"].values())
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("a superb film\né\xff\n".encode("latin-1"))))
    output = tmp_path / "answers.jsonl"
    assert in_process("--mode=predict", f"--run_dir={folder}", f"--output={output}") == 0
    assert capfd.readouterr().out == ""
    again = [json.loads(line) for line in output.read_text().splitlines()]
    assert again[0]["probabilities"] == pytest.approx(rows[1]["probabilities"], abs=1e-6)
    assert len(again) == 2


def test_evaluate_and_export_work_on_a_finished_run(finished, capfd, tmp_path):
    folder, _ = finished
    assert in_process("--mode=evaluate", f"--run_dir={folder}") == 0
    assert json.loads(capfd.readouterr().out) == json.loads((folder / "metrics.json").read_text())
    other = write_reviews(tmp_path / "other.csv", count=30)
    assert in_process("--mode=evaluate", f"--run_dir={folder}", f"--data={other}") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["part"] == "all"
    assert sum(map(sum, found["model"]["confusion_matrix"])) == 30
    assert found["model"]["accuracy"] > 0.7
    assert in_process("--mode=export", f"--run_dir={folder}", "--set=export.formats=saved_model") == 0
    assert sorted(os.listdir(folder / "export" / "saved_model")) == ["1", "2"]
    settings = ("export.formats=tflite_tokens", "export.precisions=int8", "export.held_out=10")
    assert in_process("--mode=export", f"--run_dir={folder}", *(f"--set={setting}" for setting in settings)) == 0
    entry = json.loads((folder / "export" / "report.json").read_text())["artefacts"][-1]
    assert (entry["path"], entry["held_out"]["texts"]) == ("tflite/tokens_int8.tflite", 10)


def bad_tables():
    """Name of a file, its content, and what the error must say."""
    header = b"text,label\n"
    rows = b"".join(b"film %d,%s\n" % (i, (b"pos", b"neg")[i % 2]) for i in range(40))
    return {
        "empty.csv": (b"", ""),
        "header.csv": (header, ""),
        "columns.csv": (b"review,stars\n" + rows, "text"),
        "one_class.csv": (header + rows.replace(b"neg", b"pos"), "two classes"),
        "no_label.csv": (header + rows + b"a film,\n", "label"),
        "few.csv": (header + rows[:24], ""),
        "lines.jsonl": (b'{"text": "a", "label": "b"}\n{"text": \n', "line"),
        "notes.docx": (b"PK", ".csv"),
    }


@pytest.mark.parametrize("name", sorted(bad_tables()))
def test_bad_data_is_one_line(name, tmp_path, capfd):
    content, message = bad_tables()[name]
    (tmp_path / name).write_bytes(content)
    assert in_process(*TINY, f"--data={tmp_path / name}", f"--run_dir={tmp_path / 'run'}") == 1
    one_line(capfd, message)
    assert not (tmp_path / "run" / "model").exists()


def one_line(capfd, message):
    """The program said one line, an error that holds the message, and no traceback."""
    captured = capfd.readouterr()
    # The log of this package, and TensorFlow's own, which a test process does not silence as the program does.
    errors = [line for line in captured.err.splitlines() if not re.match(r"\[|[EIW]\d{4} ", line)]
    assert len(errors) == 1, captured.err
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=/nowhere/reviews.csv"], "No such file"),
        (["--recipe=imbd"], "Did you mean imdb?"),
        (["--set=train.epoch=2"], "Did you mean train.epochs?"),
        (["--epochs=0"], "train.epochs must be at least 1. Received: 0"),
        (["--epochs=many"], "train.epochs must be of type int. Received: 'many'"),
        (["--learning_rate=-1"], "optimizer.learning_rate must lie in"),
        (["--tokens_per_batch=10"], "tokens_per_batch must be at least data.max_length"),
        (["--class_weights=good=2"], "of the classes neg, pos"),
        (["--class_weights=pos=x"], "A class weight must be a number"),
        (["--init=/nowhere"], "No such folder"),
        (["--init=hf:broken"], "hf:OWNER/NAME"),
        (["--strategy=tpu"], "No TPU"),
        (["--strategy=mirorred"], "strategy must be one of"),
        (["--checkpoint_steps=0"], "checkpoint_steps must be at least 1"),
        (["epochs=3"], "takes flags only. Received: 'epochs=3'"),
    ],
)
def test_bad_flags_are_one_line(arguments, message, reviews, tmp_path, capfd):
    first = [*TINY, f"--data={reviews}", f"--run_dir={tmp_path / 'run'}"]
    assert in_process(*first, *arguments) == 1
    one_line(capfd, message)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=predict", "a film"], "no saved pipeline"),
        (["--mode=evaluate"], "holds no run"),
        (["--mode=export"], "holds no run"),
    ],
)
def test_a_folder_without_a_run_is_one_line(arguments, message, tmp_path, capfd):
    assert in_process(f"--run_dir={tmp_path}", *arguments) == 1
    one_line(capfd, message)
    assert os.listdir(tmp_path) == []


def test_predict_says_what_is_wrong_with_its_input(finished, tmp_path, capfd):
    folder, _ = finished
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{"txt": "bad"}\n')
    (tmp_path / "blank.txt").write_text("\n  \n")
    for name, message in {"nothing.txt": "no such file", "bad.jsonl": "line 2", "blank.txt": "no text"}.items():
        output = tmp_path / "answers.jsonl"
        assert in_process("--mode=predict", f"--run_dir={folder}", f"--input={tmp_path / name}", f"--output={output}")
        one_line(capfd, message)
        assert not output.exists()
    assert len(os.listdir(tmp_path)) == 2, "nothing half written"


def test_another_recipe_in_the_folder_is_one_line(finished, reviews, capfd):
    folder, _ = finished
    assert in_process(*TINY, f"--data={reviews}", f"--run_dir={folder}", "--epochs=9") == 1
    one_line(capfd, "train.epochs is 3 there and 9 here")
    assert Recipe.from_file(folder / "recipe.json").train.epochs == 3


def test_changed_data_is_one_line(tmp_path, capfd):
    path = write_reviews(tmp_path / "reviews.csv", count=40)
    arguments = [*TINY, f"--data={path}", f"--run_dir={tmp_path / 'run'}"]
    assert in_process(*arguments, "--class_weights=nobody=1") == 1
    capfd.readouterr()
    write_reviews(path, count=44)
    assert in_process(*arguments, "--class_weights=nobody=1") == 1
    one_line(capfd, "has changed since this run began")


def test_flags_become_fields():
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["x", "--recipe=demo", "--seed=4", "--max_length=64", "-s", "train.tokens_per_batch=640"])
        recipe = train_main.recipe_from_flags()
    from keras_transformer.training import load_recipe

    expected = load_recipe("demo").override("seed=4", "data.max_length=64", "train.tokens_per_batch=640")
    assert recipe == expected
    assert {key for key, _ in train_main.FIELDS.values()} <= set(Recipe.keys())
