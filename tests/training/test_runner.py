"""Whole runs in this process: every kind of label, every truncation, pretrained weights, and a full disk."""

import csv
import errno
import json
import os

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import keras_transformer
from keras_transformer import data, pretrained
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TransformerEncoder
from keras_transformer.text import TextPacker, WordPieceTokenizer, train_wordpiece
from keras_transformer.training import CheckpointStore, Recipe, load_recipe, preparation, run, state
from keras_transformer.training import files as files_module

FILL = "the film was a story with actors and scenes that ran for two hours in town".split()
TINY = [
    "model.vocabulary_size=120",
    "model.hidden_dim=16",
    "model.num_layers=1",
    "model.num_heads=2",
    "model.intermediate_dim=16",
    "data.bucket_lengths=12,24",
    "data.max_length=24",
    "train.tokens_per_batch=480",
    "train.epochs=2",
    "optimizer.learning_rate=0.03",
    "judge.worst_mistakes=1",
    "judge.deletion_texts=2",
    "judge.attribution_steps=4",
]


def write_table(path, label, count=120, length=18):
    """A CSV of texts in which "great" and "funny" occur or not; `label` makes the cell from that."""
    random = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(count):
            great, funny = i % 2 == 1, i % 4 > 1
            words = list(random.choice(FILL, random.integers(4, length)))
            words[0] = "great" if great else words[0]
            words[1] = "funny" if funny else words[1]
            writer.writerow([" ".join(words) + f" {i}", label(great, funny)])
    return path


def tiny(source, *overrides):
    return load_recipe("scratch").override(*TINY, f"data.source={source}", *overrides)


def read(path):
    return json.loads(path.read_text())


def test_many_labels_at_once_with_windows(tmp_path):
    def names(great, funny):
        return "|".join(name for name, given in (("great", great), ("funny", funny)) if given)

    source = write_table(tmp_path / "labels.csv", names, length=60)
    recipe = tiny(source, "model.kind=multi_label", "data.truncation=windows", "train.label_smoothing=0")
    metrics = run(recipe, tmp_path / "run")
    assert metrics["class_names"] == ["funny", "great"]
    assert metrics["test"]["model"]["accuracy"] >= 0
    pipeline = keras_transformer.load(tmp_path / "run")
    assert set(pipeline.predict(["great fun"])[0]) == {"labels", "probabilities"}
    # What is saved decides as the figures say that it does.
    test = preparation.load_splits(recipe).test
    decided = [answer["labels"] for answer in pipeline.predict(test.texts)]
    expected = [list(np.array(test.class_names)[given > 0]) for given in test.labels]
    assert np.mean([a == b for a, b in zip(decided, expected, strict=True)]) == pytest.approx(
        metrics["test"]["model"]["at_threshold"]["accuracy"]
    )
    assert pipeline.threshold == tuple(metrics["threshold"]["scaled_value"])
    rows = data.encode(pipeline.packer, preparation.load_splits(recipe).train.texts)
    assert len(rows) > rows.num_examples, "some texts have several windows"
    # The loss of a step weighs a text once, however many windows it has.
    history = read_history(tmp_path / "run")
    per_epoch = len(history["steps"]["loss"]) // 2
    plan = data.BatchPlan(rows.lengths, recipe.data.buckets(), recipe.train.tokens_per_batch, recipe.seed)
    shares = 1 / np.bincount(rows.example_ids)[rows.example_ids]
    weights = [shares[plan.batch(0, step)[1]].sum() for step in range(per_epoch)]
    expected = np.average(history["steps"]["loss"][:per_epoch], weights=weights)
    assert history["epochs"]["loss"][0] == pytest.approx(expected, abs=1e-4)


def read_history(folder):
    return CheckpointStore(folder / "checkpoints").load_latest().state


def test_numbers(tmp_path):
    source = write_table(tmp_path / "numbers.csv", lambda great, funny: 1.5 * great - 0.5 * funny)
    recipe = tiny(source, "model.kind=regression", "train.label_smoothing=0", "train.epochs=16")
    metrics = run(recipe, tmp_path / "run")
    constant = np.var([0, 1.5, -0.5, 1.0])  # what always answering the mean would get
    assert metrics["test"]["model"]["mse"] < 0.7 * constant
    assert metrics["test"]["difference"]["metric"] == "mse"
    epochs = read(tmp_path / "run" / "report.json")
    assert len(epochs["scatter"]["actual"]) == 12


