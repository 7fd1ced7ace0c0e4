"""Frozen layers and adapters: what is trained, what a layer computes, and what is left in a saved model."""

import keras
import numpy as np
import pytest

from keras_transformer import models
from keras_transformer.layers import Dense
from keras_transformer.models import enable_lora, freeze, without_adapters
from tests.helpers import text_inputs, tiny_classifier, tiny_decoder_config, tiny_encoder


def trained(model):
    return {v.path for v in model.trainable_variables}


def give_adapters(model, rank=3):
    """Adapters that change the output: they begin at zero."""
    enable_lora(model, rank)
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if variable.path.endswith("lora_kernel_b"):
            variable.assign(random.normal(size=variable.shape))


def test_frozen_are_the_embeddings_the_positions_and_the_lowest_blocks():
    model = tiny_classifier()
    everything = trained(model)
    freeze(model, 0)
    assert {path.split("/")[0] for path in everything - trained(model)} == {"embeddings", "positions"}
    freeze(model, 1)
    assert {path.split("/")[0] for path in everything - trained(model)} == {"embeddings", "positions", "block_0"}


def test_an_adapted_layer_equals_numpy():
    layer, random = Dense(5, activation="relu"), np.random.default_rng(0)
    x = random.normal(size=(2, 3, 8)).astype("float32")
    layer(x)
    layer.enable_lora(2)
    for variable in layer.variables:
        variable.assign(random.normal(size=variable.shape))
    w, bias, a, b = (v.numpy().astype("float64") for v in (layer._kernel, layer.bias, *layer.variables[2:]))
    expected = np.maximum(x.astype("float64") @ (w + a @ b) + bias, 0)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_new_adapters_change_nothing_and_are_all_that_is_trained():
    model, inputs = tiny_classifier(), text_inputs()
    before, count = model(inputs)["logits"], model.count_params()
    paths = enable_lora(model, rank=3)
    np.testing.assert_array_equal(model(inputs)["logits"], before)
    blocks, width = len(model.encoder.blocks), model.encoder.config.hidden_dim
    assert len(paths) == 4 * blocks
    assert model.count_params() - count == blocks * 4 * 3 * 2 * width
    assert {path.rpartition("/")[2] for path in trained(model) if path.startswith("block")} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    assert {path.split("/")[0] for path in trained(model)} <= {"block_0", "block_1", "pooler", "head"}


def test_frozen_blocks_get_no_adapter():
    model = tiny_classifier()
    freeze(model, 1)
    assert all(path.startswith("block_1/") for path in enable_lora(model, rank=2))


def test_a_model_without_adapters_computes_the_same_and_is_plain():
    model, inputs = tiny_classifier(), text_inputs()
    plain_paths, before = [w.path for w in model.weights], model(inputs)["logits"]
    give_adapters(model)
    adapted = model(inputs)["logits"]
    assert np.abs(adapted - before).max() > 1e-2
    plain = without_adapters(model)
    assert [w.path for w in plain.weights] == plain_paths
    assert len(plain.trainable_weights) == len(plain_paths)
    np.testing.assert_allclose(plain(inputs)["logits"], adapted, rtol=1e-5, atol=1e-6)


def test_a_saved_model_loads_as_a_plain_one(tmp_path):
    model, inputs = tiny_classifier(), text_inputs()
    plain_paths = [w.path for w in model.weights]
    freeze(model, 1)
    give_adapters(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [w.path for w in loaded.weights] == plain_paths
    assert len(loaded.trainable_weights) == len(plain_paths), "nothing stays frozen"
    np.testing.assert_allclose(loaded(inputs)["logits"], model(inputs)["logits"], rtol=1e-5, atol=1e-6)


def test_the_kernel_of_a_seed_is_that_of_a_layer_of_keras():
    keras.utils.set_random_seed(1)
    ours = Dense(4)
    ours.build((None, 8))
    keras.utils.set_random_seed(1)
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    np.testing.assert_array_equal(ours.kernel, initializer((8, 4)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: freeze(model, 3), "from 0 to 2, the blocks of the model. Received: 3"),
        (lambda model: freeze(model, -1), "Received: -1"),
        (lambda model: freeze(model, True), "Received: True"),
        (lambda model: freeze(keras.Sequential(name="mine"), 1), "a list `blocks`. Received: Sequential named 'mine'"),
        (lambda model: enable_lora(model, 0), "rank must be an integer from 1 to "),
        (lambda model: enable_lora(model, 1000), "below the width of the encoder. Received: 1000"),
        (lambda model: [enable_lora(model, 1) for _ in range(2)], "has adapters already"),
    ],
    ids=["too many", "negative", "bool", "no blocks", "rank 0", "rank too large", "twice"],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(tiny_classifier())


PRETRAINING = {
    "masked": lambda: models.MaskedLanguageModel(tiny_encoder(), packed=False),
    "replaced": lambda: models.ReplacedTokenModel(tiny_encoder(), generator_fraction=0.5, packed=False),
    "contrastive": lambda: models.ContrastiveModel(tiny_encoder()),
    "next token": lambda: models.NextTokenModel(models.create(tiny_decoder_config()), packed=False),
}


@pytest.mark.parametrize("name", PRETRAINING)
def test_models_of_pretraining_are_adapted_by_their_backbone(name):
    model = PRETRAINING[name]()
    above = trained(model) - trained(model.backbone)
    freeze(model, 1)
    frozen = {path for path in trained(model.backbone) if path.startswith(("embeddings", "positions", "block_0"))}
    assert not frozen
    assert above <= trained(model), "what lies above the backbone, or beside it, is trained"
    paths = enable_lora(model, rank=2)
    assert len(paths) == 4
    assert all(path.startswith("block_1/attention/") for path in paths)
    kinds = {path.rpartition("/")[2] for path in trained(model.backbone)}
    assert kinds == {"lora_kernel_a", "lora_kernel_b"}
    plain = without_adapters(model.backbone)
    assert type(plain) is type(model.backbone)
    assert not any("lora" in weight.path for weight in plain.weights)
