"""Word vectors as the start of a run: by the command line, frozen or not, resumed without their file, and slips."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import keras_transformer
from keras_transformer import pretrained
from keras_transformer.pretrained import WordVectors
from keras_transformer.training import CheckpointStore, Recipe, run
from keras_transformer.training import word_start as module
from tests.training.fits import Killed, die_at
from tests.training.test_pretraining import OBJECTIVES, write_corpus
from tests.training.test_pretraining import tiny as tiny_pretraining
from tests.training.test_runner import FILL, tiny, write_table
from tests.training.test_train_main import TINY, in_process, one_line

WORDS = sorted({*FILL, "great", "funny"})
WIDTH = 16


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "reviews.csv", lambda great, _: "good" if great else "bad")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Vectors as wide as the model, far from zero and long, as those of GloVe are."""
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    matrix = 3 + 2 * np.random.default_rng(1).normal(size=(len(WORDS), WIDTH)).astype("float32")
    WordVectors(tuple(WORDS), matrix).save(path)
    return path


def read(path):
    return json.loads(path.read_text())


def table_of(folder):
    """The rows of the saved model's table that are words of the vectors, and the vectors of these."""
    pipeline = keras_transformer.load(folder)
    tokenizer = pipeline.packer.tokenizer
    places = {word: tokenizer.vocabulary.index(word) for word in WORDS if word in tokenizer.vocabulary}
    return pipeline.model.encoder.embeddings.tokens.table.numpy()[list(places.values())], list(places)


COMMON = [*TINY, "--epochs=1", "--set=judge.deletion_texts=0", "--set=judge.worst_mistakes=0", "--set=export.formats="]


def test_raw_and_frozen_the_table_has_the_numbers_of_the_file(reviews, vectors, tmp_path, capfd):
    flags = [f"--data={reviews}", f"--word_vectors={vectors}", f"--run_dir={tmp_path / 'run'}"]
    fields = ["--set=model.word_vector_scale=raw", "--set=model.freeze_word_vectors=true"]
    assert in_process(*COMMON, *flags, *fields) == 0
    table, words = table_of(tmp_path / "run")
    assert len(words) > 10
    loaded = WordVectors.load(vectors)
    np.testing.assert_array_equal(table, np.stack([loaded.vector(word) for word in words]))
    record = read(tmp_path / "run" / "run.json")["word_vectors"]
    assert record["source"] == str(vectors)
    assert record["words"] >= len(words)
    assert 0 < record["share"] <= 1
    assert "are words of the vectors" in (tmp_path / "run" / "logs" / "run.log").read_text()
    capfd.readouterr()
    assert in_process(*COMMON, *flags, fields[1]) == 1
    one_line(capfd, "model.word_vector_scale is 'raw' there and 'standardised' here")


def test_standardised_vectors_have_the_scale_of_the_initialiser_and_are_trained(reviews, vectors, tmp_path):
    changes = {}
    for name, rate in (("still", "1e-9"), ("moved", "0.01")):
        recipe = tiny(reviews, f"model.word_vectors={vectors}", f"optimizer.learning_rate={rate}", "train.epochs=1")
        recipe = recipe.override("judge.worst_mistakes=0", "judge.deletion_texts=0", "optimizer.weight_decay=0")
        run(recipe, tmp_path / name)
        changes[name], words = table_of(tmp_path / name)
    loaded = WordVectors.load(vectors)
    expected = np.stack([loaded.vector(word) for word in words])
    with np.load(tmp_path / "still" / "checkpoints" / module.FILE) as kept:
        rows = kept["matrix"][kept["rows"]]
    np.testing.assert_allclose(rows.std(), 0.02, rtol=1e-4)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-6)
    # But for scale and centre they are those of the file.
    found, given = np.diff(changes["still"], axis=0), np.diff(expected, axis=0)
    np.testing.assert_allclose(found, given * np.vdot(found, given) / np.vdot(given, given), atol=1e-6)
    assert np.abs(changes["moved"] - changes["still"]).max() > 1e-3


