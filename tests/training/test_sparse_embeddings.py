"""A token table of which only the rows of a batch are updated: the weights that AdamW gives when it updates all."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import losses, optimizers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.training import DistributedModel, Recipe, lazy_tables

TOKENS = 400
STEPS = 60


def parts(count=STEPS):
    """Batches in which few tokens are frequent and most are rare."""
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, TOKENS + 1)
    for _ in range(count):
        ids = random.choice(TOKENS, (6, 10), p=shares / shares.sum()).astype("int32")
        yield {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": 0 * ids + 1}, ids[:, 0] % 2, np.ones(6, "f")


def dataset(batches):
    batches = list(batches)
    signature = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * x.ndim, x.dtype), batches[0])
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)


def build(sparse, **options):
    keras.utils.set_random_seed(0)
    config = EncoderConfig(
        vocabulary_size=TOKENS,
        hidden_dim=16,
        num_layers=1,
        max_length=12,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=16),
    )
    model = TextClassifier(TransformerEncoder(config), 2)
    distributed = DistributedModel(model, examples_per_step=6)
    settings = {"weight_decay": 0.5, "layer_decay": 0.8, "clip_norm": 0.5, "beta_2": 0.99} | options
    distributed.compile(
        optimizers.create(model, 1e-2, STEPS, sparse_embeddings=sparse, **settings), losses.for_kind("single_label")
    )
    return distributed


def table(distributed):
    return distributed.model.encoder.embeddings.tokens.table.numpy()


@pytest.mark.parametrize("options", [{}, {"clip_norm": None, "weight_decay": 0.0, "epsilon": 1e-3}], ids=str)
def test_every_row_ends_where_adamw_takes_it(options):
    whole, sparse = build(False, **options), build(True, **options)
    before = table(whole)
    for distributed in (whole, sparse):
        distributed.fit(dataset(parts()), verbose=0, shuffle=False)
    moved = np.abs(table(whole) - before)
    seen = np.unique(np.concatenate([part[0]["token_ids"].ravel() for part in parts()]))
    assert 100 < len(seen) < 380, "rows that are read often, seldom and never"
    assert moved[seen].max() > 0.05
    error = np.abs(table(sparse) - table(whole)).max()
    assert error < 1e-4 * moved.max(), error / moved.max()
    for one, other in zip(sparse.model.weights, whole.model.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * moved.max(), err_msg=one.path)
    if options.get("clip_norm", True):
        norms = [float(distributed.optimizer.gradient_norm) for distributed in (whole, sparse)]
        assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_a_momentum_that_is_cut_off_would_be_noticed():
    """What the missed updates are worth: many times what the comparison above lets pass."""
    whole, sparse = build(False), build(True)
    sparse.optimizer.lazy._groups = [slice(0, 1)]
    for distributed in (whole, sparse):
        distributed.fit(dataset(parts()), verbose=0, shuffle=False)
    assert np.abs(table(sparse) - table(whole)).max() > 1e-2 * np.abs(table(whole)).max()


def test_rows_that_no_batch_has_are_not_written_between_validations():
    sparse = build(True)
    before = table(sparse)
    batch = next(parts(1))
    sparse.train_step(batch)
    seen = np.unique(batch[0]["token_ids"])
    others = np.setdiff1d(np.arange(TOKENS), seen)
    np.testing.assert_array_equal(table(sparse)[others], before[others])
    assert np.abs(table(sparse) - before)[seen].min(1).max() > 0


def test_an_interrupted_training_goes_on_from_rows_that_are_behind():
    batches = list(parts(12))
    ends = []
    for stop in (None, 5):
        distributed = build(True)
        for step, batch in enumerate(batches):
            if step == stop:
                kept = [v.numpy() for v in (*distributed.model.variables, *distributed.optimizer.variables)]
                distributed = build(True)
                for v, value in zip(
                    (*distributed.model.variables, *distributed.optimizer.variables), kept, strict=True
                ):
                    v.assign(value)
            distributed.train_step(tf.nest.map_structure(tf.constant, batch))
        ends.append(table(distributed))
    np.testing.assert_array_equal(*ends)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="use either ema_decay or lazy_table"):
        build(True, ema_decay=0.9)
    distributed = build(True)
    with pytest.raises(ValueError, match="one replica and one batch an update"):
        distributed.compile(build(True).optimizer, losses.for_kind("single_label"), accumulation_steps=2)
    with pytest.raises(ValueError, match="replicas=2"):
        lazy_tables.check(distributed.optimizer, replicas=2, accumulation_steps=1)
    with pytest.raises(ValueError, match="must be the path of a trained variable"):
        optimizers.AdamW(lazy_table="nothing").build(distributed.model.trainable_variables)
    for setting in ("accumulation_steps=2", "ema_decay=0.9", "frozen_layers=0", "lora_rank=2"):
        with pytest.raises(ValueError, match=r"optimizer\.sparse_embeddings does not go with"):
            Recipe().override("optimizer.sparse_embeddings=true", f"train.{setting}")
