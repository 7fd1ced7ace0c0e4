import keras
import numpy as np
import pytest

from keras_transformer import models
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.optimizers import create, variable_depths
from tests.helpers import tiny_decoder_config, tiny_encoder


def _classifier(**options):
    config = EncoderConfig(
        vocabulary_size=30,
        hidden_dim=8,
        num_layers=3,
        max_length=16,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=16),
        **options,
    )
    return TextClassifier(TransformerEncoder(config), num_outputs=2, pooling="first")


@pytest.mark.parametrize(
    "options", [{"pooler": True}, {"residual": "pre_norm"}, {"position": "sincos"}], ids=lambda o: next(iter(o))
)
def test_every_variable_of_a_classifier_has_the_depth_of_its_layer(options):
    model = _classifier(**options)
    depths = variable_depths(model)
    assert set(depths) == {v.path for v in model.trainable_variables}
    assert len(depths) == len(model.trainable_variables)
    for path, depth in depths.items():
        first = path.split("/")[0]
        expected = {"embeddings": 0, "positions": 0, "block_0": 1, "block_1": 2, "block_2": 3}.get(first, 4)
        assert depth == expected, path
    assert {p.split("/")[0] for p, d in depths.items() if d == 4} >= {"head"}


def test_a_layer_learns_by_its_depth():
    model = _classifier()
    optimizer = create(model, 1e-2, 10, warmup_fraction=0, weight_decay=0.0, layer_decay=0.5, clip_norm=None)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    # A constant gradient moves every weight by the learning rate of its variable.
    optimizer.apply([keras.ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    for path, rate in {
        "embeddings/tokens/table": 1e-2 / 16,
        "block_0/attention/query/kernel": 1e-2 / 8,
        "block_2/feed_forward/output/bias": 1e-2 / 2,
        "head/kernel": 1e-2,
    }.items():
        after = next(v for v in model.trainable_variables if v.path == path).numpy()
        np.testing.assert_allclose(before[path] - after, rate, rtol=1e-3)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"Use layer_decay=1. Received: Sequential named 'plain'"):
        create(keras.Sequential([keras.layers.Dense(1)], name="plain"), 1e-3, 10, layer_decay=0.9)


@pytest.mark.parametrize("objective", ["masked", "replaced", "next token"])
def test_models_of_pretraining_have_the_depths_of_their_backbone(objective):
    model = {
        "masked": lambda: models.MaskedLanguageModel(tiny_encoder(), packed=False),
        "replaced": lambda: models.ReplacedTokenModel(tiny_encoder(), generator_fraction=0.5, packed=False),
        "next token": lambda: models.NextTokenModel(models.create(tiny_decoder_config()), packed=False),
    }[objective]()
    depths = variable_depths(model)
    assert set(depths) == {v.path for v in model.trainable_variables}
    for path, depth in depths.items():
        expected = {"embeddings": 0, "positions": 0, "block_0": 1, "block_1": 2}.get(path.split("/")[0], 3)
        assert depth == expected, path
    assert set(depths.values()) == ({0, 1, 2, 3} if objective != "next token" else {0, 1, 2})
    assert create(model, 1e-3, 10, layer_decay=0.5).depths == depths
