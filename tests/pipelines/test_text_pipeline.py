"""From texts and labels to answers, to disk and back."""

import json

import keras
import numpy as np
import pytest

import keras_transformer
from keras_transformer import data
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig
from keras_transformer.pipelines import score_rows
from keras_transformer.pipelines.check_texts import CHECK_TEXTS, read_check_texts

CONFIG = EncoderConfig(
    vocabulary_size=200,
    hidden_dim=32,
    num_layers=1,
    max_length=32,
    dropout=0.0,
    attention=AttentionConfig(num_heads=2, dropout=0.0),
    feed_forward=FeedForwardConfig(64),
)
FIT = {"init": "scratch", "config": CONFIG, "epochs": 12, "learning_rate": 5e-3, "tokens_per_batch": 256, "verbose": 0}


def reviews(count, seed=0):
    """Texts whose label is whether a good or a bad word stands in them."""
    rng = np.random.default_rng(seed)
    plain, words = ["the", "film", "plot", "actor", "was", "and", "it", "scene"], {0: "awful dull", 1: "great warm"}
    texts, labels = [], []
    for i in range(count):
        row = list(rng.choice(plain, rng.integers(3, 20)))
        row.insert(rng.integers(len(row)), rng.choice(words[i % 2].split()))
        texts.append(" ".join(row))
        labels.append(("bad", "good")[i % 2])
    return texts, labels


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    return keras_transformer.fine_tune(*reviews(400), **FIT)


def test_it_learns_from_names_and_answers_in_names(trained):
    texts, labels = reviews(100, seed=1)
    assert trained.class_names == ("bad", "good")
    answers = trained.predict(texts)
    assert np.mean([answer["label"] == label for answer, label in zip(answers, labels, strict=True)]) > 0.95
    for answer in answers[:5]:
        assert abs(sum(answer["probabilities"].values()) - 1) < 1e-5
        assert answer["score"] == max(answer["probabilities"].values())
    assert trained.evaluate(texts, labels)["accuracy"] > 0.95


def test_the_answer_to_a_text_does_not_depend_on_its_neighbours(trained):
    texts, _ = reviews(20, seed=2)
    together = trained.logits(texts)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(trained.logits([text])[0], row, atol=1e-5)


def test_saved_and_loaded_pipelines_answer_the_same(trained, tmp_path):
    trained.temperature = 1.7
    texts, _ = reviews(20, seed=3)
    trained.save(tmp_path / "run" / "model")
    assert {path.name for path in (tmp_path / "run" / "model").iterdir()} == {
        "model.keras",
        "vocab.txt",
        "tokenizer_config.json",
        "pipeline.json",
        "check.jsonl",
    }
    for folder in (tmp_path / "run" / "model", tmp_path / "run"):
        loaded = keras_transformer.load(folder)
        assert loaded.predict(texts) == trained.predict(texts)
    checks = read_check_texts(tmp_path / "run" / "model")
    assert len(checks) == CHECK_TEXTS
    np.testing.assert_allclose(loaded.logits([text for text, _ in checks]), [row for _, row in checks], atol=1e-5)
    trained.save(tmp_path / "run" / "model")
    assert not list((tmp_path / "run").glob(".*")), "no temporary folder is left"


def test_probabilities_are_calibrated_by_the_temperature(trained):
    texts, _ = reviews(4, seed=4)
    logits = trained.logits(texts)
    trained.temperature = 2.0
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum(1, keepdims=True)
    np.testing.assert_allclose(trained.probabilities(texts), expected, atol=1e-6)
    trained.temperature = 1.0


def test_windows_average_the_logits_of_their_parts():
    texts, labels = reviews(60)
    pipeline = keras_transformer.fine_tune(texts, labels, **FIT | {"epochs": 1}, truncation="windows", max_length=8)
    long = " ".join(texts[:3])
    rows, _ = pipeline.packer.windows([long])
    assert rows.nrows() > 2
    inputs = {
        "token_ids": rows.to_tensor(),
        "segment_ids": rows.to_tensor() * 0,
        "padding_mask": keras.ops.cast(rows.to_tensor() > 0, "int32"),
    }
    expected = np.mean(pipeline.model(inputs)["logits"], axis=0)
    np.testing.assert_allclose(pipeline.logits([long])[0], expected, atol=1e-5)


