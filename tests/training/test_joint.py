"""Many tasks by one command: what each learns, what is left of it, one task as if it were alone, kills, and slips."""

import csv
import json
import re

import numpy as np
import pytest

import keras_transformer
from keras_transformer import pretrained
from keras_transformer.data import Examples, Splits
from keras_transformer.training import CheckpointStore, Recipe, preparation, run
from keras_transformer.training.cluster import Cluster
from keras_transformer.training.joint import JointWork, without_held_out
from keras_transformer.training.run_folder import RunFolder
from keras_transformer.training.strategies import create
from tests.training.fits import Killed, die_at
from tests.training.test_runner import tiny
from tests.training.test_train_main import TINY, command, in_process, one_line

FILL = "the film was a story with actors and scenes that ran for two hours in town".split()
PLAIN = ["train.label_smoothing=0", "export.formats="]


def write(path, column, label, count, seed, texts=()):
    """A CSV file of texts in which "great" and "funny" occur or not; the label follows from that."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", column])
        for i in range(count):
            great, funny = i % 2 == 1, i % 4 > 1
            words = list(random.choice(FILL, random.integers(4, 18)))
            words[0] = "great" if great else words[0]
            words[1] = "funny" if funny else words[1]
            text = texts[i] if i < len(texts) else " ".join(words) + f" {seed} {i}"
            writer.writerow([text, label(great, funny)])
    return path


def stars_of(great, funny):
    return 1.5 * great - 0.5 * funny


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tone = write(folder / "tone.csv", "label", lambda great, _: "good" if great else "bad", 160, seed=1)
    return tone, write(folder / "stars.csv", "stars", stars_of, 80, seed=2)


def tasks_of(tables):
    return [f"tone={tables[0]}", f"stars={tables[1]}:label=stars:kind=regression"]


def joint(tables, *overrides):
    return tiny("unused", *PLAIN, f"data.tasks={','.join(tasks_of(tables))}", *overrides)


def read(path):
    return json.loads(path.read_text())


def value_of(answer):
    (value,) = answer["values"].values()
    return value


@pytest.fixture(scope="module")
def finished(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "both"
    flags = [f"--task={task}" for task in tasks_of(tables)] + [f"--set={field}" for field in PLAIN]
    arguments = [*TINY, *flags, "--task_temperature=2", "--epochs=20", "--patience=none", f"--run_dir={folder}"]
    assert in_process(*arguments) == 0
    return folder


def test_both_tasks_are_learned_and_judged(finished):
    metrics = read(finished / "metrics.json")["tasks"]
    assert set(metrics) == {"tone", "stars"}
    assert metrics["tone"]["test"]["model"]["accuracy"] > 0.8
    constant = np.var([stars_of(great, funny) for great in (0, 1) for funny in (0, 1)])
    assert metrics["stars"]["test"]["model"]["mse"] < 0.7 * constant
    assert metrics["stars"]["test"]["difference"]["metric"] == "mse"
    record = read(finished / "run.json")
    assert record["done"] == ["train", "evaluate", "save", "explain", "report"]
    assert record["data"]["tasks"]["stars"]["sizes"] == {"train": 64, "validation": 8, "test": 8}
    assert record["data"]["sizes"] == {"train": 64 + 128, "validation": 8 + 16, "test": 8 + 16}
    epochs = CheckpointStore(finished / "checkpoints").load_latest().state["epochs"]
    np.testing.assert_allclose(
        epochs["val_loss"], np.add(epochs["val_tone_loss"], epochs["val_stars_loss"]) / 2, rtol=1e-6
    )


def test_what_is_saved_has_one_encoder_and_says_what_was_measured(finished, tables):
    pipelines = {name: keras_transformer.load(finished / "model" / name) for name in ("tone", "stars")}
    encoders = [pipeline.model.encoder.get_weights() for pipeline in pipelines.values()]
    for first, second in zip(*encoders, strict=True):
        np.testing.assert_array_equal(first, second)
    recipe = Recipe.from_file(finished / "recipe.json")
    metrics = read(finished / "metrics.json")["tasks"]
    test = preparation.load_splits(recipe.of_tasks()["tone"]).test
    answers = [answer["label"] for answer in pipelines["tone"].predict(test.texts)]
    right = [answer == test.class_names[label] for answer, label in zip(answers, test.labels, strict=True)]
    assert metrics["tone"]["test"]["model"]["accuracy"] == pytest.approx(np.mean(right))
    assert pipelines["tone"].temperature == metrics["tone"]["temperature"]
    test = preparation.load_splits(recipe.of_tasks()["stars"]).test
    values = [*map(value_of, pipelines["stars"].predict(test.texts))]
    assert metrics["stars"]["test"]["model"]["mse"] == pytest.approx(
        np.mean((np.array(values) - test.labels[:, 0]) ** 2), rel=1e-3
    )


def test_the_report_shows_each_task_and_the_words_behind_its_mistakes(finished):
    metrics, shown = (read(finished / name)["tasks"] for name in ("metrics.json", "report.json"))
    for found in shown.values():
        assert all(mistake["words"] for mistake in found["mistakes"])
        assert set(found["faithfulness"]) == {"completeness", "deletion"}
    assert "mistakes" in shown["tone"]
    assert shown["stars"]["scatter"]["actual"]
    text = (finished / "report.html").read_text(encoding="utf-8")
    tone, stars = (text.index(f"<h1>Task: {name}</h1>") for name in ("tone", "stars"))
    assert text.index("<h2>Training</h2>") < tone < stars
    assert f"{100 * metrics['tone']['test']['model']['accuracy']:.2f} %" in text[tone:stars]
    assert f"{metrics['stars']['test']['model']['mse']:.4f}" in text[stars:]
    assert "scratch on tone, stars" in text


def test_predict_evaluate_and_export_take_a_task(finished, tables, capfd):
    assert in_process("--mode=predict", f"--run_dir={finished}", "--task=tone", "a great film", "a film") == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    great, plain = (row["probabilities"]["good"] for row in rows)
    assert great > plain
    assert in_process("--mode=predict", f"--run_dir={finished}", "--task=stars", "a great film") == 0
    assert np.isfinite(value_of(json.loads(capfd.readouterr().out)))
    arguments = ["--mode=evaluate", f"--run_dir={finished}", "--task=tone", f"--data={tables[0]}"]
    assert in_process(*arguments) == 0
    found = json.loads(capfd.readouterr().out)
    assert sum(map(sum, found["model"]["confusion_matrix"])) == 160
    settings = ("export.formats=tflite_tokens", "export.precisions=float32", "export.held_out=5")
    arguments = ["--mode=export", f"--run_dir={finished}", "--task=tone", *(f"--set={field}" for field in settings)]
    assert in_process(*arguments) == 0
    (entry,) = read(finished / "export" / "tone" / "report.json")["artefacts"]
    assert entry["held_out"]["texts"] == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "The run has the tasks stars, tone: name one with --task. Received: none"),
        (["--task=taste"], "The run has the tasks stars, tone: name one with --task. Received: taste"),
        (["--task=tone", "--task=stars"], "--mode=predict takes one --task. Received: tone, stars"),
    ],
)
def test_a_task_that_is_not_clear_is_one_line(flags, message, finished, capfd):
    assert in_process("--mode=predict", f"--run_dir={finished}", "a film", *flags) == 1
    one_line(capfd, message)


def test_a_run_of_one_task_has_no_other(tables, tmp_path, capfd):
    assert in_process("--mode=predict", f"--run_dir={tmp_path}", "--task=tone", "a film") == 1
    one_line(capfd, "leave --task out. Received: tone")


@pytest.mark.parametrize("packing", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_one_task_alone_is_trained_as_without_tasks(packing, tables, tmp_path):
    """The same batches, weights, losses and figures by the way of many tasks and by that of one."""
    common = [*PLAIN, f"data.packing={packing}", "train.accumulation_steps=2", "judge.deletion_texts=0"]
    plain = run(tiny(tables[0], *common), tmp_path / "plain")
    mixed = run(tiny("unused", *common, f"data.tasks=tone={tables[0]}"), tmp_path / "mixed")
    losses = [CheckpointStore(tmp_path / name / "checkpoints").load_latest().state for name in ("plain", "mixed")]
    np.testing.assert_allclose(losses[1]["steps"]["loss"], losses[0]["steps"]["loss"], rtol=1e-4)
    np.testing.assert_allclose(losses[1]["epochs"]["val_loss"], losses[0]["epochs"]["val_loss"], rtol=1e-4)
    found = mixed["tasks"]["tone"]["test"]["model"]
    assert found["accuracy"] == plain["test"]["model"]["accuracy"]
    assert found["log_loss"] == pytest.approx(plain["test"]["model"]["log_loss"], rel=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_every_row_weighs_the_same_and_tasks_have_their_shares(temperature, tables, tmp_path):
    recipe = joint(tables, f"train.task_temperature={temperature}", "train.accumulation_steps=2")
    with RunFolder(tmp_path / "run").open(recipe) as folder:
        fit = JointWork(recipe, folder, Cluster(create("one_device")), None, False, 100, 30.0).fit
    batches = fit.batches
    rows = dict.fromkeys(("tone", "stars"), 0)
    for epoch in range(6):
        for step in range(batches.steps_per_epoch):
            rows[batches.mixture.batch(epoch, step)[0]] += batches.size(epoch, step)
    weights = {name: count ** (1 / temperature) for name, count in (("tone", 128), ("stars", 64))}
    share = weights["stars"] / sum(weights.values())
    assert rows["stars"] / sum(rows.values()) == pytest.approx(share, abs=0.03)
    divisors = fit.model.examples_per_step
    assert divisors["tone"] == divisors["stars"]
    updates = 6 * -(-batches.steps_per_epoch // 2)
    assert divisors["tone"] == pytest.approx(sum(rows.values()) / updates, rel=0.05)


def test_a_run_that_was_killed_twice_ends_as_one_that_was_not(tables, tmp_path, monkeypatch):
    recipe = joint(tables, "train.task_temperature=3", "train.ema_decay=0.8", "train.lora_rank=4")
    whole = run(recipe, tmp_path / "whole", checkpoint_steps=3)
    for at in (1, 8):
        die_at(monkeypatch, at)
        with pytest.raises(Killed):
            run(recipe, tmp_path / "killed", checkpoint_steps=3)
        monkeypatch.undo()
    assert run(recipe, tmp_path / "killed", checkpoint_steps=3) == whole
    records = [read(tmp_path / name / "run.json")["training"] for name in ("whole", "killed")]
    for key in ("weights_sha256", "final_state_sha256", "best_step", "steps"):
        assert records[0][key] == records[1][key], key
    paths = [weight.path for weight in keras_transformer.load(tmp_path / "killed" / "model" / "tone").model.weights]
    assert not any("lora" in path for path in paths)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [("--strategy=mirrored", "--logical_cpus=2"), ("--strategy=multi_worker", "--local_workers=2")],
    ids=["replicas", "workers"],
)
def test_two_devices_train_and_judge_as_one(flags, tables, tmp_path):
    recipe = tmp_path / "recipe.json"
    fields = ("model.dropout=0", "model.head_dropout=0", "train.task_temperature=2", "model.word_vectors=skip_gram")
    recipe.write_text(joint(tables, *fields).to_json())
    found = []
    for name, more in (("one", ()), ("two", flags)):
        done = command(f"--recipe={recipe}", f"--run_dir={tmp_path / name}", *more)
        assert done.returncode == 0, done.stderr
        state = CheckpointStore(tmp_path / name / "checkpoints").load_latest().state
        metrics = read(tmp_path / name / "metrics.json")["tasks"]
        tests = [metrics["tone"]["test"]["model"]["log_loss"], metrics["stars"]["test"]["model"]["mse"]]
        found.append([*state["steps"]["loss"], *state["epochs"]["val_loss"], *tests])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4)


def test_texts_by_which_another_task_is_judged_are_not_trained_on(tmp_path):
    """Two columns of one table: each task has a test part of its own, of the same texts."""
    texts = [f"film {i} was {'great' if i % 2 else 'dull'}" for i in range(80)]
    first = write(tmp_path / "tone.csv", "label", lambda great, _: "good" if great else "bad", 80, 1, texts)
    second = write(tmp_path / "fun.csv", "label", lambda _, funny: "yes" if funny else "no", 80, 2, texts)
    recipe = tiny("unused", *PLAIN, f"data.tasks=tone={first},fun={second}")
    before = {name: preparation.load_splits(of_task) for name, of_task in recipe.of_tasks().items()}
    found = without_held_out(before)
    for name, other in (("tone", "fun"), ("fun", "tone")):
        judged = {text for part in (found[other].validation, found[other].test) for text in part.texts}
        assert set(before[name].train.texts) & judged, "there is something to leave out"
        assert set(found[name].train.texts) == set(before[name].train.texts) - judged
        left_out = len(before[name].train) - len(found[name].train)
        assert found[name].dropped["held_out_by_another_task"] == left_out
        assert f"{left_out} training texts left out" in found[name].description
        assert found[name].test.texts == before[name].test.texts


def test_a_task_of_which_nothing_is_left_is_named():
    def examples(texts, labels):
        return Examples(texts, np.array(labels), texts, ("no", "yes"))

    def splits(train, test):
        return Splits(examples(train, [0, 1]), examples([], []), examples(test, [0, 1]), "a table.", {})

    both = {"one": splits(["a", "b"], ["c", "d"]), "two": splits(["e", "f"], ["A!", "b"])}
    with pytest.raises(ValueError, match="The task one without the 2 texts by which other tasks are judged"):
        without_held_out(both)


def test_word_vectors_are_learned_from_the_texts_of_all_tasks(tables, tmp_path):
    recipe = joint(tables, "model.word_vectors=skip_gram", "train.epochs=1")
    with RunFolder(tmp_path / "run").open(recipe) as folder:
        work = JointWork(recipe, folder, Cluster(create("one_device")), None, False, 100, 30.0)
        texts = [text for of_task in work.splits.values() for text in of_task.train.texts]
        model = work.model
    vectors = pretrained.train_word_vectors(texts, dim=16, workers=1)
    table = pretrained.token_table(vectors, work.packer.tokenizer, 16)
    found = model.encoder.embeddings.tokens.table.numpy()
    np.testing.assert_allclose(found[table.rows], table.matrix[table.rows], atol=1e-6)
    assert read(tmp_path / "run" / "run.json")["word_vectors"]["share"] == table.coverage["share"] > 0.1


@pytest.mark.parametrize(
    ("tasks", "more", "message"),
    [
        ("tone", (), "A task is NAME=SOURCE, or NAME=SOURCE:kind=KIND"),
        ("tone=", (), "Received: 'tone='"),
        ("tone=a.csv:label=", (), "Received: 'tone=a.csv:label='"),
        ("tone=a.csv:label=x:label=y", (), "A task has one label"),
        ("a tone=a.csv", (), "letters, digits and underscores only"),
        ("batch=a.csv", (), "must not be batch. Received: 'batch'"),
        ("tone=a.csv,tone=b.csv", (), "Each task needs a name of its own. Received: 'tone' twice"),
        ("tone=a.csv:kind=ranking", (), "model.kind must be one of single_label"),
        ("tone=a.csv", ("pretrain.objective=masked",), "name what another one left as model.init"),
        ("tone=a.csv", ("train.length_curriculum=64:0.5",), "Received: train.length_curriculum=64:0.5"),
        ("tone=a.csv", ("train.class_weights=good=2",), "Received: train.class_weights=good=2"),
        ("tone=a.csv,stars=b.csv:kind=regression", ("train.monitor=accuracy",), "A regression has neither"),
        ("tone=a.csv", ("train.task_temperature=0",), "train.task_temperature must lie in"),
    ],
)
def test_a_slip_is_named(tasks, more, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        Recipe().override(f"data.tasks={tasks}", *more)
    assert "\n" not in str(error.value)


def test_a_source_that_is_not_there_is_one_line(tables, tmp_path, capfd):
    flags = [f"--task=tone={tables[0]}", "--task=other=/nowhere/other.csv", f"--run_dir={tmp_path / 'run'}"]
    assert in_process(*TINY, *flags) == 1
    one_line(capfd, "/nowhere/other.csv")
    assert not (tmp_path / "run" / "model").exists()


def test_the_recipe_of_a_task_is_that_of_the_task_alone():
    recipe = Recipe().override("data.tasks=tone=imdb,stars=tfds:x:text=body:label=rating:kind=regression", "seed=3")
    found = recipe.of_tasks()
    assert found["tone"] == Recipe().override("seed=3")
    assert found["stars"] == Recipe().override(
        "seed=3", "data.source=tfds:x", "data.text_column=body", "data.label_column=rating", "model.kind=regression"
    )
    assert Recipe().of_tasks() == {}
