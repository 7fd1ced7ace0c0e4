"""What we write, transformers loads with the same outputs, and we read back bit for bit."""

import json
import os
import stat

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from keras_transformer import pretrained
from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder

TOLERANCE = 1e-4


def make_encoder(**fields):
    """A small encoder of ours with random weights, biases and norms included."""
    sizes = {
        "vocabulary_size": 50,
        "hidden_dim": 32,
        "num_layers": 2,
        "max_length": 40,
        "attention": AttentionConfig(num_heads=4, dropout=0.2),
        "feed_forward": FeedForwardConfig(intermediate_dim=56),
    }
    dtype = fields.pop("dtype", None)
    encoder = TransformerEncoder(EncoderConfig(**sizes | fields), dtype=dtype)
    randomise(encoder)
    return encoder


def randomise(model):
    random = np.random.default_rng(3)
    for variable in model.trainable_variables:
        scale = 0.3 if len(variable.shape) == 1 else 0.2
        variable.assign(("gamma" in variable.path) + random.normal(size=variable.shape) * scale)


def make_classifier(kind="single_label", num_outputs=3, pooling="first", **fields):
    model = TextClassifier(make_encoder(**fields), num_outputs, kind=kind, pooling=pooling, dropout=0.15)
    randomise(model)
    return model


def assert_same_weights(model, other):
    assert len(model.trainable_variables) == len(other.trainable_variables) > 0
    for ours, theirs in zip(model.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu", "tanh", "linear"])
def test_encoder_in_transformers(activation, tmp_path, make_inputs, run_transformers, assert_same_states):
    encoder = make_encoder(
        pooler=True,
        dropout=0.3,
        norm=NormConfig(epsilon=1e-5),
        feed_forward=FeedForwardConfig(intermediate_dim=56, activation=activation),
    )
    pretrained.save_huggingface(encoder, None, tmp_path / "model")
    inputs = make_inputs()
    theirs = run_transformers(tmp_path / "model", inputs)
    assert_same_states(encoder, inputs, theirs["hidden_states"])
    assert np.abs(np.array(encoder(inputs)["pooled_output"]) - theirs["pooler_output"]).max() <= TOLERANCE
    assert not any(theirs["info"].values())  # no tensor missing, unexpected or of another shape
    config = theirs["model"].config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.3, 0.2)
    again = pretrained.load_encoder(tmp_path / "model")
    assert again.config == encoder.config
    assert_same_weights(again, encoder)


