"""Packed rows: every text once and whole, filled well, the same for the same seed, epoch and step."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transformer import data
from tests.data.test_pipeline import random_rows

LONGEST = 32
lengths_of_texts = st.lists(st.integers(1, LONGEST), min_size=1, max_size=150)
plans = st.fixed_dictionaries(
    {"tokens_per_batch": st.integers(LONGEST, 200), "seed": st.integers(0, 2**40), "shuffle": st.booleans()}
)


def packed_batches(plan, epoch):
    """Texts of each packed row of each batch, by a loop over the plan."""
    made = plan.epoch(epoch)
    for step in range(plan.steps_per_epoch):
        here = slice(made.splits[step], made.splits[step + 1])
        rows = [[] for _ in range(made.packed_sizes[step])]
        for text, row, slot, start in zip(
            made.rows[here], made.packed_rows[here], made.slots[here], made.starts[here], strict=True
        ):
            assert slot == len(rows[row])
            assert start == sum(plan.lengths[other] for other in rows[row])
            rows[row].append(text)
        yield rows


@settings(deadline=None, database=None)
@given(lengths_of_texts, plans, st.integers(0, 4))
def test_every_text_comes_once_and_whole(lengths, options, epoch):
    plan = data.PackedPlan(lengths, LONGEST, **options)
    batches = list(packed_batches(plan, epoch))
    assert len(batches) == plan.steps_per_epoch
    assert sorted(text for rows in batches for row in rows for text in row) == list(range(len(lengths)))
    assert all(1 <= sum(lengths[text] for text in row) <= LONGEST for rows in batches for row in rows)
    sizes = [len(rows) for rows in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= options["tokens_per_batch"] // LONGEST + (epoch > 0)
    for step, rows in enumerate(batches):
        length, texts = plan.batch(epoch, step)
        assert length == LONGEST
        assert texts.tolist() == [text for row in rows for text in row]


@settings(deadline=None, database=None)
@given(lengths_of_texts, plans, st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_batch_depends_on_nothing_but_its_arguments(lengths, options, epoch, random):
    expected = list(packed_batches(data.PackedPlan(lengths, LONGEST, **options), epoch))
    other = data.PackedPlan(lengths, LONGEST, **options)
    for _ in range(3):
        other.batch(random.randrange(6), 0)  # Whatever was asked before must not matter.
    assert list(packed_batches(other, epoch)) == expected


def test_no_two_rows_could_have_been_one():
    """Best fit leaves no two rows of a window that fit together; a plan that packs nothing fails here."""
    lengths = np.random.default_rng(0).integers(1, LONGEST + 1, 300)
    plan = data.PackedPlan(lengths, LONGEST, tokens_per_batch=128)
    sums = sorted(sum(lengths[text] for text in row) for rows in packed_batches(plan, 0) for row in rows)
    assert sums[0] + sums[1] > LONGEST
    assert plan.fill_rate(0) == pytest.approx(sum(sums) / (len(sums) * LONGEST))


def test_texts_meet_others_in_every_epoch():
    lengths = np.random.default_rng(0).integers(4, 12, 1000)
    plan = data.PackedPlan(lengths, LONGEST, tokens_per_batch=128, seed=3)

    def neighbours(epoch):
        rows = [row for rows in packed_batches(plan, epoch) for row in rows]
        return {frozenset((a, b)) for row in rows for a in row for b in row if a != b}

    first, second = neighbours(0), neighbours(1)
    assert len(first & second) < 0.1 * len(first)
    other = data.PackedPlan(lengths, LONGEST, tokens_per_batch=128, seed=4)
    assert plan.batch(0, 0)[1].tolist() != other.batch(0, 0)[1].tolist()
    fixed = data.PackedPlan(lengths, LONGEST, tokens_per_batch=128, shuffle=False)
    assert list(packed_batches(fixed, 0)) == list(packed_batches(fixed, 5))


def test_an_epoch_of_fewer_rows_than_steps_has_no_empty_batch():
    """Windows of one text each would take more rows: the epochs of this plan take different numbers of them."""
    lengths = [17, 15, 16, 9, 7, 16, 1, 30, 2, 5]
    for seed in range(20):
        plan = data.PackedPlan(lengths, LONGEST, tokens_per_batch=LONGEST, seed=seed)
        plan.steps_per_epoch += 3
        for rows in packed_batches(plan, 1):
            assert len(rows) == 1
            assert rows[0]


@pytest.mark.parametrize("pad_id", [0, 7])
@pytest.mark.parametrize("outputs", [None, 3])
def test_batches_hold_what_the_plan_says(pad_id, outputs):
    rows = random_rows()
    number = len(rows)
    labels = np.arange(number) % 5 if outputs is None else np.random.default_rng(1).random((number, outputs))
    weights = np.linspace(0.5, 1.5, number)  # Their mean is one already.
    plan = data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=100, seed=2)
    dataset = data.make_dataset(rows, labels, weights, plan, epoch=1, pad_id=pad_id)
    batches = list(packed_batches(plan, 1))
    assert max(len(row) for packed in batches for row in packed) > 2
    for (inputs, given_labels, given_weights), packed in zip(dataset, batches, strict=True):
        names = ("token_ids", "segment_ids", "padding_mask", "position_ids", "example_ids")
        expected = {name: np.zeros((len(packed), LONGEST), np.int32) for name in names}
        expected["token_ids"][:] = pad_id
        slots = -(-max(map(len, packed)) // 4) * 4
        expected_labels = np.zeros((len(packed), slots, *labels.shape[1:]))
        expected_weights = np.zeros((len(packed), slots))
        for number, row in enumerate(packed):
            start = 0
            for slot, text in enumerate(row):
                here = slice(start, start + rows.lengths[text])
                expected["token_ids"][number, here] = rows.row(text)
                expected["padding_mask"][number, here] = 1
                expected["position_ids"][number, here] = np.arange(rows.lengths[text])
                expected["example_ids"][number, here] = slot + 1
                expected_labels[number, slot] = labels[text]
                expected_weights[number, slot] = weights[text]
                start = here.stop
        assert set(inputs) == set(names)
        for name in names:
            np.testing.assert_array_equal(inputs[name], expected[name], err_msg=name)
        np.testing.assert_allclose(given_labels, expected_labels, rtol=1e-6)
        np.testing.assert_allclose(given_weights, expected_weights, rtol=1e-6)


def test_the_element_spec_leaves_rows_length_and_slots_open():
    rows = random_rows()
    plan = data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=96)
    inputs, labels, weights = data.make_dataset(rows, np.zeros((len(rows), 3)), None, plan).element_spec
    assert all(spec == tf.TensorSpec((None, None), tf.int32) for spec in inputs.values())
    assert labels == tf.TensorSpec((None, None, 3), tf.float32)
    assert weights == tf.TensorSpec((None, None), tf.float32)
    labels = data.make_dataset(rows, np.zeros(len(rows), int), None, plan).element_spec[1]
    assert labels == tf.TensorSpec((None, None), tf.int32)


def test_a_resumed_dataset_goes_on_where_the_first_stopped():
    rows = random_rows(60)
    plan = data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=64, seed=5)
    labels = np.arange(len(rows))
    whole = [batch[1].numpy().tolist() for batch in data.make_dataset(rows, labels, None, plan, 0, num_epochs=2)]
    for finished in (3, plan.steps_per_epoch + 1):
        epoch, step = plan.locate(finished)
        rest = data.make_dataset(rows, labels, None, plan, epoch, step, num_epochs=2 - epoch)
        assert [batch[1].numpy().tolist() for batch in rest] == whole[finished:]


def test_windows_are_packed_as_texts_are():
    rows = random_rows(40, windows=True)
    labels = np.arange(rows.num_examples) % 3
    plan = data.PackedPlan(rows.lengths, LONGEST, tokens_per_batch=96)
    total = 0.0
    for inputs, given_labels, weights in data.make_dataset(rows, labels, None, plan):
        real = weights.numpy() > 0
        assert real.sum() == inputs["example_ids"].numpy().max(axis=1).sum()
        total += weights.numpy().sum()
        assert given_labels.shape == weights.shape
    assert total == pytest.approx(len(rows), rel=1e-5)


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ([], {}, "at least one row"),
        ([3, 0], {}, "row 1 without any"),
        ([5, 600], {}, "No row may be longer than 512 tokens.*row 1 of 600 tokens"),
        ([5], {"row_length": 0}, "`row_length` must be at least 1"),
        ([5], {"tokens_per_batch": 511}, "`tokens_per_batch` must be at least 512.*Received: 511"),
    ],
    ids=["none", "empty", "long", "length", "budget"],
)
def test_bad_plans_are_refused(lengths, options, message):
    with pytest.raises(ValueError, match=message):
        data.PackedPlan(lengths, **options)


def test_rows_of_real_reviews_are_filled():
    """Lengths by words, as word pieces run: best fit without the longest first fills 96 %."""
    texts = data.load("imdb").train.texts[:3000]
    lengths = np.minimum([int(len(text.split()) * 1.25) + 2 for text in texts], 512)
    plan = data.PackedPlan(lengths, 512, tokens_per_batch=8192)
    assert min(plan.fill_rate(epoch) for epoch in range(3)) > 0.98
    unpacked = data.BatchPlan(lengths, tokens_per_batch=8192).steps_per_epoch
    assert plan.steps_per_epoch < 0.95 * unpacked
    assert max(plan.epoch(epoch).packed_sizes.max() for epoch in range(3)) <= 17
