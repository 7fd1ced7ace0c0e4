"""Pretraining by a recipe: each objective leaves a model that loads, killed ones go on, fine-tuning starts there."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file

import keras_transformer
from keras_transformer import objectives, pretrained
from keras_transformer.training import Recipe, load_recipe, preparation, run
from keras_transformer.training.pretrain_section import OBJECTIVES
from tests.training.fits import Killed, die_at
from tests.training.test_runner import TINY, write_table
from tests.training.test_train_main import command, in_process, one_line

SUBJECTS = ("the film", "this movie", "an actor", "her story", "his plot")
VERBS = ("was", "seems", "remains", "became")
ENDS = ("a joy", "a bore", "quite long", "far too short", "very good")


def write_corpus(folder, count=120, seed=0):
    """Documents of sentences in which each part says much about the next one."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(count):
        sentences = []
        for _ in range(random.integers(4, 12)):
            subject = random.integers(5)
            words = [SUBJECTS[subject], VERBS[(subject + random.integers(2)) % 4], ENDS[subject]]
            sentences.append(" ".join(words).capitalize() + ".")
        (folder / f"{number:03}.txt").write_text(" ".join(sentences) + f" {number}")
    return folder


def tiny(corpus, objective, *overrides):
    tokenizer = {"decoder": "byte_level_bpe", "encoder_decoder": "sentence_piece"}.get(
        OBJECTIVES[objective], "wordpiece"
    )
    size = {"wordpiece": 150, "byte_level_bpe": 330, "sentence_piece": 160}[tokenizer]
    return load_recipe("imdb_pretrained").override(
        *TINY,
        f"pretrain.corpus={corpus}",
        f"pretrain.objective={objective}",
        f"model.tokenizer={tokenizer}",
        f"model.vocabulary_size={size}",
        "pretrain.row_length=24",
        "pretrain.tokens_per_batch=480",
        "pretrain.learning_rate=0.01",
        "pretrain.held_out=0.15",
        "pretrain.epochs=3",
        "pretrain.probe_examples=0",
        *overrides,
    )


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus")


def test_the_recipe_knows_the_objectives():
    assert {name: cls.model_kind for name, cls in objectives.OBJECTIVES.items()} == OBJECTIVES


FAST = ("masked", "span_corruption")


@pytest.mark.parametrize(
    "objective", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in OBJECTIVES]
)
def test_every_objective_learns_and_leaves_a_model_that_loads(objective, corpus, tmp_path):
    recipe = tiny(corpus, objective)
    measured = run(recipe, tmp_path / "run", pretrain_only=True)
    history = read(tmp_path / "run" / "pretraining" / "history.json")
    losses = history["epochs"]["val_loss"]
    assert measured["loss"] == min(losses)
    assert min(losses) < losses[0]
    assert np.mean(history["steps"]["loss"][-5:]) < np.mean(history["steps"]["loss"][:5])
    if objective != "contrastive":
        of_tokens = [measured[name] for name in ("masked_loss", "next_token_loss") if name in measured]
        assert measured["perplexity"] == pytest.approx(math.exp((of_tokens or [measured["loss"]])[0]))
    folder = tmp_path / "run" / "pretrained"
    load = {
        "encoder": pretrained.load_encoder,
        "decoder": pretrained.load_decoder,
        "encoder_decoder": pretrained.load_encoder_decoder,
    }[OBJECTIVES[objective]]
    model, packer = load(folder), pretrained.load_packer(folder)
    assert packer.tokenizer.vocabulary_size <= recipe.model.vocabulary_size + 1
    record = read(tmp_path / "run" / "run.json")["pretraining"]
    assert record["best_step"] <= record["steps"] == len(history["steps"]["loss"])
    assert record["corpus"]["documents"] <= 120
    assert all(np.isfinite(weight.numpy()).all() for weight in model.weights)


def test_a_pretraining_that_was_killed_twice_ends_as_one_that_was_not(corpus, tmp_path, monkeypatch):
    recipe = tiny(corpus, "masked", "pretrain.epochs=2", "pretrain.validations_per_epoch=2")
    run(recipe, tmp_path / "whole", pretrain_only=True, checkpoint_steps=2)
    for at in (3, 11):
        die_at(monkeypatch, at)
        with pytest.raises(Killed):
            run(recipe, tmp_path / "killed", pretrain_only=True, checkpoint_steps=2)
        monkeypatch.undo()
    run(recipe, tmp_path / "killed", pretrain_only=True, checkpoint_steps=2)
    whole, killed = (load_file(tmp_path / name / "pretrained" / "model.safetensors") for name in ("whole", "killed"))
    assert len(read(tmp_path / "whole" / "pretraining" / "history.json")["steps"]["loss"]) > at
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)
    histories = [read(tmp_path / name / "pretraining" / "history.json") for name in ("whole", "killed")]
    assert histories[0] == histories[1]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "reviews.csv", lambda great, _: "good" if great else "bad")


