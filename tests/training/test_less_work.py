"""Frozen layers, adapters and averaged weights while a model trains: less work, the right weights, and resuming."""

import json
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transformer
from keras_transformer import losses, models, optimizers
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.training import DistributedModel, RunFolder
from tests.training.fits import check_resumed, make_fit, result
from tests.training.test_distributed import _data, _dataset, _distributed, _linear
from tests.training.test_train_main import TINY, command, in_process, one_line, same_result, write_reviews

BLOCKS = 3


def make_model(frozen=None, rank=None, dropout=0.1):
    keras.utils.set_random_seed(0)
    config = EncoderConfig(
        vocabulary_size=30,
        hidden_dim=16,
        num_layers=BLOCKS,
        max_length=12,
        dropout=dropout,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=32),
    )
    model = TextClassifier(TransformerEncoder(config), 2, dropout=dropout)
    if frozen is not None:
        models.freeze(model, frozen)
    if rank is not None:
        models.enable_lora(model, rank)
    distributed = DistributedModel(model, examples_per_step=8)
    distributed.compile(
        optimizers.create(model, 1e-2, 20, layer_decay=0.8, clip_norm=1.0), losses.for_kind("single_label")
    )
    return distributed


def batch(seed=0, size=8):
    ids = np.random.default_rng(seed).integers(1, 30, (size, 12)).astype("int32")
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": 0 * ids + 1}
    return inputs, (ids[:, 0] % 2).astype("int32"), np.ones(size, "float32")


def products(distributed):
    """Number of matrix products in the graph of a step's gradients, before anything is pruned from it."""
    graph = tf.function(lambda data: distributed._gradients(data)[0], autograph=False).get_concrete_function(batch())
    definition = graph.graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    return sum(node.op in ("MatMul", "BatchMatMulV2") for node in nodes)


# Forward: q, k, v, output, two of the feed-forward layer, and two of the attention, in each block; and the head.
FORWARD = BLOCKS * 8 + 1


def test_everything_trained_has_two_products_backwards_for_each_forwards():
    assert products(make_model()) == FORWARD + 2 * FORWARD


@pytest.mark.parametrize("frozen", range(BLOCKS))
def test_no_gradient_is_computed_below_the_first_block_that_is_trained(frozen):
    # That block needs no gradient of what it reads: three products less, those of q, k and v.
    assert products(make_model(frozen)) == FORWARD + 2 * ((BLOCKS - frozen) * 8 + 1) - 3


def test_with_all_blocks_frozen_only_the_head_has_a_gradient():
    assert products(make_model(BLOCKS)) == FORWARD + 1


def test_adapters_need_no_gradient_of_the_other_kernels():
    adapters = BLOCKS * 4  # each is one more product, a @ b
    feed_forward = BLOCKS * 2  # whose kernels have no gradient, as the input of the lowest q, k and v has none
    assert products(make_model(rank=2)) == FORWARD + adapters + 2 * (FORWARD + adapters) - feed_forward - 3


@pytest.mark.parametrize(
    ("frozen", "rank", "expected"),
    [(1, None, {"block_1", "block_2", "head"}), (None, 2, {"lora", "head"}), (2, 2, {"lora", "head"})],
)
def test_what_is_not_trained_stays_as_it_is_to_the_bit(frozen, rank, expected):
    distributed = make_model(frozen, rank)
    model = distributed.model
    before = {v.path: v.numpy() for v in model.weights}
    parts = [batch(seed) for seed in range(6)]
    distributed.fit(_batches(parts), epochs=2, verbose=0, shuffle=False)
    moved = {v.path for v in model.weights if not np.array_equal(v.numpy(), before[v.path])}
    assert moved == {v.path for v in model.trainable_variables}
    assert {"lora" if "lora" in path else path.split("/")[0] for path in moved} == expected


def _batches(parts):
    ids = {name: tf.TensorSpec((None, None), tf.int32) for name in parts[0][0]}
    spec = (ids, tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32))
    return tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec)


