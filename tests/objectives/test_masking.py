"""Which tokens are masked: numbers by hand, shares within binomial bounds, words whole, rows independent."""

import dataclasses
import time

import numpy as np
import pytest

from keras_transformer.objectives import Masking, RowNumbers, Specials
from keras_transformer.objectives.masking import _cut, _take
from tests.objectives.corpora import END, FIRST, MASK, START, specials

ROWS, LENGTH = 400, 64
WORDS = specials(begins_word=np.arange(90) % 3 != 0)  # every third token is the end of a word


def rows(seed=0, length=LENGTH):
    """Rows of random tokens with a frame, some of two texts: tokens, and the text of each."""
    random = np.random.default_rng(seed)
    ids = random.integers(FIRST, FIRST + 60, (ROWS, length)).astype("int32")
    ids[:, 0], ids[:, -1] = START, END
    ids[::2, 30], ids[::2, 31] = END, START
    examples = np.ones_like(ids)
    examples[::2, 31:] = 2
    return ids, examples


def masked(masking, ids, examples=None, epoch=0, places=None, of=WORDS):
    return masking.mask(ids, of, RowNumbers(0, epoch, np.arange(len(ids)) if places is None else places), examples)


def chosen_of(found, length=LENGTH):
    """Which tokens were chosen, by a loop."""
    chosen = np.zeros((len(found.positions), length), bool)
    for row, (places, weights) in enumerate(zip(found.positions, found.weights, strict=True)):
        chosen[row, places[weights > 0]] = True
    return chosen


def words_by_hand(ids, examples, of=WORDS):
    """The words of a row as lists of places, by a loop."""
    words, before = [], None
    for place, token in enumerate(ids):
        if of.maskable[token]:
            follows = before == place - 1 and examples[place] == examples[place - 1] and not of.begins_word[token]
            if follows:
                words[-1].append(place)
            else:
                words.append([place])
            before = place
    return words


@pytest.mark.parametrize("unit", ["token", "word", "span"])
@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_labels_and_places_give_the_text_back(unit, rate):
    ids, examples = rows()
    found = masked(Masking(rate, unit), ids, examples)
    assert found.positions.shape == found.labels.shape == found.weights.shape == (ROWS, np.ceil(rate * LENGTH))
    back = found.token_ids.copy()
    for row in range(ROWS):
        used = found.weights[row] > 0
        places = found.positions[row, used]
        assert (np.diff(places) > 0).all()
        assert not found.positions[row, ~used].any()
        back[row, places] = found.labels[row, used]
    np.testing.assert_array_equal(back, ids)


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_special_tokens_are_never_chosen_nor_drawn(unit):
    ids, examples = rows()
    found = masked(Masking(0.3, unit, mask_share=0.0, random_share=1.0), ids, examples)
    special = ~WORDS.maskable[ids]
    np.testing.assert_array_equal(found.token_ids[special], ids[special])
    assert not chosen_of(found)[special].any()
    assert WORDS.maskable[found.token_ids[~special]].all()


def test_exactly_the_rounded_share_of_tokens_is_chosen():
    ids, examples = rows()
    for rate in (0.15, 0.3, 0.5):
        expected = np.array([round(rate * n) for n in WORDS.maskable[ids].sum(1)])
        for unit in ("token", "word", "span"):
            np.testing.assert_array_equal(masked(Masking(rate, unit), ids, examples).weights.sum(1), expected)


def test_short_rows_have_at_least_one_and_rows_without_words_none():
    ids = np.array([[START, FIRST, END], [START, END, 0]], "int32")
    found = masked(Masking(0.15), ids)
    assert found.weights.tolist() == [[1], [0]]
    assert found.labels.tolist() == [[FIRST], [0]]


@pytest.mark.parametrize("unit", ["word", "span"])
def test_words_are_never_split(unit):
    ids, examples = rows()
    chosen = chosen_of(masked(Masking(0.3, unit), ids, examples))
    several = 0
    for row in range(ROWS):
        for word in words_by_hand(ids[row], examples[row]):
            assert chosen[row, word].all() or not chosen[row, word].any()
            several += len(word) > 1 and chosen[row, word].all()
    assert several > ROWS  # words of several tokens were chosen, or nothing is proved


def test_tokens_are_chosen_one_by_one():
    ids, examples = rows()
    chosen = chosen_of(masked(Masking(0.3, "token"), ids, examples))
    assert any(
        chosen[row, word].any() and not chosen[row, word].all()
        for row in range(ROWS)
        for word in words_by_hand(ids[row], examples[row])
    )


def test_what_does_not_fit_is_left_out_and_the_next_is_taken():
    lengths = np.array([[3, 2, 4, 1, 1, 2], [5, 1, 0, 0, 0, 0], [2, 2, 2, 2, 0, 0]])
    taken = _take(lengths, np.array([5, 4, 3]))
    assert taken.tolist() == [
        [True, True, False, False, False, False],
        [False, True, False, False, False, False],
        [True, False, False, False, False, False],
    ]
    lengths, left = np.random.default_rng(0).integers(0, 6, (200, 30)), np.arange(200) % 40
    expected = np.zeros(lengths.shape, bool)
    for row in range(200):
        rest = left[row]
        for place, length in enumerate(lengths[row]):
            if 0 < length <= rest:
                expected[row, place], rest = True, rest - length
    np.testing.assert_array_equal(_take(lengths, left), expected)


