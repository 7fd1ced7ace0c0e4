"""Several tasks in one training: the shares that were asked for, no batch lost or repeated, and the same tail again."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer import data
from keras_transformer.data.mixing import make_mixed_dataset


def rows_of(number, longest=30, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, number)
    return data.TokenRows(rng.integers(1, 1000, lengths.sum()), np.cumsum([0, *lengths]), np.arange(number))


def plan_of(rows, seed=0, packed=False):
    if packed:
        return data.PackedPlan(rows.lengths, row_length=32, tokens_per_batch=64, seed=seed)
    return data.BatchPlan(rows.lengths, (8, 16, 32), tokens_per_batch=64, seed=seed)


def equal_plans(**sizes):
    """Plans of the given numbers of rows, four to a batch."""
    return {task: data.BatchPlan(np.full(n, 8), (8,), tokens_per_batch=32) for task, n in sizes.items()}


def three_tasks(packed=False):
    """Of different sizes, lengths and kinds of label."""
    sizes = {"topic": (40, 30), "tags": (23, 12), "stars": (9, 30)}
    rows = {task: rows_of(number, longest, seed) for seed, (task, (number, longest)) in enumerate(sizes.items())}
    rng = np.random.default_rng(0)
    labels = {
        "topic": rng.integers(0, 5, 40),
        "tags": rng.integers(0, 2, (23, 3)).astype("float32"),
        "stars": rng.normal(size=9).astype("float32"),
    }
    weights = {"topic": None, "tags": np.linspace(0.5, 1.5, 23), "stars": None}
    plans = {task: plan_of(rows[task], seed=3, packed=packed) for task in sizes}
    return {task: (rows[task], labels[task], weights[task]) for task in sizes}, plans


def arrays(batches):
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for batch in batches]


def assert_same(first, second):
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)


def rows_seen(mixture, epochs):
    """How many rows of each task come in so many epochs, by a loop."""
    seen = dict.fromkeys(mixture.tasks, 0)
    for epoch, step in itertools.product(range(epochs), range(mixture.steps_per_epoch)):
        task, _, chosen = mixture.batch(epoch, step)
        seen[task] += len(chosen)
    return np.array(list(seen.values()))


@pytest.mark.parametrize("temperature", [0.5, 1, 2, 5, float("inf")])
def test_rows_have_the_shares_of_their_temperature(temperature):
    _, plans = three_tasks()
    mixture = data.TaskMixture(plans, temperature)
    asked = np.array([40.0, 23.0, 9.0]) ** (1 / temperature)
    asked /= asked.sum()
    np.testing.assert_allclose(list(mixture.shares.values()), asked, rtol=1e-12)
    seen = rows_seen(mixture, epochs=40)
    np.testing.assert_allclose(seen / seen.sum(), asked, atol=0.006)


def test_shares_of_equal_batches_by_hand():
    mixture = data.TaskMixture(equal_plans(large=1600, small=100), temperature=2.0, steps_per_epoch=50)
    assert mixture.shares == pytest.approx({"large": 0.8, "small": 0.2})
    for epoch in range(5):
        assert np.bincount(mixture.schedule(epoch)[0]).tolist() == [40, 10]
    limited = data.TaskMixture(equal_plans(large=1600, small=100), limit=400, steps_per_epoch=50)
    assert limited.shares == pytest.approx({"large": 0.8, "small": 0.2})
    assert data.TaskMixture(equal_plans(large=1600, small=100)).steps_per_epoch == 400 + 25


def test_at_temperature_one_every_row_comes_equally_often():
    """Though batches of long texts have fewer rows."""
    rng = np.random.default_rng(0)
    lengths = {"long": rng.integers(20, 33, 60), "short": rng.integers(1, 9, 60)}
    plans = {task: data.BatchPlan(n, (8, 32), tokens_per_batch=64) for task, n in lengths.items()}
    assert plans["long"].steps_per_epoch > 3 * plans["short"].steps_per_epoch
    mixture = data.TaskMixture(plans)
    assert mixture.rows_per_batch == {task: 60 / plan.steps_per_epoch for task, plan in plans.items()}
    for epoch in range(3):
        counts = np.bincount(mixture.schedule(epoch)[0])
        assert counts.tolist() == [plan.steps_per_epoch for plan in plans.values()]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=5),
    st.floats(0.2, 20),
    st.integers(1, 60),
    st.integers(0, 2**31),
    st.one_of(st.none(), st.integers(1, 100)),
)
def test_every_task_goes_through_its_batches_one_after_the_other(sizes, temperature, steps, seed, limit):
    plans = equal_plans(**{f"task{i}": n for i, n in enumerate(sizes)})
    mixture = data.TaskMixture(plans, temperature, seed, steps, limit)
    done = np.zeros(len(sizes), int)
    share = np.array([n / plan.steps_per_epoch for n, plan in zip(sizes, plans.values(), strict=True)])
    share = np.array(list(mixture.shares.values())) / share
    share /= share.sum()
    for epoch in range(12):
        tasks, numbers = mixture.schedule(epoch)
        assert len(tasks) == len(numbers) == steps
        for task, number in zip(tasks, numbers, strict=True):
            assert number == done[task]
            done[task] += 1
        counts = np.bincount(tasks, minlength=len(sizes))
        assert (np.abs(counts - share * steps) < 1 + 1e-6).all(), "rounded up or down"
    # Rounding cancels out: a random rounding would be off by several steps after so many epochs.
    assert (np.abs(done - share * 12 * steps) < 3).all()


def test_every_row_of_a_task_comes_once_in_each_of_its_epochs():
    _, plans = three_tasks()
    mixture = data.TaskMixture(plans, temperature=3.0, seed=1)
    chosen = {task: [] for task in plans}
    for epoch, step in itertools.product(range(8), range(mixture.steps_per_epoch)):
        task, length, rows = mixture.batch(epoch, step)
        own_epoch, own_step = plans[task].locate(len(chosen[task]))
        expected = plans[task].batch(own_epoch, own_step)
        assert length == expected[0]
        np.testing.assert_array_equal(rows, expected[1])
        chosen[task].append(rows)
    for task, plan in plans.items():
        whole = len(chosen[task]) // plan.steps_per_epoch
        assert whole > 4
        for own_epoch in range(whole):
            here = chosen[task][own_epoch * plan.steps_per_epoch : (own_epoch + 1) * plan.steps_per_epoch]
            assert sorted(np.concatenate(here)) == list(range(plan.num_rows))


def test_the_schedule_depends_on_nothing_but_seed_and_epoch():
    plans = equal_plans(a=100, b=60)
    first = [data.TaskMixture(plans, seed=5).schedule(epoch) for epoch in (3, 0, 7)]
    other = data.TaskMixture(plans, seed=5)
    assert_same(first[2], other.schedule(7))
    assert_same(first[1], other.schedule(0))
    assert_same(first[0], other.schedule(3))
    assert not np.array_equal(first[0][0], first[1][0]), "another order in every epoch"
    assert not np.array_equal(first[0][0], data.TaskMixture(plans, seed=6).schedule(3)[0])
    assert other.locate(2 * other.steps_per_epoch + 1) == (2, 1)


@pytest.mark.parametrize("packed", [False, True])
def test_batches_are_those_of_their_task_and_the_others_are_zero(packed):
    tasks, plans = three_tasks(packed)
    mixture = data.TaskMixture(plans, temperature=2.0, seed=1)
    whole = {
        task: arrays(data.make_dataset(*tasks[task], plans[task], num_epochs=6, pad_id=7)) for task in mixture.tasks
    }
    done = dict.fromkeys(tasks, 0)
    for epoch in range(2):
        batches = arrays(make_mixed_dataset(tasks, mixture, epoch, pad_id=7))
        assert len(batches) == mixture.steps_per_epoch
        for index, (inputs, labels, weights) in zip(mixture.schedule(epoch)[0], batches, strict=True):
            task = mixture.tasks[index]
            expected = whole[task][done[task]]
            done[task] += 1
            assert_same((inputs, labels[task], weights[task]), expected)
            for other in set(tasks) - {task}:
                assert weights[other].shape == weights[task].shape
                assert not weights[other].any()
                assert labels[other].shape == (*weights[task].shape, *tasks[other][1].shape[1:])
                assert not labels[other].any()
    assert all(count > plans[task].steps_per_epoch for task, count in done.items()), "more than an epoch of each"


@pytest.mark.parametrize("packed", [False, True])
def test_structure_and_types_are_those_of_every_batch(packed):
    tasks, plans = three_tasks(packed)
    spec = make_mixed_dataset(tasks, data.TaskMixture(plans)).element_spec
    leading = (None, None) if packed else (None,)
    inputs, labels, weights = spec
    names = {"token_ids", "segment_ids", "padding_mask"} | ({"position_ids", "example_ids"} if packed else set())
    assert set(inputs) == names
    assert set(inputs.values()) == {tf.TensorSpec((None, None), tf.int32)}
    assert labels == {
        "topic": tf.TensorSpec(leading, tf.int32),
        "tags": tf.TensorSpec((*leading, 3), tf.float32),
        "stars": tf.TensorSpec(leading, tf.float32),
    }
    assert weights == dict.fromkeys(tasks, tf.TensorSpec(leading, tf.float32))
    for batch in make_mixed_dataset(tasks, data.TaskMixture(plans)):
        tf.nest.map_structure(lambda tensor, spec: tf.debugging.assert_type(tensor, spec.dtype), batch, spec)


@pytest.mark.parametrize("packed", [False, True])
def test_a_resumed_dataset_is_the_tail_of_the_unbroken_one(packed):
    tasks, plans = three_tasks(packed)
    mixture = data.TaskMixture(plans, temperature=2.0, seed=4)
    unbroken = arrays(make_mixed_dataset(tasks, mixture, 3))
    # Before the first step, within the epoch, at its last step, and after it.
    for start in (0, len(unbroken) // 2, len(unbroken) - 1, len(unbroken)):
        again = data.TaskMixture(plans, temperature=2.0, seed=4)
        resumed = arrays(make_mixed_dataset(tasks, again, 3, start))
        assert len(resumed) == len(unbroken) - start
        for first, second in zip(unbroken[start:], resumed, strict=True):
            assert_same(first, second)


def test_a_task_may_be_left_out_of_an_epoch():
    plans = equal_plans(large=4000, small=1)
    mixture = data.TaskMixture(plans, steps_per_epoch=5)
    tasks = {
        task: (data.TokenRows(np.ones(8 * n), 8 * np.arange(n + 1), np.arange(n)), np.ones(n, int), None)
        for task, n in (("large", 4000), ("small", 1))
    }
    assert set(mixture.schedule(0)[0]) == {0}
    assert [weights["large"].numpy().sum() for _, _, weights in make_mixed_dataset(tasks, mixture)] == [4.0] * 5


def test_order_is_deterministic_and_sharding_off():
    tasks, plans = three_tasks()
    options = make_mixed_dataset(tasks, data.TaskMixture(plans)).options()
    assert options.deterministic is True
    assert options.experimental_distribute.auto_shard_policy == tf.data.experimental.AutoShardPolicy.OFF


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plans": {}}, "no plan"),
        ({"plans": {"a": data.BatchPlan([4]), "b": data.PackedPlan([4])}}, "PackedPlan for b only, of a, b"),
        ({"temperature": 0}, "`temperature` must be above 0. Received: 0"),
        ({"temperature": float("nan")}, "Received: nan"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch`"),
        ({"limit": 0}, "`limit`"),
    ],
)
def test_wrong_mixtures_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        data.TaskMixture(**{"plans": equal_plans(a=10)} | change)


def test_what_does_not_fit_the_mixture_is_refused():
    tasks, plans = three_tasks()
    mixture = data.TaskMixture(plans)
    few = tasks | {"stars": (rows_of(3), np.zeros(3), None)}
    wrong_labels = tasks | {"stars": (tasks["stars"][0], np.zeros(3), None)}
    without = {task: parts for task, parts in tasks.items() if task != "tags"}
    for arguments, message in (
        ((without, mixture), "The tasks must be topic, tags, stars. Received: topic, stars"),
        ((few, mixture), "'stars' must be over its rows. Received: 9 in the plan, 3 rows"),
        ((wrong_labels, mixture), "3 labels"),
        ((tasks, mixture, 0, -1), "`start_step`"),
        ((tasks, mixture, 0, mixture.steps_per_epoch + 1), "`start_step`"),
        ((tasks, mixture, -1), "`epoch`"),
    ):
        with pytest.raises(ValueError, match=message):
            make_mixed_dataset(*arguments)
    with pytest.raises(ValueError, match="`step`"):
        mixture.batch(0, mixture.steps_per_epoch)
    with pytest.raises(ValueError, match="`global_step`"):
        mixture.locate(-1)