def test_what_transformers_wrote_comes_back_bit_for_bit(write_bert, tmp_path, make_inputs, run_transformers):
    folder = write_bert()
    pretrained.save_huggingface(pretrained.load_encoder(folder), None, tmp_path / "again")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])
    inputs = make_inputs()
    expected = run_transformers(folder, inputs)
    again = run_transformers(tmp_path / "again", inputs)
    for a, b in zip(expected["hidden_states"], again["hidden_states"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_encoder_without_pooler_or_segments(tmp_path, make_inputs, run_transformers, assert_same_states):
    encoder = make_encoder(num_segments=0)
    pretrained.save_huggingface(encoder, None, tmp_path / "model")
    inputs = make_inputs(num_segments=1)
    theirs = run_transformers(tmp_path / "model", inputs)
    assert_same_states(encoder, inputs, theirs["hidden_states"])
    assert set(theirs["info"]["missing_keys"]) == {"pooler.dense.weight", "pooler.dense.bias"}


@pytest.mark.parametrize(
    ("kind", "num_outputs", "problem"),
    [
        ("single_label", 3, "single_label_classification"),
        ("multi_label", 4, "multi_label_classification"),
        ("regression", 1, "regression"),
    ],
)
def test_classifier_in_transformers(kind, num_outputs, problem, tmp_path, make_inputs, run_transformers):
    model = make_classifier(kind, num_outputs, pooler=True)
    names = tuple(f"class {i}" for i in range(num_outputs))
    pretrained.save_huggingface(model, None, tmp_path / "model", class_names=names)
    inputs = make_inputs()
    theirs = run_transformers(tmp_path / "model", inputs, "AutoModelForSequenceClassification")
    logits = np.array(model(inputs)["logits"])
    assert np.abs(logits - theirs["logits"]).max() <= TOLERANCE
    assert logits.std() > 0.05
    assert not any(theirs["info"].values())
    config = theirs["model"].config
    assert (config.problem_type, config.classifier_dropout) == (problem, 0.15)
    assert config.id2label == dict(enumerate(names))
    again = pretrained.load_classifier(tmp_path / "model")
    assert again.get_config() == model.get_config()
    assert_same_weights(again, model)
    assert pretrained.load_class_names(tmp_path / "model") == names


@pytest.mark.parametrize(("pooling", "pooler"), [("mean", False), ("mean", True), ("first", False)])
def test_classifier_without_a_counterpart(pooling, pooler, tmp_path, make_inputs, run_transformers):
    """The encoder is transformers' own; the head comes back through us, and is not taken for another one."""
    model = make_classifier("multi_label", 2, pooling, pooler=pooler)
    pretrained.save_huggingface(model, None, tmp_path / "model", class_names=("a", "b"))
    inputs = make_inputs()
    again = pretrained.load_classifier(tmp_path / "model")
    assert again.get_config() == model.get_config()
    assert_same_weights(again, model)
    np.testing.assert_array_equal(np.array(again(inputs)["logits"]), np.array(model(inputs)["logits"]))
    theirs = run_transformers(tmp_path / "model", inputs)
    sequence = np.array(model.encoder(inputs)["sequence_output"])
    assert np.abs(sequence - theirs["last_hidden_state"]).max() <= TOLERANCE
    assert theirs["info"]["unexpected_keys"] == {"keras_transformer.head.weight", "keras_transformer.head.bias"}
    info = run_transformers(tmp_path / "model", inputs, "AutoModelForSequenceClassification")["info"]
    assert {"classifier.weight", "classifier.bias"} <= set(info["missing_keys"])


@pytest.mark.slow
def test_minilm_comes_back_bit_for_bit(minilm, tmp_path):
    pretrained.save_huggingface(pretrained.load_encoder(minilm), None, tmp_path / "model")
    before, after = load_file(minilm / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    assert before.keys() - after.keys() == {"embeddings.position_ids"}
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name])


def test_half_precision_models_are_written_in_float32(tmp_path):
    encoder = make_encoder(dtype="bfloat16")
    pretrained.save_huggingface(encoder, None, tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {np.dtype("float32")}
    table = keras.ops.convert_to_numpy(keras.ops.cast(encoder.embeddings.tokens.table, "float32"))
    np.testing.assert_array_equal(tensors["embeddings.word_embeddings.weight"], table)


def test_an_existing_folder_is_kept_unless_asked(tmp_path):
    first, second = make_encoder(), make_encoder(num_layers=1)
    target = tmp_path / "new" / "model"
    pretrained.save_huggingface(first, None, target)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pretrained.save_huggingface(second, None, target)
    assert pretrained.load_encoder(target).config.num_layers == 2
    assert pretrained.save_huggingface(second, None, target, overwrite=True) == target
    assert pretrained.load_encoder(target).config.num_layers == 1
    assert os.listdir(target.parent) == ["model"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o055 == 0o055


def test_nothing_half_written(tmp_path, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_transformer.pretrained.saving.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        pretrained.save_huggingface(make_encoder(), None, tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "fields",
    [{"residual": "pre_norm"}, {"position": "sincos"}, {"attention": AttentionConfig(num_heads=4, head_dim=3)}],
    ids=str,
)
def test_encoders_without_a_counterpart_are_refused(fields, tmp_path):
    with pytest.raises(ValueError, match=f"no counterpart.*Received: {next(iter(fields))}"):
        pretrained.save_huggingface(make_encoder(**fields), None, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"3 outputs\. Received: 2 names"):
        pretrained.save_huggingface(make_classifier(), None, tmp_path / "model", class_names=("a", "b"))
    with pytest.raises(ValueError, match="no outputs to name"):
        pretrained.save_huggingface(make_encoder(), None, tmp_path / "model", class_names=("a",))
    with pytest.raises(ValueError, match="Received: Sequential"):
        pretrained.save_huggingface(keras.Sequential(), None, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_config_and_metadata(tmp_path):
    pretrained.save_huggingface(make_classifier(pooling="mean"), None, tmp_path / "model")
    values = json.loads((tmp_path / "model" / "config.json").read_text())
    assert values["model_type"] == "bert"
    assert values["keras_transformer"]["classifier"] == {
        "kind": "single_label",
        "num_outputs": 3,
        "pooling": "mean",
        "dropout": 0.15,
    }
    with safe_open(tmp_path / "model" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}  # without it transformers 4 refuses the file