def test_a_block_above_frozen_ones_learns_as_if_all_were_trained():
    """The gradient of what is trained does not change, without clipping and decay."""
    found = []
    for frozen in (None, 2):
        distributed = make_model(frozen, dropout=0.0)
        gradients = tf.function(lambda data, d=distributed: d._gradients(data)[0], autograph=False)(batch())
        paths = [v.path for v in distributed.trainable_variables]
        found.append(dict(zip(paths, gradients, strict=True)))
    assert set(found[1]) < set(found[0])
    for path, gradient in found[1].items():
        np.testing.assert_allclose(gradient, found[0][path], rtol=1e-5, atol=1e-8, err_msg=path)


@pytest.mark.parametrize("together", [1, 2])
def test_averages_equal_a_float64_reference(together):
    model, decay = _linear(), 0.7
    optimizer = optimizers.AdamW(0.1, ema_decay=decay)
    distributed = _distributed(model, optimizer=optimizer, accumulation_steps=together)
    visited = []
    for seed in range(7):
        parts = [_data(10 * seed + i) for i in range(together)]
        distributed.fit(_dataset(*parts), verbose=0, shuffle=False)
        visited.append([w.astype("float64") for w in model.get_weights()])
        shares = decay ** np.arange(len(visited))[::-1]
        expected = [np.tensordot(shares / shares.sum(), np.stack(w), 1) for w in zip(*visited, strict=True)]
        with optimizer.averaged():
            for found, reference in zip(model.get_weights(), expected, strict=True):
                np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-7)
        for found, reference in zip(model.get_weights(), visited[-1], strict=True):
            np.testing.assert_array_equal(found, reference.astype("float32"), err_msg="put back")
    optimizer.use_averages()
    np.testing.assert_allclose(model.get_weights()[0], expected[0], rtol=1e-5, atol=1e-7)


def test_averages_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"ema_decay must be in \(0, 1\), or None. Received: 1"):
        optimizers.AdamW(ema_decay=1)
    with pytest.raises(ValueError, match="make the optimizer with ema_decay"):
        optimizers.AdamW().use_averages()


def test_the_averages_are_judged_and_kept(tmp_path):
    """Also by a second process that finds the training finished."""
    judged, settings = [], {"epochs": 3, "ema_decay": 0.8, "patience": None}

    def fit_of(scores):
        fit = make_fit(tmp_path, **settings)
        scores = iter(scores)

        def validate():
            judged.append([w.copy() for w in fit.model.model.get_weights()])
            return result(next(scores))

        fit.validate = validate
        return fit

    fit = fit_of([0.6, 0.9, 0.7])
    fit.run()
    best = fit.store.load(fit.state.best_step).tensors
    last = [tensor for name, tensor in best.items() if name.startswith("model/") and tensor.dtype == np.float32]
    for place, kept in enumerate(fit.model.model.get_weights()):
        np.testing.assert_array_equal(kept, judged[1][place])
        assert not np.array_equal(kept, last[place]), "a checkpoint goes on with the weights themselves"
    again = fit_of([])
    again.run()
    for first, second in zip(fit.model.model.get_weights(), again.model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


STAGES = [(4, 0.3), (6, 0.55)]


def shapes_of(fit):
    """Lengths of the batches that the model was given."""
    seen, own = [], fit.batches.dataset

    def dataset(epoch, start, end):
        return own(epoch, start, end).map(lambda inputs, *rest: (_note(seen, inputs), *rest))

    fit.batches.dataset = dataset
    return seen


def _note(seen, inputs):
    note = tf.py_function(lambda x: seen.append(x.shape[1]), [inputs["token_ids"]], [])
    with tf.control_dependencies([note] if note is not None else []):
        return {name: tf.identity(value) for name, value in inputs.items()}


def test_the_loop_takes_short_texts_first(tmp_path):
    fit = make_fit(tmp_path, stages=STAGES, patience=None)
    per_epoch = fit.batches.plan.steps_per_epoch
    seen = shapes_of(fit)
    fit.run()
    limits = [fit.batches.curriculum.length(step) or 12 for step in range(2 * per_epoch)]
    buckets = [fit.batches.plan.batch(*divmod(step, per_epoch))[0] for step in range(2 * per_epoch)]
    assert seen == [min(limit, bucket) for limit, bucket in zip(limits, buckets, strict=True)]
    assert len(set(limits)) == 3


@pytest.mark.parametrize("at", [1, 3, 5])
def test_averages_and_stages_go_on_after_a_kill(at, tmp_path):
    options = {"stages": STAGES, "ema_decay": 0.8, "patience": None, "checkpoint_steps": 1, "validations_per_epoch": 2}
    done = check_resumed(tmp_path, at, **options)
    assert any("average" in name for name in done.fit.store.load_latest().tensors)


EVERYTHING = [
    *TINY,
    "--num_layers=2",
    "--set=train.accumulation_steps=3",
    "--set=train.ema_decay=0.7",
    "--set=train.frozen_layers=1",
    "--set=train.lora_rank=4",
    "--set=train.length_curriculum=6:0.2,12:0.6",
    "--set=export.formats=",
    "--deterministic",
]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("data") / "reviews.csv")


