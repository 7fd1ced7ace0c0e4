"""Our encoder and classifier compute what transformers computes from the same folder."""

import json
import logging

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_transformer import pretrained

TOLERANCE = 1e-4


def test_minilm_on_padded_reviews(minilm, review_inputs, run_transformers, assert_same_states, states_of):
    expected = run_transformers(minilm, review_inputs)
    encoder = pretrained.load_encoder(minilm)
    assert_same_states(encoder, review_inputs, expected["hidden_states"])
    pooled = np.array(encoder(review_inputs)["pooled_output"])
    assert np.abs(pooled - expected["pooler_output"]).max() <= TOLERANCE
    # Padding included, against float64: as near as transformers' own float32.
    exact = run_transformers(minilm, review_inputs, dtype="float64")["hidden_states"]
    states = states_of(encoder, review_inputs)
    theirs = max(np.abs(a - b).max() for a, b in zip(expected["hidden_states"], exact, strict=True))
    assert max(np.abs(a - b).max() for a, b in zip(states, exact, strict=True)) <= max(theirs, TOLERANCE)


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_new"},
        {"hidden_act": "gelu_pytorch_tanh"},
        {"hidden_act": "relu"},
        {"hidden_act": "silu"},
        {"hidden_size": 63, "num_attention_heads": 7},
        {"hidden_size": 15, "num_attention_heads": 1, "num_hidden_layers": 1},
        {"layer_norm_eps": 0.03},
        {"type_vocab_size": 5},
        {"max_position_embeddings": 61},
    ],
    ids=lambda fields: "-".join(f"{key}={value}" for key, value in fields.items()),
)
def test_every_variant(fields, write_bert, make_inputs, run_transformers, assert_same_states):
    folder = write_bert(**fields)
    inputs = make_inputs(num_segments=fields.get("type_vocab_size", 2))
    assert_same_states(pretrained.load_encoder(folder), inputs, run_transformers(folder, inputs)["hidden_states"])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_shards_and_half_precision(dtype, shard, write_bert, make_inputs, run_transformers, assert_same_states):
    folder = write_bert(dtype=dtype, shard=shard)
    assert (folder / "model.safetensors.index.json").is_file() == (shard == "20KB")
    inputs = make_inputs()
    expected = run_transformers(folder, inputs)
    encoder = pretrained.load_encoder(folder)
    assert_same_states(encoder, inputs, expected["hidden_states"])
    # Widening to float32 is exact.
    table = expected["model"].embeddings.word_embeddings.weight.detach().numpy()
    np.testing.assert_array_equal(np.array(encoder.embeddings.tokens.table), table)
    assert encoder.embeddings.tokens.table.dtype == "float32"


@pytest.mark.parametrize(
    ("architecture", "has_pooler"),
    [("BertModel", True), ("BertForSequenceClassification", True), ("BertForMaskedLM", False)],
)
def test_prefix_and_pooler(architecture, has_pooler, write_bert, make_inputs, run_transformers, assert_same_states):
    folder = write_bert(architecture)
    prefixed = any(name.startswith("bert.") for name in load_file(folder / "model.safetensors"))
    assert prefixed == (architecture != "BertModel")
    inputs = make_inputs()
    expected = run_transformers(folder, inputs)
    encoder = pretrained.load_encoder(folder)
    assert_same_states(encoder, inputs, expected["hidden_states"])
    outputs = encoder(inputs)
    assert ("pooled_output" in outputs) == has_pooler == encoder.config.pooler
    if has_pooler:
        assert np.abs(np.array(outputs["pooled_output"]) - expected["pooler_output"]).max() <= TOLERANCE


def test_old_gamma_and_beta(write_bert, make_inputs, run_transformers, assert_same_states):
    folder = write_bert()
    inputs = make_inputs()
    expected = run_transformers(folder, inputs)["hidden_states"]
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in load_file(folder / "model.safetensors").items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    assert_same_states(pretrained.load_encoder(folder), inputs, expected)


@pytest.mark.parametrize(
    ("problem", "kind", "num_labels"),
    [
        (None, "single_label", 3),
        (None, "regression", 1),
        ("single_label_classification", "single_label", 2),
        ("multi_label_classification", "multi_label", 4),
        ("regression", "regression", 2),
    ],
)
def test_classifier_gives_the_same_logits(problem, kind, num_labels, write_bert, make_inputs, run_transformers):
    folder = write_bert(
        "BertForSequenceClassification", problem_type=problem, num_labels=num_labels, classifier_dropout=0.25
    )
    inputs = make_inputs()
    expected = run_transformers(folder, inputs, "AutoModelForSequenceClassification")["logits"]
    model = pretrained.load_classifier(folder)
    assert (model.kind, model.pooling, model.num_outputs, model.dropout) == (kind, "first", num_labels, 0.25)
    assert np.abs(np.array(model(inputs)["logits"]) - expected).max() <= TOLERANCE
    assert expected.std() > 0.05


def test_classifier_options(write_bert):
    folder = write_bert("BertForSequenceClassification", num_labels=2, id2label={0: "bad", 1: "good"})
    model = pretrained.load_classifier(folder, kind="multi_label", dropout=0.3, max_length=8)
    assert model.kind == "multi_label"
    assert (model.encoder.config.dropout, model.encoder.config.max_length) == (0.3, 8)
    assert model.dropout == 0.1  # the head's own rate: hidden_dropout_prob where classifier_dropout is absent
    assert pretrained.load_class_names(folder) == ("bad", "good")


def test_overrides_change_the_config_and_keep_the_weights(write_bert, make_inputs, run_transformers):
    folder = write_bert()
    encoder = pretrained.load_encoder(
        folder, dropout=0.0, attention_dropout=0.3, max_length=12, num_layers=2, pooler=False
    )
    config = encoder.config
    assert (config.dropout, config.attention.dropout, config.max_length) == (0.0, 0.3, 12)
    assert (config.num_layers, config.pooler, encoder.pooler) == (2, False, None)
    assert config.attention.num_heads == 4
    inputs = make_inputs(lengths=(12, 5))
    expected = run_transformers(folder, inputs)["hidden_states"][2]
    assert np.abs(np.array(encoder(inputs)["sequence_output"]) - expected).max() <= TOLERANCE


def test_unused_tensors_are_named_in_the_log(write_bert, caplog):
    folder = write_bert("BertForMaskedLM")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"bert.adapter.weight": np.zeros(3, "float32")}, folder / "model.safetensors")
    with caplog.at_level(logging.INFO, logger="keras_transformer"):
        pretrained.load_encoder(folder, num_layers=2)
    usual = " ".join(record.message for record in caplog.records if record.levelno == logging.INFO)
    strange = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    used = [f"encoder.layer.{i}." for i in (0, 1)] + ["bert.embeddings."]
    for name in tensors:
        assert (name in usual) != any(part in name for part in used), name
    assert len(strange) == 1
    assert strange[0].endswith("unexpected, not used: bert.adapter.weight")


def test_defaults_of_missing_config_fields_are_those_of_transformers(write_bert, make_inputs, run_transformers):
    folder = write_bert()
    path = folder / "config.json"
    values = json.loads(path.read_text())
    for field in ("hidden_act", "type_vocab_size", "layer_norm_eps", "hidden_dropout_prob", "initializer_range"):
        del values[field]
    path.write_text(json.dumps(values))
    inputs = make_inputs()
    expected = run_transformers(folder, inputs)["last_hidden_state"]
    encoder = pretrained.load_encoder(folder)
    assert np.abs(np.array(encoder(inputs)["sequence_output"]) - expected).max() <= TOLERANCE
    assert encoder.config.dropout == 0.1
