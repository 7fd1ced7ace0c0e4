"""Parameters and FLOPs of a plan against built models, TensorFlow's profiler and counts by hand."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import models, plan
from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.plan.stages import stages
from tests import helpers

GATED = FeedForwardConfig(24, "silu", gated=True, use_bias=False)
CONFIGS = {
    "encoder": helpers.tiny_config(),
    "encoder_with_pooler": helpers.tiny_config(pooler=True),
    "encoder_shared_blocks": helpers.tiny_config(share_blocks=True, num_layers=4, embedding_dim=8),
    "encoder_relative_keys": helpers.tiny_config(position="relative_keys"),
    "encoder_relative_bias": helpers.tiny_config(position="relative_bias", residual="pre_norm"),
    "decoder": helpers.tiny_decoder_config(),
    "decoder_untied": helpers.tiny_decoder_config(tie_embeddings=False, embedding_dim=8),
    "decoder_like_llama": helpers.tiny_decoder_config(
        position="rotary",
        residual="pre_norm",
        attention=AttentionConfig(4, dropout=0.0, num_key_value_heads=2, use_bias=False),
        feed_forward=GATED,
        norm=NormConfig(1e-5, "rms_norm"),
        tie_embeddings=False,
    ),
    "encoder_decoder": helpers.tiny_encoder_decoder_config(),
    "encoder_decoder_two_tables": helpers.tiny_encoder_decoder_config(share_embeddings=False, position="sincos"),
}
BATCH = plan.Batch(3, 6)


def build(config, pooling="mean"):
    model = models.create(config)
    if isinstance(config, models.EncoderConfig):
        return models.TextClassifier(model, num_outputs=5, pooling=pooling)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_built_model(name):
    parts = plan.by_part(CONFIGS[name], outputs=5)
    assert sum(parts.values()) == build(CONFIGS[name]).count_params()
    assert all(count >= 0 for count in parts.values())


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_of_the_blocks_are_theirs(name):
    model, config = build(CONFIGS[name]), CONFIGS[name]
    parts = plan.by_part(config, outputs=5)
    for kind in ("encoder", "decoder"):
        if f"{kind} blocks" in parts:
            owner = getattr(model, kind, model)
            blocks = {id(block): block for block in owner.blocks}.values()
            assert parts[f"{kind} blocks"] == sum(block.count_params() for block in blocks)


def profiled_products(model, config, batch):
    """FLOPs of the matrix products of a forward pass, as TensorFlow's profiler counts them in the graph."""
    shapes = {name: (batch.examples, batch.length) for name in model.input}

    @tf.function(autograph=False)
    def run(inputs):
        return model(inputs, training=False)["logits"]

    specs = {name: tf.TensorSpec(shape, tf.int32) for name, shape in shapes.items()}
    graph = run.get_concrete_function(specs).graph
    options = (
        tf.compat.v1.profiler.ProfileOptionBuilder(tf.compat.v1.profiler.ProfileOptionBuilder.float_operation())
        .with_accounted_types(["MatMul", "BatchMatMulV2", "BatchMatMul", "BatchMatMulV3"])
        .with_empty_output()
        .build()
    )
    return tf.compat.v1.profiler.profile(graph, cmd="op", options=options).total_float_ops


@pytest.mark.parametrize("name", CONFIGS)
def test_products_are_those_that_tensorflow_counts(name):
    config = CONFIGS[name]
    ours = sum(stage.times * stage.work.flops for stage in stages(config, BATCH, outputs=5))
    # The pooler stands in the graph, too, but nothing reads it here: TensorFlow prunes it before it runs.
    unread = 2 * BATCH.examples * config.hidden_dim**2 if getattr(config, "pooler", False) else 0
    assert ours == profiled_products(build(config), config, BATCH) - unread


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("encoder") and "decoder" not in name])
def test_where_the_head_reads_one_token_the_last_block_is_computed_for_that_one(name):
    config = CONFIGS[name]
    ours, all_tokens = (
        sum(stage.times * stage.work.flops for stage in stages(config, BATCH, outputs=5, pooling=pooling))
        for pooling in ("first", "mean")
    )
    assert ours == profiled_products(build(config, "first"), config, BATCH)
    assert ours < all_tokens


def test_flops_of_bert_base_by_hand():
    """2 for each weight and token, and 4 times length times width for the scores and their use; three times that to
    train."""
    batch, length = 4, 256
    weights = 12 * (4 * 768**2 + 2 * 768 * 3072)
    forward = 2 * batch * length * weights + 12 * 4 * batch * length * length * 768 + 2 * batch * 768 * 2
    machine = plan.Machine("card", 1e12, 1e12, 1e12)
    found = plan.training("bert-base", batch=batch, length=length, machine=machine, recompute=True).flops
    blocks = forward - 2 * batch * 768 * 2
    assert (found.forward, found.backward, found.recompute) == (forward, 2 * forward, blocks)


def test_products_grow_with_what_is_predicted():
    config = CONFIGS["encoder_decoder"]
    machine = plan.Machine("card", 1e12, 1e12, 1e12)
    short, long = (plan.training(config, batch=2, length=6, target_length=target, machine=machine) for target in (3, 6))
    logits = 2 * 2 * 3 * config.decoder.hidden_dim * config.decoder.vocabulary_size
    assert long.flops.forward - short.flops.forward > logits
    assert short.parameters == long.parameters


def test_a_model_that_trains_has_as_many_gradients():
    """The bytes of gradients in the plan are those of the gradients that TensorFlow gives."""
    config = CONFIGS["decoder"]
    model = models.create(config)
    ids = np.ones((2, 6), "int32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model({"token_ids": ids, "padding_mask": ids})["logits"])
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    size = sum(int(np.prod(g.dense_shape if isinstance(g, tf.IndexedSlices) else g.shape)) for g in gradients)
    machine = plan.Machine("card", 1e12, 1e12, 1e12)
    assert plan.training(config, batch=1, length=2, machine=machine).memory.weights == 4 * size
    assert keras.backend.backend() == "tensorflow"


def test_a_plan_for_every_preset():
    machine = plan.Machine("card", 30e12, 400e12, 2e12, memory=80 * 10**9)
    for name, config in models.presets.PRESETS.items():
        planned = plan.training(name, batch=2, length=64, machine=machine)
        head = 2 * (config.hidden_dim + 1) if isinstance(config, models.EncoderConfig) else 0
        assert planned.total_parameters == models.count_parameters(name) + head
        assert dataclasses.asdict(planned.time)["products"] > 0
