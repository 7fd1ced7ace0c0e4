"""Texts that are cut at first: as the packer would cut them, in the same batches, by the number of the step alone."""

import numpy as np
import pytest

from keras_transformer import data, text

WORDS = [f"w{i}" for i in range(60)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


def packer(**options):
    return text.TextPacker(text.WordPieceTokenizer(VOCABULARY), **options)


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, count)) for count in [1, 5, 6, 7, 8, 14, 40, 58, 59, 60, 90, *range(1, 30)]]


@pytest.mark.parametrize("length", [3, 4, 8, 9, 16, 31, 59])
@pytest.mark.parametrize(
    "options",
    [
        {"truncation": "head"},
        {"truncation": "head_tail", "head_fraction": 0.25},
        {"truncation": "head_tail", "head_fraction": 0.5},
        {"truncation": "head_tail", "head_fraction": 0.0},
        {"truncation": "head", "frame": text.Frame(("[CLS]", "[MASK]"), ())},
    ],
    ids=["head", "quarter", "half", "tail", "other frame"],
)
def test_cut_rows_are_those_of_a_packer_of_that_length(length, options, texts):
    whole = packer(max_length=60, **options)
    frame = whole.frame
    fraction = options.get("head_fraction", 1.0)
    short = data.shorten(data.encode(whole, texts), length, fraction, len(frame.before), len(frame.after))
    expected = data.encode(packer(max_length=length, **options), texts)
    for name in ("values", "row_splits", "example_ids"):
        np.testing.assert_array_equal(getattr(short, name), getattr(expected, name))


def test_a_length_without_a_token_of_the_text_is_refused(texts):
    with pytest.raises(ValueError, match=r"`length` must be at least 3\. Received: 2"):
        data.shorten(data.encode(packer(max_length=9), texts), 2)


@pytest.fixture(scope="module")
def curriculum(texts):
    rows = data.encode(packer(max_length=60), texts)
    plan = data.BatchPlan(rows.lengths, bucket_lengths=(16, 32, 60), tokens_per_batch=240, seed=3)
    return data.Curriculum(rows, plan, [(8, 0.3), (20, 0.55)], epochs=2)


def test_stages_end_at_shares_of_all_steps(curriculum):
    steps = 2 * curriculum.plan.steps_per_epoch
    lengths = [curriculum.length(step) for step in range(steps)]
    ends = round(0.3 * steps), round(0.55 * steps)
    assert 0 < ends[0] < steps // 2 < ends[1], "one stage must go over the end of an epoch"
    assert lengths == [8] * ends[0] + [20] * (ends[1] - ends[0]) + [None] * (steps - ends[1])


def batches(curriculum, epoch, start, end):
    labels = np.arange(curriculum.plan.num_rows)
    for rows, plan, first, stop in curriculum.parts(epoch, start, end):
        for inputs, chosen, _ in data.make_dataset(rows, labels, None, plan, epoch, first).take(stop - first):
            yield inputs["token_ids"].numpy(), inputs["padding_mask"].numpy(), chosen.numpy().tolist()


def test_batches_have_the_texts_of_the_plan_cut_to_the_stage(curriculum):
    per_epoch, tokens = curriculum.plan.steps_per_epoch, [0]
    whole = curriculum._parts[-1][0]
    for epoch in range(2):
        found = list(batches(curriculum, epoch, 0, per_epoch))
        assert len(found) == per_epoch
        for step, (ids, mask, chosen) in enumerate(found):
            bucket, rows = curriculum.plan.batch(epoch, step)
            limit = curriculum.length(epoch * per_epoch + step) or 60
            assert chosen == rows.tolist()
            assert ids.shape == (len(rows), min(bucket, limit))
            np.testing.assert_array_equal(mask.sum(1), np.minimum(whole.lengths[rows], limit))
            tokens.append(tokens[-1] + ids.size)
    np.testing.assert_array_equal(curriculum.work(), tokens)


def test_a_later_start_gives_the_same_batches(curriculum):
    per_epoch = curriculum.plan.steps_per_epoch
    found = list(batches(curriculum, 0, 0, per_epoch))
    for start in range(per_epoch):
        for one, other in zip(batches(curriculum, 0, start, per_epoch), found[start:], strict=True):
            np.testing.assert_array_equal(one[0], other[0])