@pytest.mark.parametrize("source", [pytest.param("file", marks=pytest.mark.slow), "skip_gram"])
def test_a_killed_run_goes_on_without_the_file_to_the_same_weights(source, reviews, vectors, tmp_path, monkeypatch):
    """Killed before its first checkpoint, so that the model is made anew; the vectors are not read or learned again."""
    path = tmp_path / "vectors.txt"
    path.write_bytes(vectors.read_bytes())
    recipe = tiny(reviews, f"model.word_vectors={path if source == 'file' else source}", "export.formats=")
    recipe = recipe.override("judge.worst_mistakes=0", "judge.deletion_texts=0", "model.freeze_word_vectors=true")
    run(recipe, tmp_path / "whole")
    die_at(monkeypatch, 1)
    with pytest.raises(Killed):
        run(recipe, tmp_path / "killed")
    monkeypatch.undo()
    assert not CheckpointStore(tmp_path / "killed" / "checkpoints").steps()
    path.unlink()
    monkeypatch.setattr(pretrained, "train_word_vectors", None)
    run(recipe, tmp_path / "killed")
    records = [read(tmp_path / name / "run.json") for name in ("whole", "killed")]
    for key in ("weights_sha256", "final_state_sha256"):
        assert records[0]["training"][key] == records[1]["training"][key], key
    assert records[0]["word_vectors"] == records[1]["word_vectors"]
    tables = [table_of(tmp_path / name)[0] for name in ("whole", "killed")]
    np.testing.assert_array_equal(*tables)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus")


TABLES = {
    "encoder": ("embeddings.word_embeddings.weight",),
    "decoder": ("wte.weight", "transformer.wte.weight"),
    "encoder_decoder": ("shared.weight",),
}


@pytest.mark.parametrize(
    "objective", ["masked", *(pytest.param(name, marks=pytest.mark.slow) for name in ("next_token", "span_corruption"))]
)
def test_pretraining_starts_from_vectors_of_its_corpus(objective, corpus, tmp_path):
    recipe = tiny_pretraining(
        corpus, objective, "model.word_vectors=skip_gram", "model.freeze_word_vectors=true", "pretrain.epochs=1"
    )
    run(recipe, tmp_path / "run", pretrain_only=True)
    record = read(tmp_path / "run" / "run.json")["pretraining"]["word_vectors"]
    assert record["source"] == "skip_gram"
    assert record["share"] > 0.1
    stored = load_file(tmp_path / "run" / "pretrained" / "model.safetensors")
    (name,) = [name for name in TABLES[OBJECTIVES[objective]] if name in stored]
    with np.load(tmp_path / "run" / "checkpoints" / module.FILE) as kept:
        rows = np.flatnonzero(kept["rows"])
        np.testing.assert_array_equal(stored[name][rows], kept["matrix"][rows])


def test_fine_tuning_after_a_pretraining_keeps_a_frozen_table(reviews, tmp_path):
    recipe = tiny_pretraining(
        "", "masked", f"data.source={reviews}", "model.word_vectors=skip_gram", "model.freeze_word_vectors=true"
    )
    recipe = recipe.override("pretrain.epochs=1", "train.epochs=1", "export.formats=", "judge.worst_mistakes=0")
    run(recipe.override("judge.deletion_texts=0"), tmp_path / "run")
    stored = load_file(tmp_path / "run" / "pretrained" / "model.safetensors")["embeddings.word_embeddings.weight"]
    table = keras_transformer.load(tmp_path / "run").model.encoder.embeddings.tokens.table.numpy()
    np.testing.assert_array_equal(table, stored)


def test_a_damaged_table_is_named(reviews, vectors, tmp_path, monkeypatch):
    recipe = tiny(reviews, f"model.word_vectors={vectors}")
    die_at(monkeypatch, 1)
    with pytest.raises(Killed):
        run(recipe, tmp_path / "run")
    monkeypatch.undo()
    path = tmp_path / "run" / "checkpoints" / module.FILE
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"is damaged: restore it.*Received: .*word_vectors\.npz"):
        run(recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--word_vectors=/nowhere/glove.txt"], "skip_gram to learn them from the training texts. Received: '/nowhere"),
        (["--word_vectors=/nowhere", "--init=minilm"], "use model.init=scratch, or leave them out"),
        (["--set=model.freeze_word_vectors=true"], "would freeze random values"),
        (["--word_vectors=x", "--set=model.word_vector_scale=half"], "model.word_vector_scale must be one of"),
    ],
)
def test_slips_are_one_line(flags, message, reviews, tmp_path, capfd):
    assert in_process(*TINY, f"--data={reviews}", f"--run_dir={tmp_path / 'run'}", *flags) == 1
    one_line(capfd, message)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_vectors_of_another_language_are_one_line(reviews, tmp_path, capfd):
    path = tmp_path / "vectors.txt"
    WordVectors(("хорошо", "плохо"), np.eye(2)).save(path)
    assert in_process(*TINY, f"--data={reviews}", f"--run_dir={tmp_path / 'run'}", f"--word_vectors={path}") == 1
    one_line(capfd, "is it another language?")
    assert not (tmp_path / "run" / "checkpoints" / module.FILE).exists()


def test_a_frozen_table_does_not_go_with_sparse_updates():
    with pytest.raises(ValueError, match=r"lora_rank or model\.freeze_word_vectors\. Received: 1, .*True"):
        Recipe().override("model.freeze_word_vectors=true", "optimizer.sparse_embeddings=true")
