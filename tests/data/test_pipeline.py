import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_transformer import data
from keras_transformer.data.weights import row_weights


def random_rows(number=40, longest=30, seed=0, windows=False):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, number)
    example_ids = np.sort(rng.integers(0, number // 2, number)) if windows else np.arange(number)
    _, example_ids = np.unique(example_ids, return_inverse=True)
    return data.TokenRows(rng.integers(1, 1000, lengths.sum()), np.cumsum([0, *lengths]), example_ids)


def expected_batch(rows, labels, weights, plan, epoch, step, pad_id=0):
    """The batch by a loop over rows."""
    length, chosen = plan.batch(epoch, step)
    token_ids = np.full((len(chosen), length), pad_id, np.int32)
    mask = np.zeros((len(chosen), length), np.int32)
    for place, row in enumerate(chosen):
        token_ids[place, : len(rows.row(row))] = rows.row(row)
        mask[place, : len(rows.row(row))] = 1
    of_text = rows.example_ids[chosen]
    return token_ids, mask, labels[of_text], weights[of_text]


@pytest.mark.parametrize("pad_id", [0, 7])
def test_batches_hold_what_the_plan_says(pad_id):
    rows = random_rows()
    labels = np.arange(len(rows)) % 3
    weights = np.linspace(0.5, 1.5, len(rows))  # Their mean is one already.
    plan = data.BatchPlan(rows.lengths, (8, 16, 32), tokens_per_batch=96, seed=2)
    dataset = data.make_dataset(rows, labels, weights, plan, epoch=1, pad_id=pad_id)
    steps = 0
    for step, (inputs, given_labels, given_weights) in enumerate(dataset):
        token_ids, mask, expected_labels, expected_weights = expected_batch(
            rows, labels, weights, plan, 1, step, pad_id
        )
        np.testing.assert_array_equal(inputs["token_ids"], token_ids)
        np.testing.assert_array_equal(inputs["padding_mask"], mask)
        np.testing.assert_array_equal(inputs["segment_ids"], np.zeros_like(mask))
        np.testing.assert_array_equal(given_labels, expected_labels)
        np.testing.assert_allclose(given_weights, expected_weights, rtol=1e-6)
        steps += 1
    assert steps == plan.steps_per_epoch


def test_the_element_spec_leaves_batch_and_length_open():
    rows = random_rows()
    plan = data.BatchPlan(rows.lengths, (32,), tokens_per_batch=96)
    inputs, labels, weights = data.make_dataset(rows, np.zeros(len(rows), int), None, plan).element_spec
    for name in ("token_ids", "segment_ids", "padding_mask"):
        assert inputs[name] == tf.TensorSpec((None, None), tf.int32)
    assert labels == tf.TensorSpec((None,), tf.int32)
    assert weights == tf.TensorSpec((None,), tf.float32)
    rows_of_labels = data.make_dataset(rows, np.zeros((len(rows), 3)), None, plan).element_spec[1]
    assert rows_of_labels == tf.TensorSpec((None, 3), tf.float32)


def test_a_resumed_dataset_goes_on_where_the_first_stopped():
    rows = random_rows(60)
    plan = data.BatchPlan(rows.lengths, (8, 16, 32), tokens_per_batch=64, seed=5)
    labels = np.arange(len(rows))
    whole = [batch[1].numpy().tolist() for batch in data.make_dataset(rows, labels, None, plan, 0, num_epochs=3)]
    assert len(whole) == 3 * plan.steps_per_epoch
    for finished in (0, 3, plan.steps_per_epoch, 2 * plan.steps_per_epoch - 1):
        epoch, step = plan.locate(finished)
        rest = data.make_dataset(rows, labels, None, plan, epoch, step, num_epochs=3 - epoch)
        assert [batch[1].numpy().tolist() for batch in rest] == whole[finished:]
    assert not list(data.make_dataset(rows, labels, None, plan, 0, plan.steps_per_epoch))


def test_windows_share_the_label_and_the_weight_of_their_text():
    rows = random_rows(40, windows=True)
    texts = rows.num_examples
    assert texts < len(rows)
    labels, weights = np.arange(texts), np.linspace(1, 3, texts)
    plan = data.BatchPlan(rows.lengths, (32,), tokens_per_batch=128)
    total, count = np.zeros(texts), 0
    for _, batch_labels, batch_weights in data.make_dataset(rows, labels, weights, plan):
        np.add.at(total, batch_labels.numpy(), batch_weights.numpy())
        count += len(batch_labels)
    # A text weighs the same however many windows it has; the mean over rows is one.
    np.testing.assert_allclose(total / total.sum(), weights / weights.sum(), rtol=1e-5)
    assert total.sum() == pytest.approx(count, rel=1e-5)
    # Labels and weights that were shared out before give the same batches.
    per_row = data.make_dataset(rows, labels[rows.example_ids], row_weights(rows, weights), plan)
    for first, second in zip(data.make_dataset(rows, labels, weights, plan), per_row, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, first, second)


def test_predictions_come_back_in_the_order_of_the_texts():
    for windows in (False, True):
        rows = random_rows(50, windows=windows)
        sizes = []

        def predict(batches, sizes=sizes):
            outputs = []
            for inputs in batches:
                sizes.append(inputs["token_ids"].shape)
                mask = tf.cast(inputs["padding_mask"], tf.float32)
                values = tf.cast(inputs["token_ids"], tf.float32) * mask
                outputs.append(tf.stack([tf.reduce_sum(values, 1), tf.reduce_sum(mask, 1)], axis=1))
            return tf.concat(outputs, axis=0)

        outputs = data.predict_in_order(predict, rows, tokens_per_batch=100)
        per_row = np.array([[rows.row(i).sum(), len(rows.row(i))] for i in range(len(rows))], np.float64)
        expected = [per_row[rows.example_ids == text].mean(axis=0) for text in range(rows.num_examples)]
        np.testing.assert_allclose(outputs, expected, rtol=1e-6)
        assert all(batch * length <= 100 for batch, length in sizes)
        assert [length for _, length in sizes] == sorted((length for _, length in sizes), reverse=True)


def test_the_order_of_an_evaluation_is_a_permutation():
    rows = random_rows(33)
    dataset, order = data.make_eval_dataset(rows, tokens_per_batch=64)
    assert sorted(order.tolist()) == list(range(33))
    lengths = np.concatenate([inputs["padding_mask"].numpy().sum(1) for inputs in dataset])
    np.testing.assert_array_equal(lengths, rows.lengths[order])


def test_a_row_is_padded_no_further_than_the_longest():
    rows = data.TokenRows(np.arange(1, 16), np.array([0, 1, 4, 15]), np.arange(3))
    dataset, _ = data.make_eval_dataset(rows, tokens_per_batch=22)
    assert [inputs["token_ids"].shape for inputs in dataset] == [(2, 11), (1, 8)]

    def count(batches):
        return np.concatenate([inputs["padding_mask"].numpy().sum(1, keepdims=True) for inputs in batches])

    assert data.predict_in_order(count, rows, tokens_per_batch=5).tolist() == [[1], [3], [11]]


def test_no_autotuner_is_waited_for_at_the_end():
    rows = random_rows()
    plan = data.BatchPlan(rows.lengths, (8, 16, 32), tokens_per_batch=96)
    for dataset in (data.make_dataset(rows, np.zeros(len(rows)), None, plan), data.make_eval_dataset(rows)[0]):
        assert dataset.options().autotune.enabled is False


def test_sharding_is_off_and_order_deterministic():
    rows = random_rows()
    plan = data.BatchPlan(rows.lengths, (32,), tokens_per_batch=96)
    for dataset in (data.make_dataset(rows, np.zeros(len(rows), int), None, plan), data.make_eval_dataset(rows)[0]):
        options = dataset.options()
        assert options.experimental_distribute.auto_shard_policy == tf.data.experimental.AutoShardPolicy.OFF
        assert options.deterministic is True


TWO_REPLICAS = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_transformer import data
rng = np.random.default_rng(0)
lengths = rng.integers(1, 31, 61)
rows = data.TokenRows(rng.integers(1, 99, lengths.sum()), np.cumsum([0, *lengths]), np.arange(61))
plan = data.BatchPlan(lengths, (8, 16, 32), tokens_per_batch=100, seed=1)  # batches of 12, 6 and 3
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
dataset = data.make_dataset(rows, np.arange(61), None, plan)
odd = 0
steps = 0
for step, (inputs, labels, weights) in enumerate(strategy.experimental_distribute_dataset(dataset)):
    parts = strategy.experimental_local_results(labels)
    ids = strategy.experimental_local_results(inputs["token_ids"])
    length, chosen = plan.batch(0, step)
    assert np.concatenate([part.numpy() for part in parts]).tolist() == chosen.tolist(), (step, parts, chosen)
    assert all(part.shape[1] == length for part in ids if part.shape[0])
    assert len(parts) == 2 and len(parts[0]) - len(parts[1]) in (0, 1)
    odd += len(chosen) % 2
    steps += 1
assert steps == plan.steps_per_epoch and odd > 3
print("agreed on", steps, "steps")
"""


def test_every_distributed_step_is_one_batch_of_the_plan():
    # A process of its own: logical devices must be set before TensorFlow starts.
    result = subprocess.run([sys.executable, "-c", TWO_REPLICAS], capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "agreed on" in result.stdout


def test_fit_trains_on_it():
    import keras

    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    lengths = rng.integers(3, 12, 200)
    values = np.concatenate([rng.integers(5, 9, n) + 4 * y for n, y in zip(lengths, labels, strict=True)])
    rows = data.TokenRows(values, np.cumsum([0, *lengths]), np.arange(200))
    plan = data.BatchPlan(lengths, (4, 8, 16), tokens_per_batch=64)
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "padding_mask")
    }
    embedded = keras.layers.Embedding(20, 8)(inputs["token_ids"])
    mask = keras.ops.cast(inputs["padding_mask"], "float32")[:, :, None]
    pooled = keras.ops.sum(embedded * mask, axis=1) / keras.ops.sum(mask, axis=1)
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    model.compile(
        keras.optimizers.Adam(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
    )
    history = model.fit(
        data.make_dataset(rows, labels, None, plan, num_epochs=5),
        steps_per_epoch=plan.steps_per_epoch,
        epochs=5,
        verbose=0,
    )
    assert history.history["accuracy"][-1] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(3, int)}, "3 labels"),
        ({"weights": np.ones(3)}, "3 weights"),
        ({"weights": np.linspace(-1, 1, 40)}, "not negative"),
        ({"weights": np.full(40, np.nan)}, "finite"),
        ({"plan": data.BatchPlan([4, 5])}, "2 in the plan, 40 rows"),
        ({"start_step": -1}, "`start_step`"),
        ({"start_step": 1000}, "`start_step`"),
        ({"num_epochs": 0}, "`num_epochs`"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, message):
    rows = random_rows(40)
    arguments = {"labels": np.zeros(40, int), "weights": None, "plan": data.BatchPlan(rows.lengths)}
    with pytest.raises(ValueError, match=message):
        data.make_dataset(rows, **(arguments | change))


def test_evaluation_refuses_no_rows_and_a_small_budget():
    with pytest.raises(ValueError, match="at least one row"):
        data.make_eval_dataset(data.TokenRows(np.zeros(0), np.zeros(1), np.zeros(0)))
    with pytest.raises(ValueError, match="at least 30"):
        data.make_eval_dataset(data.TokenRows(np.ones(30), np.array([0, 30]), np.zeros(1)), tokens_per_batch=16)


def test_class_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_sample_weight

    labels = np.random.default_rng(0).choice(4, 300, p=[0.6, 0.3, 0.1, 0.0])
    np.testing.assert_allclose(
        data.example_weights(labels, "balanced", num_classes=4), compute_sample_weight("balanced", labels), rtol=1e-6
    )
    own = np.random.default_rng(1).uniform(0.5, 2, 300)
    weighted = data.example_weights(labels, {0: 3.0, 2: 0.5}, own)
    expected = compute_sample_weight({0: 3.0, 1: 1.0, 2: 0.5}, labels) * own
    np.testing.assert_allclose(weighted, expected / expected.mean(), rtol=1e-6)
    assert data.class_weights(labels, 4)[3] == 0
    np.testing.assert_allclose(data.example_weights(labels, [1, 1, 1]), np.ones(300))
    np.testing.assert_allclose(data.example_weights(np.zeros((5, 2)), weights=np.ones(5)), np.ones(5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weight": "heavy"}, "'balanced'"),
        ({"class_weight": {5: 1.0}}, "a weight for 5"),
        ({"class_weight": [1.0]}, "for each of 2 classes"),
        ({"class_weight": [0.0, 0.0]}, "not all zero"),
        ({"weights": [1.0]}, "one weight per text"),
    ],
)
def test_bad_weights_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        data.example_weights(np.array([0, 1, 1]), **options)
    with pytest.raises(ValueError, match="single_label"):
        data.example_weights(np.zeros((3, 2)), "balanced")


def test_row_weights_have_mean_one():
    rows = random_rows(40, windows=True)
    weights = row_weights(rows, np.linspace(1, 2, rows.num_examples))
    assert weights.mean() == pytest.approx(1)
