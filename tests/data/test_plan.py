import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer.data import BatchPlan
from keras_transformer.data.randomness import permutation

BUCKETS = (8, 16, 32)
lengths_of_rows = st.lists(st.integers(1, 32), min_size=1, max_size=120)
plans = st.fixed_dictionaries(
    {"tokens_per_batch": st.integers(32, 200), "seed": st.integers(0, 2**40), "shuffle": st.booleans()}
)


def all_batches(plan, epoch):
    return [plan.batch(epoch, step) for step in range(plan.steps_per_epoch)]


@settings(deadline=None, database=None)
@given(lengths_of_rows, plans, st.integers(0, 5))
def test_every_row_comes_exactly_once_per_epoch(lengths, options, epoch):
    plan = BatchPlan(lengths, BUCKETS, **options)
    rows = np.concatenate([rows for _, rows in all_batches(plan, epoch)])
    assert sorted(rows.tolist()) == list(range(len(lengths)))


@settings(deadline=None, database=None)
@given(lengths_of_rows, plans, st.integers(0, 5))
def test_batches_keep_the_budget_and_only_one_per_bucket_is_short(lengths, options, epoch):
    plan = BatchPlan(lengths, BUCKETS, **options)
    short = dict.fromkeys(BUCKETS, 0)
    for bucket, rows in all_batches(plan, epoch):
        size = options["tokens_per_batch"] // bucket
        assert 1 <= len(rows) <= size
        assert len(rows) * bucket <= options["tokens_per_batch"]
        # The smallest bucket that is not shorter.
        assert all(bucket == min(length for length in BUCKETS if length >= lengths[row]) for row in rows)
        short[bucket] += len(rows) < size
    assert max(short.values()) <= 1


@settings(deadline=None, database=None)
@given(lengths_of_rows, plans, st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_batch_depends_on_nothing_but_its_arguments(lengths, options, epoch, random):
    asked_in_order = all_batches(BatchPlan(lengths, BUCKETS, **options), epoch)
    other = BatchPlan(lengths, BUCKETS, **options)
    steps = list(range(other.steps_per_epoch))
    random.shuffle(steps)
    for step in steps:
        other.batch(random.randrange(6), 0)  # Whatever was asked before must not matter.
        bucket, rows = other.batch(epoch, step)
        assert bucket == asked_in_order[step][0]
        np.testing.assert_array_equal(rows, asked_in_order[step][1])


@settings(deadline=None, database=None)
@given(lengths_of_rows, plans, st.integers(0, 400))
def test_a_resumed_run_sees_the_steps_that_were_left(lengths, options, finished):
    plan = BatchPlan(lengths, BUCKETS, **options)
    whole = [batch for epoch in range(2) for batch in all_batches(plan, epoch)]
    finished = min(finished, len(whole) - 1)
    epoch, step = BatchPlan(lengths, BUCKETS, **options).locate(finished)
    bucket, rows = plan.batch(epoch, step)
    assert bucket == whole[finished][0]
    np.testing.assert_array_equal(rows, whole[finished][1])


@settings(deadline=None, database=None)
@given(lengths_of_rows, plans)
def test_dropping_the_remainder_leaves_only_full_batches(lengths, options):
    sizes = {bucket: options["tokens_per_batch"] // bucket for bucket in BUCKETS}
    counts = {bucket: 0 for bucket in BUCKETS}
    for length in lengths:
        counts[min(bucket for bucket in BUCKETS if bucket >= length)] += 1
    expected = {bucket: counts[bucket] // sizes[bucket] for bucket in BUCKETS}
    if not sum(expected.values()):
        with pytest.raises(ValueError, match="No bucket fills a batch"):
            BatchPlan(lengths, BUCKETS, drop_remainder=True, **options)
        return
    plan = BatchPlan(lengths, BUCKETS, drop_remainder=True, **options)
    batches = all_batches(plan, 0)
    assert plan.steps_per_epoch == len(batches) == sum(expected.values())
    assert all(len(rows) == sizes[bucket] for bucket, rows in batches)


def test_epochs_and_seeds_differ_and_an_unshuffled_plan_does_not():
    lengths = np.full(200, 5)
    orders = {
        (seed, epoch): tuple(np.concatenate([rows for _, rows in all_batches(BatchPlan(lengths, seed=seed), epoch)]))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    plain = BatchPlan(lengths, shuffle=False)
    for epoch in (0, 1):
        assert np.concatenate([rows for _, rows in all_batches(plain, epoch)]).tolist() == list(range(200))


def test_rows_meet_other_rows_in_every_epoch():
    plan = BatchPlan(np.full(640, 5), tokens_per_batch=64 * 8)
    together = [{frozenset(rows.tolist()) for _, rows in all_batches(plan, epoch)} for epoch in range(3)]
    assert not together[0] & together[1]
    assert not together[1] & together[2]


def test_the_order_of_batches_is_random_over_buckets():
    lengths = np.concatenate([np.full(400, 8), np.full(400, 32)])
    plan = BatchPlan(lengths, BUCKETS, tokens_per_batch=64, seed=3)
    buckets = np.array([bucket for bucket, _ in all_batches(plan, 0)])
    # 50 short and 200 long batches: a random order has a short batch in every quarter of the epoch.
    places = np.flatnonzero(buckets == 8)
    assert set(places * 4 // len(buckets)) == {0, 1, 2, 3}


def test_batches_cost_about_the_same_on_the_lengths_of_reviews():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5.5, 0.6, 5000).astype(int), 8, 512)
    plan = BatchPlan(lengths, tokens_per_batch=8192)
    full = [bucket * len(rows) for bucket, rows in all_batches(plan, 0) if len(rows) == 8192 // bucket]
    assert len(full) > 0.9 * plan.steps_per_epoch
    assert min(full) > 0.95 * 8192
    padding = 1 - lengths.sum() / sum(bucket * len(rows) for bucket, rows in all_batches(plan, 0))
    assert padding < 0.15


def test_the_permutation_is_uniform_enough_and_fixed_for_ever():
    # Written down once: another value would silently change every run.
    assert permutation(10, 0, 1).tolist() == FIXED
    counts = np.zeros((6, 6))
    for seed in range(3000):
        counts[np.arange(6), permutation(6, seed)] += 1
    chi_squared = ((counts - 500) ** 2 / 500).sum()
    assert chi_squared < 50  # 25 degrees of freedom: 0.2 % of fair permutations exceed it.


FIXED = [9, 4, 1, 7, 5, 8, 0, 6, 3, 2]


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ([], {}, "at least one row"),
        ([[3]], {}, "one per row"),
        ([3.5], {}, "whole numbers"),
        ([3, 0], {}, "row 1 without any"),
        ([600], {}, "longer than 512 tokens.*row 0 of 600 tokens"),
        ([5], {"bucket_lengths": (16, 8)}, "must ascend"),
        ([5], {"bucket_lengths": ()}, "positive whole numbers"),
        ([5], {"bucket_lengths": (0, 8)}, "positive whole numbers"),
        ([200], {"tokens_per_batch": 100}, "at least 224"),
    ],
)
def test_bad_plans_are_refused(lengths, options, message):
    with pytest.raises(ValueError, match=message):
        BatchPlan(lengths, **options)


@pytest.mark.parametrize(("epoch", "step"), [(-1, 0), (0, -1), (0, 1)])
def test_steps_out_of_range_are_refused(epoch, step):
    with pytest.raises(ValueError, match="Received"):
        BatchPlan([5, 6]).batch(epoch, step)
    with pytest.raises(ValueError, match="Received: -1"):
        BatchPlan([5, 6]).locate(-1)