def test_many_labels_at_once(tmp_path):
    texts, labels = reviews(200)
    sets = [[label] + (["plot"] if "plot" in text else []) for text, label in zip(texts, labels, strict=True)]
    pipeline = keras_transformer.fine_tune(texts, sets, **FIT | {"epochs": 25})
    assert pipeline.kind == "multi_label"
    assert pipeline.class_names == ("bad", "good", "plot")
    assert pipeline.evaluate(texts, sets)["accuracy"] > 0.95
    answer = pipeline.predict(["the plot was great"])[0]
    assert answer["labels"] == ["good", "plot"]
    (least,) = pipeline.probabilities(["the plot was great"])[:, 2]
    pipeline.threshold = [0.5, 0.5, float(least) + 1e-4]
    assert pipeline.predict(["the plot was great"])[0]["labels"] == ["good"]
    pipeline.save(tmp_path / "model")
    assert keras_transformer.load(tmp_path / "model").threshold == pipeline.threshold
    for wrong in ([0.5, 0.5], 1.5):
        with pytest.raises(ValueError, match=r"one for all or one for each of the 3 labels\. Received: "):
            pipeline.threshold = wrong


def test_regression():
    texts, labels = reviews(200)
    values = [2.5 if label == "good" else -1.5 for label in labels]
    pipeline = keras_transformer.fine_tune(texts, values, **FIT)
    assert pipeline.kind == "regression"
    assert pipeline.evaluate(texts, values)["rmse"] < 0.5
    assert pipeline.predict(["it was great"])[0]["values"]["value_0"] > 1


def test_class_weights_move_the_answers():
    texts, labels = reviews(100)
    rng = np.random.default_rng(0)
    labels = [str(label) for label in rng.choice(labels, len(labels))]  # nothing to learn but the share
    shares = []
    for weight in (0.2, 5.0):
        keras.utils.set_random_seed(0)
        pipeline = keras_transformer.fine_tune(
            texts, labels, **FIT | {"epochs": 3, "learning_rate": 1e-3}, class_weights={"good": weight}
        )
        shares.append(pipeline.probabilities(texts)[:, 1].mean())
    assert shares[1] > shares[0] + 0.2


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda p, f: p.predict("one text"), "must be a list of texts"),
        (lambda p, f: p.predict([3]), "texts must be strings. Received: int"),
        (lambda p, f: keras_transformer.fine_tune(["a", "b"], ["x", "x"], **FIT), "at least two classes"),
        (lambda p, f: keras_transformer.fine_tune(["a", "b"], ["x"], **FIT), "one label per text"),
        (lambda p, f: keras_transformer.fine_tune(["a"], ["x"], config=CONFIG), "config is for init='scratch'"),
        (lambda p, f: keras_transformer.TextPipeline(p.model, p.packer, ["a"]), "name each of the model's 2 outputs"),
        (lambda p, f: keras_transformer.TextPipeline(p.model, p.packer, temperature=0.0), "temperature must be above"),
        (lambda p, f: keras_transformer.load(f), "no saved pipeline"),
    ],
)
def test_bad_input_gets_one_clear_message(trained, tmp_path, act, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        act(trained, tmp_path)


@pytest.mark.parametrize("name", ["model.keras", "pipeline.json", "check.jsonl"])
def test_a_damaged_file_is_named(trained, tmp_path, name):
    trained.save(tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        keras_transformer.load(tmp_path / "model")


def test_save_does_not_replace_a_folder_of_something_else(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds no saved pipeline"):
        trained.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_saved_settings_are_plain_json(trained, tmp_path):
    trained.save(tmp_path / "model")
    settings = json.loads((tmp_path / "model" / "pipeline.json").read_text())
    assert settings["class_names"] == ["bad", "good"]
    assert settings["kind"] == "single_label"


def test_check_texts_survive_every_kind_of_line_end(trained, tmp_path):
    texts = ["one\u2028two", "three\x85four", "five\r\nsix", "seven\x0beight\x1cnine", ""]
    trained.check_texts = texts
    trained.save(tmp_path / "model")
    assert [text for text, _ in read_check_texts(tmp_path / "model")] == texts
    assert keras_transformer.load(tmp_path / "model").check_texts == texts


def test_progress_counts_batches(trained):
    texts, _ = reviews(40)
    rows, seen = data.encode(trained.packer, texts), []
    logits = score_rows(trained.model, rows, 64, progress=lambda *counts: seen.append(counts))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert len(seen) > 5
    np.testing.assert_allclose(logits, trained.logits(texts), atol=1e-5)