def test_pretrained_weights_and_what_the_metrics_say(tmp_path):
    """A Hugging Face folder as the start; the accuracy of metrics.json is that of the saved pipeline's answers."""
    source = write_table(tmp_path / "reviews.csv", lambda great, funny: "good" if great else "bad")
    folder = save_tiny_bert(tmp_path / "bert", source)
    recipe = tiny(source, f"model.init={folder}", "data.truncation=head_tail", "train.epochs=3")
    recipe, exported = recipe.override("export.held_out=5"), []
    metrics = run(recipe, tmp_path / "run", export=lambda *arguments: exported.append(arguments))
    pipeline = keras_transformer.load(tmp_path / "run")
    test = preparation.load_splits(recipe).test
    answers = [answer["label"] for answer in pipeline.predict(test.texts)]
    right = [answer == test.class_names[label] for answer, label in zip(answers, test.labels, strict=True)]
    assert metrics["test"]["model"]["accuracy"] == pytest.approx(np.mean(right))
    assert pipeline.temperature == metrics["temperature"]
    assert state.weights_digest(pipeline.model) == read(tmp_path / "run" / "run.json")["training"]["weights_sha256"]
    assert pipeline.packer.truncation == "head_tail"
    assert exported[0][1:3] == (tmp_path / "run" / "export", recipe.export)
    assert len(exported[0][3]) == 5
    assert set(exported[0][3].texts) <= set(test.texts)


def save_tiny_bert(folder, source):
    """A Hugging Face folder with random weights and a vocabulary of the texts."""
    texts = [row["text"] for row in csv.DictReader(source.open())]
    tokenizer = WordPieceTokenizer(train_wordpiece(texts, vocabulary_size=100))
    config = EncoderConfig(
        vocabulary_size=tokenizer.vocabulary_size,
        hidden_dim=16,
        num_layers=1,
        max_length=24,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=16),
    )
    pretrained.save_huggingface(TransformerEncoder(config), TextPacker(tokenizer, max_length=24), folder)
    return folder


@pytest.mark.parametrize("damage", ["truncated", "pickled", "too few rows", "too short"])
def test_weights_that_cannot_be_used_are_named_before_anything_is_trained(tmp_path, damage):
    source = write_table(tmp_path / "reviews.csv", lambda great, funny: "good" if great else "bad", count=40)
    folder = save_tiny_bert(tmp_path / "bert", source)
    recipe, weights = tiny(source, f"model.init={folder}"), folder / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "pickled":
        weights.rename(folder / "pytorch_model.bin")
    elif damage == "too few rows":
        (folder / "tokenizer.json").unlink(missing_ok=True)
        with (folder / "vocab.txt").open("a") as file:
            file.write("another\nword\n")
    elif damage == "too short":
        recipe = recipe.override("data.max_length=32")
    message = {
        "truncated": "truncated",
        "pickled": "pickle",
        "too few rows": "vocabulary",
        "too short": "max_length",
    }[damage]
    with pytest.raises(ValueError, match=message):
        run(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
    assert not list((tmp_path / "run").glob("checkpoints/*.safetensors"))


def test_class_weights_are_those_of_scikit_learn():
    labels = np.array([0] * 6 + [1] * 3 + [2], np.int32)
    examples = data.Examples(
        [f"text {i}" for i in range(10)], labels, list("abcdefghij"), ("x", "y", "z"), "single_label"
    )
    found = preparation.weigh(Recipe().override("train.class_weights=balanced"), examples)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)[labels]
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-6)
    given = preparation.weigh(Recipe().override("train.class_weights=z=4"), examples)
    np.testing.assert_allclose(given, np.array([1] * 9 + [4]) / 1.3, rtol=1e-6)
    assert (preparation.weigh(Recipe(), examples) == 1).all()


def test_a_full_disk_leaves_a_run_that_goes_on(tmp_path, monkeypatch):
    """The disk is full from the second checkpoint on; the run goes on when there is room again."""
    source = write_table(tmp_path / "reviews.csv", lambda great, funny: "good" if great else "bad", count=60)
    recipe = tiny(source, "judge.worst_mistakes=0", "judge.deletion_texts=0")
    real, written = os.fsync, []

    def fsync(descriptor):
        if "step-" in os.readlink(f"/proc/self/fd/{descriptor}"):
            written.append(descriptor)
            if len(written) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files_module.os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left on the disk") as error:
        run(recipe, tmp_path / "run")
    assert error.value.errno == errno.ENOSPC
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 1
    assert not [name for _, _, names in os.walk(tmp_path / "run") for name in names if name.startswith(".tmp-")]
    monkeypatch.undo()
    assert "model" in run(recipe, tmp_path / "run")["test"]