@pytest.fixture(scope="module")
def finished(reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    process = command(*EVERYTHING, f"--data={reviews}", f"--run_dir={folder}")
    assert process.returncode == 0, process.stderr
    return folder, process


@pytest.mark.slow
def test_one_command_takes_them_all_and_leaves_a_plain_model(finished):
    folder, process = finished
    # 4 projections of 16 by 16 with adapters of rank 4 in the upper block, and the head.
    assert f"of which {4 * 2 * 16 * 4 + 16 * 2 + 2} are trained" in process.stderr
    assert "8 steps an epoch, 24 in all, in 9 updates" in process.stderr
    loaded = keras_transformer.load(folder / "model").model
    assert not any("lora" in w.path for w in loaded.weights)
    assert len(loaded.trainable_weights) == len(loaded.weights)
    last = RunFolder(folder).checkpoints.load_latest()
    trained = json.loads((folder / "run.json").read_text())["training"]
    assert (trained["steps"], last.step) == (24, 24)
    base = {n: t for n, t in last.tensors.items() if n.startswith("model/") and n.endswith("/kernel")}
    assert len(base) == 2 * 6 + 1
    saved = [w.numpy() for w in loaded.weights if w.path.endswith("/kernel")]
    same = [np.array_equal(a, b) for a, b in zip(base.values(), saved, strict=True)]
    # Of the upper block the four projections are merged, and the head is an average.
    assert same == [True] * 6 + [False] * 4 + [True] * 2 + [False]


@pytest.mark.slow
def test_killed_with_all_of_them_a_run_ends_with_the_same_weights(reviews, finished, tmp_path):
    arguments = [*EVERYTHING, f"--data={reviews}", f"--run_dir={tmp_path / 'run'}", "--checkpoint_steps=1"]
    for point in ("step:5", "checkpoint:14"):
        process = command(*arguments, kill_at=point)
        assert process.returncode == -signal.SIGKILL, process.stderr
    process = command(*arguments)
    assert process.returncode == 0, process.stderr
    assert "going on from the checkpoint of step 11 of 24" in process.stderr
    assert same_result(tmp_path / "run", finished)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("frozen_layers=3", "train.frozen_layers must be at most 2"),
        ("lora_rank=16", "train.lora_rank must be at most 15"),
    ],
)
def test_more_than_the_model_has_is_one_line(setting, message, reviews, tmp_path, capfd):
    arguments = [*TINY, "--num_layers=2", f"--data={reviews}", f"--run_dir={tmp_path / 'x'}"]
    assert in_process(*arguments, f"--set=train.{setting}") == 1
    one_line(capfd, message)