def test_fine_tuning_starts_from_what_was_pretrained_on_the_training_texts_alone(reviews, tmp_path, monkeypatch):
    recipe = tiny("", "masked", f"data.source={reviews}", "pretrain.probe_examples=40", "export.formats=")
    folder = tmp_path / "run"
    measured = run(recipe, folder, pretrain_only=True)
    assert 0 <= measured["probe_accuracy"] <= 1
    assert not (folder / "metrics.json").exists()
    record = read(folder / "run.json")["pretraining"]
    splits = preparation.load_splits(recipe)
    assert record["corpus"]["source"] == f"{len(splits.train)} texts"
    weights = (folder / "pretrained" / "model.safetensors").read_bytes()

    begun = []
    make_model = preparation.make_model

    def noting(*arguments):
        model = make_model(*arguments)
        begun.append(model.encoder.embeddings.tokens.table.numpy())
        return model

    monkeypatch.setattr(preparation, "make_model", noting)
    metrics = run(recipe, folder)
    assert metrics["test"]["model"]["accuracy"] >= 0
    assert (folder / "pretrained" / "model.safetensors").read_bytes() == weights, "it is done once"
    stored = load_file(folder / "pretrained" / "model.safetensors")
    np.testing.assert_array_equal(begun[0], stored["embeddings.word_embeddings.weight"])
    assert keras_transformer.load(folder).predict(["a great film"])


def test_pretrained_weights_go_on_with_their_own_vocabulary(corpus, tmp_path):
    run(tiny(corpus, "masked"), tmp_path / "first", pretrain_only=True)
    folder = tmp_path / "first" / "pretrained"
    recipe = tiny(corpus, "masked", f"model.init={folder}", "pretrain.epochs=1", "pretrain.learning_rate=1e-6")
    again = run(recipe, tmp_path / "second", pretrain_only=True)
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "second" / "pretrained"))
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-3, err_msg=name)
    assert again["perplexity"] > 1


@pytest.mark.slow
def test_two_replicas_pretrain_as_one_device_does(corpus, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(tiny(corpus, "masked", "model.dropout=0", "pretrain.epochs=2").to_json())
    losses = []
    for name, flags in (("one", ()), ("two", ("--strategy=mirrored", "--logical_cpus=2"))):
        done = command("--mode=pretrain", f"--recipe={recipe}", f"--run_dir={tmp_path / name}", *flags)
        assert done.returncode == 0, done.stderr
        losses.append(read(tmp_path / name / "pretraining" / "history.json")["steps"]["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("objective", "overrides", "message"),
    [
        ("masked", ["pretrain.held_out=1e-6"], "raise pretrain.held_out"),
        ("masked", ["pretrain.tokens_per_batch=48000"], "fill one batch"),
        ("masked", ["model.vocabulary_size=100", "model.tokenizer=byte_level_bpe"], "vocabulary_size"),
        ("span_corruption", ["model.vocabulary_size=101"], "vocabulary_size"),
    ],
)
def test_what_cannot_be_trained_is_said(objective, overrides, message, corpus, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tiny(corpus, objective, *overrides), tmp_path / "run", pretrain_only=True)
    assert not (tmp_path / "run" / "pretrained").exists()


def test_slips_are_one_line(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    cases = {
        ("--mode=pretrain",): "set pretrain.objective",
        ("--objective=next_token",): "--mode=pretrain",
        ("--mode=pretrain", "--objective=masked", f"--corpus={tmp_path / 'missing'}"): "missing",
        ("--mode=pretrain", "--objective=masked", f"--corpus={tmp_path / 'empty'}"): "empty",
        ("--objective=masks",): "pretrain.objective must be one of",
    }
    for number, (flags, expected) in enumerate(cases.items()):
        arguments = ["--recipe=scratch", "--init=scratch", f"--run_dir={tmp_path / f'run{number}'}", *flags]
        assert in_process(*arguments) == 1
        one_line(capfd, expected)


def test_a_probe_is_for_encoders():
    with pytest.raises(ValueError, match="objectives of encoders"):
        Recipe().override("pretrain.objective=next_token", "pretrain.probe_examples=10")
