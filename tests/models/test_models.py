"""The encoder and the classifier: padding, permutation, saving, learning."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder, probabilities

CONFIG = EncoderConfig(
    vocabulary_size=60,
    hidden_dim=32,
    num_layers=2,
    max_length=64,
    attention=AttentionConfig(num_heads=4),
    feed_forward=FeedForwardConfig(64),
    initializer_range=0.2,
)


def batch(rows, length=None):
    length = length or max(map(len, rows))
    ids = np.array([row + [0] * (length - len(row)) for row in rows], "int32")
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": (ids > 0).astype("int32")}


ROWS = [[2, 7, 9, 3], [2, 11, 3], [2, 8, 5, 30, 41, 3]]


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("residual", ["post_norm", "pre_norm"])
@pytest.mark.parametrize("position", ["learned", "sincos"])
def test_padding_does_not_change_the_answer(pooling, residual, position):
    config = dataclasses.replace(CONFIG, residual=residual, position=position)
    model = TextClassifier(TransformerEncoder(config), 3, pooling=pooling)
    short = np.array(model(batch(ROWS))["logits"])
    np.testing.assert_allclose(model(batch(ROWS, length=40))["logits"], short, atol=1e-5)
    for row, expected in zip(ROWS, short, strict=True):
        np.testing.assert_allclose(model(batch([row]))["logits"][0], expected, atol=1e-5)


def test_what_stands_under_the_padding_does_not_matter():
    model = TextClassifier(TransformerEncoder(CONFIG), 3)
    inputs = batch(ROWS)
    expected = np.array(model(inputs)["logits"])
    inputs["token_ids"] = np.where(inputs["padding_mask"] == 0, 33, inputs["token_ids"])
    np.testing.assert_allclose(model(inputs)["logits"], expected, atol=1e-6)


def test_a_row_of_padding_only_is_finite():
    model = TextClassifier(TransformerEncoder(CONFIG), 2)
    inputs = batch(ROWS)
    inputs["padding_mask"][1] = 0
    assert np.isfinite(np.array(model(inputs)["logits"])).all()


@pytest.mark.parametrize("position", ["learned", "sincos"])
def test_order_of_tokens_matters(position):
    encoder = TransformerEncoder(dataclasses.replace(CONFIG, position=position))
    forward = np.array(encoder(batch([[2, 7, 9, 3]]))["sequence_output"])
    swapped = np.array(encoder(batch([[2, 9, 7, 3]]))["sequence_output"])
    assert not np.allclose(forward[0, [0, 2, 1, 3]], swapped[0], atol=1e-3)


def test_embed_and_encode_are_the_model():
    encoder = TransformerEncoder(CONFIG)
    inputs = batch(ROWS)
    embeddings = encoder.embed(inputs["token_ids"], inputs["segment_ids"])
    np.testing.assert_allclose(
        encoder.encode(embeddings, inputs["padding_mask"]), encoder(inputs)["sequence_output"], atol=1e-6
    )
    states = encoder.hidden_states(embeddings, inputs["padding_mask"])
    assert len(states) == CONFIG.num_layers + 1


def test_pooler_reads_the_first_token():
    encoder = TransformerEncoder(dataclasses.replace(CONFIG, pooler=True))
    outputs = encoder(batch(ROWS))
    first = np.array(outputs["sequence_output"])[:, 0]
    expected = np.tanh(first @ np.array(encoder.pooler.kernel) + np.array(encoder.pooler.bias))
    np.testing.assert_allclose(outputs["pooled_output"], expected, atol=1e-5)
    model = TextClassifier(encoder, 2, pooling="first")
    np.testing.assert_allclose(
        model(batch(ROWS))["logits"], expected @ np.array(model.head.kernel) + np.array(model.head.bias), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
def test_saved_models_answer_the_same(kind, tmp_path):
    model = TextClassifier(TransformerEncoder(CONFIG), 3, kind=kind, pooling="first", dropout=0.3)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is TextClassifier
    assert loaded.get_config() == model.get_config()
    np.testing.assert_allclose(loaded(batch(ROWS))["logits"], model(batch(ROWS))["logits"], atol=1e-6)


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
def test_default_compile_learns_a_rule(kind):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    ids = rng.integers(4, 60, (256, 10)).astype("int32")
    has = np.stack([(ids == 5).any(1), (ids < 12).sum(1) > 1], axis=1)
    labels = {"single_label": has[:, 1].astype("int32"), "multi_label": has, "regression": has}[kind]
    inputs = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
    model = TextClassifier(TransformerEncoder(dataclasses.replace(CONFIG, dropout=0.0)), 2, kind=kind)
    model.default_compile(learning_rate=3e-3)
    labels = labels if kind == "single_label" else labels.astype("float32")
    model.fit(inputs, {"logits": labels}, epochs=15, batch_size=32, verbose=0)
    result = model.evaluate(inputs, {"logits": labels}, verbose=0, return_dict=True)
    if kind == "regression":
        assert result["rmse"] < 0.2
    else:
        assert result["accuracy"] > 0.95


def test_probabilities_by_hand():
    logits = [[0.0, np.log(3.0)]]
    np.testing.assert_allclose(probabilities(logits, "single_label"), [[0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(probabilities(logits, "multi_label"), [[0.5, 0.75]], atol=1e-6)
    np.testing.assert_allclose(probabilities(logits, "regression"), logits, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_close_to_float32(policy):
    full = TextClassifier(TransformerEncoder(CONFIG), 3)
    half = TextClassifier(TransformerEncoder(CONFIG, dtype=policy), 3)
    half.set_weights(full.get_weights())
    inputs = batch(ROWS)
    inputs["padding_mask"][1] = 0
    logits = half(inputs)["logits"]
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    np.testing.assert_allclose(logits, full(inputs)["logits"], atol=0.05)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dataclasses.replace(CONFIG, hidden_dim=33), "num_heads must divide hidden_dim"),
        (lambda: dataclasses.replace(CONFIG, position="rotary2"), "position.scheme must be one of"),
        (lambda: EncoderConfig.from_dict({"hiden_dim": 4}), "Did you mean 'hidden_dim'"),
        (lambda: TextClassifier(TransformerEncoder(CONFIG), 1), "single_label needs at least two outputs"),
        (lambda: TextClassifier(TransformerEncoder(CONFIG), 2, kind="multiclass"), "kind must be one of"),
        (lambda: TextClassifier(TransformerEncoder(CONFIG), 2, pooling="max"), "pooling must be one of"),
        (lambda: TransformerEncoder(CONFIG)(batch([[2] * 65])), "has 64 positions"),
    ],
)
def test_bad_configs_get_one_clear_message(build, message):
    with pytest.raises(ValueError, match=message):
        build()