def test_every_token_is_chosen_as_often_as_the_others():
    ids, _ = rows()
    counts = np.zeros(LENGTH)
    for epoch in range(20):
        counts += chosen_of(masked(Masking(0.15, "token"), ids, epoch=epoch)).sum(0)
    for place in (1, 5, 29, 40, 62):  # not those of the frames
        n, p = 20 * ROWS, 0.15
        assert abs(counts[place] / n - p) < 5 * np.sqrt(p * (1 - p) / n) + 0.004  # and what rounding does to p


def test_the_three_fates_have_their_shares():
    ids, examples = rows()
    found = masked(Masking(0.3, "token"), ids, examples)
    chosen = chosen_of(found)
    after, before = found.token_ids[chosen], ids[chosen]
    n = len(after)
    same = (after == before).mean()
    shares = {"mask": ((after == MASK).mean(), 0.8), "same": (same, 0.1 + 0.1 / 60)}
    for share, p in shares.values():
        assert abs(share - p) < 5 * np.sqrt(p * (1 - p) / n)
    drawn = after[(after != MASK) & (after != before)]
    counts = np.bincount(drawn - FIRST, minlength=60)
    assert len(counts) == 60
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 59 + 5 * np.sqrt(2 * 59)
    assert (masked(Masking(0.3, "token", 1.0, 0.0), ids).token_ids[chosen] == MASK).all()


def test_spans_have_the_lengths_of_spanbert_and_one_fate():
    """Runs of words cut by the same rule, against its formula; then whole rows."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 5, (7, 20))
    runs = _cut(lengths)
    for row in range(7):
        assert runs[row].tolist() == np.repeat(np.arange(20), lengths[row])[:20].tolist()

    from keras_transformer.objectives.masking import _span_lengths

    probabilities = np.diff([0, *_span_lengths(), 1])
    exact = 0.2 * 0.8 ** np.arange(10)
    np.testing.assert_allclose(probabilities, exact / exact.sum())
    assert (probabilities * np.arange(1, 11)).sum() == pytest.approx(3.8, abs=0.03)  # "mean span length 3.8"

    ids = random.integers(FIRST, FIRST + 60, (ROWS, LENGTH)).astype("int32")
    of = specials()
    found = masked(Masking(0.15, "span", 0.5, 0.0), ids, of=of)
    chosen = chosen_of(found)
    runs = np.diff(np.concatenate([np.zeros((ROWS, 1)), chosen, np.zeros((ROWS, 1))], axis=1), axis=1)
    mean = chosen.sum() / (runs == 1).sum()
    tokens = chosen_of(masked(Masking(0.15, "token"), ids, of=of))
    starts = np.diff(np.concatenate([np.zeros((ROWS, 1)), tokens], axis=1), axis=1) == 1
    assert mean > 2 > 1.3 > tokens.sum() / starts.sum()
    # Neighbours that were chosen share their fate unless two runs meet there.
    both = chosen[:, 1:] & chosen[:, :-1]
    hidden = found.token_ids == MASK
    assert (hidden[:, 1:] == hidden[:, :-1])[both].mean() > 0.9


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_a_row_does_not_depend_on_its_batch(unit):
    ids, examples = rows()
    whole = masked(Masking(0.15, unit), ids, examples)
    order = np.random.default_rng(1).permutation(ROWS)[:7]
    part = masked(Masking(0.15, unit), ids[order], examples[order], places=order)
    for field in dataclasses.fields(whole):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(whole, field.name)[order])


def test_masks_are_new_in_every_epoch():
    ids, examples = rows()
    first, again, second = (masked(Masking(), ids, examples, epoch=epoch) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first.token_ids, again.token_ids)
    assert (first.positions != second.positions).any(axis=1).mean() > 0.99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate must be above 0 and below 1. Received: 0.0"),
        ({"unit": "letter"}, "unit must be one of token, word, span. Received: 'letter'"),
        ({"mask_share": 0.8, "random_share": 0.3}, "together at most 1. Received: 0.8 and 0.3"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Masking(**options)


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_masking_keeps_up_with_training(unit):
    """200,000 tokens a second on one core, with room for machines that do other things."""
    of = Specials(30000, 0, start_ids=(1,), end_ids=(2,), mask_id=3, begins_word=np.arange(30000) % 4 != 0)
    ids = np.random.default_rng(0).integers(4, 30000, (64, 256)).astype("int32")
    best = np.inf
    for epoch in range(5):
        start = time.process_time()
        masked(Masking(0.15, unit), ids, epoch=epoch, of=of)
        best = min(best, time.process_time() - start)
    assert ids.size / best > 200_000
