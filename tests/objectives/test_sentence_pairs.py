"""Next sentence and order of sentences: which segments stand in a row, what they are called, and what they tell."""

import numpy as np
import pytest

from keras_transformer.corpus import TokenStore
from keras_transformer.objectives import NextSentence, SentenceOrder
from keras_transformer.objectives.sentence_pairs import _last_sentences
from tests.objectives.corpora import END, FIRST, MASK, PAD, START, VOCABULARY, markov, specials

LENGTH = 32
STORE = markov(120, seed=0, sentences=5)


def unmasked(batch):
    """The rows before tokens were masked."""
    inputs, labels, weights = batch
    ids = inputs["token_ids"].copy()
    for row, slot in np.argwhere(weights["masked"] > 0):
        ids[row, inputs["masked_positions"][row, slot]] = labels["masked"][row, slot]
    return ids


def segments(ids, inputs, row):
    """The tokens of both segments, without frames, read off the segment ids."""
    real = ids[row, : inputs["padding_mask"][row].sum()]
    kinds = inputs["segment_ids"][row, : len(real)]
    first, second = real[kinds == 0], real[kinds == 1]
    assert (np.diff(kinds) >= 0).all()
    assert first[0] == START
    assert first[-1] == END
    assert not len(second) or second[-1] == END
    return first[1:-1].tolist(), second[:-1].tolist()


@pytest.fixture(scope="module", params=[NextSentence, SentenceOrder])
def objective(request):
    return request.param(STORE, specials(), LENGTH, seed=2)


def test_rows_are_framed_padded_and_masked(objective):
    batch = objective.batch(0, np.arange(objective.num_examples))
    inputs, _, weights = batch
    ids = unmasked(batch)
    for row in range(objective.num_examples):
        length = inputs["padding_mask"][row].sum()
        assert inputs["padding_mask"][row].tolist() == [1] * length + [0] * (LENGTH - length)
        assert (ids[row, length:] == PAD).all()
        assert not inputs["segment_ids"][row, length:].any()
        first, second = segments(ids, inputs, row)
        assert bool(second) == bool(weights["sentence"][row])
        words = len(first) + len(second)
        assert weights["masked"][row].sum() == max(round(0.15 * words), 1)
    assert (inputs["token_ids"] == MASK).any()


def test_sentences_in_order_are_halves_of_a_run_divided_between_sentences(objective):
    places = np.arange(objective.num_examples)
    batch = objective.batch(0, places)
    ids, cuts = unmasked(batch), set()
    for row, run in enumerate(objective.chunks.read(0, places)):
        if batch[1]["sentence"][row] or not batch[2]["sentence"][row]:
            continue
        first, second = segments(ids, batch[0], row)
        assert first + second == np.concatenate(run).tolist()
        ends = np.cumsum([len(sentence) for sentence in run]).tolist()
        assert len(first) in ends[:-1]
        cuts.add((ends.index(len(first)), len(run)))
    assert len(cuts) > 4  # all ends, not one of them


def test_changed_halves_are_those_of_the_run():
    objective = SentenceOrder(STORE, specials(), LENGTH)
    places = np.arange(objective.num_examples)
    batch = objective.batch(0, places)
    ids, labels = unmasked(batch), batch[1]["sentence"]
    for row, run in enumerate(objective.chunks.read(0, places)):
        if labels[row]:
            first, second = segments(ids, batch[0], row)
            assert second + first == np.concatenate(run).tolist()
    n = int(batch[2]["sentence"].sum())
    assert abs(labels.sum() / n - 0.5) < 5 * 0.5 / np.sqrt(n)


def of_documents(topics):
    """Every document has tokens of its own; sentences of 1 to 6 tokens."""
    random = np.random.default_rng(1)
    return TokenStore.of(
        [
            [[FIRST + d % topics] * int(n) for n in random.integers(1, 7, random.integers(2, 25))]
            for d in range(4 * topics)
        ],
        VOCABULARY,
    )


def test_another_segment_comes_from_another_document_and_lengths_tell_nothing():
    store = of_documents(50)
    objective = NextSentence(store, specials(), LENGTH)
    places = np.arange(objective.num_examples)
    totals = {0: [], 1: []}
    seconds = {0: [], 1: []}
    for epoch in range(4):
        batch = objective.batch(epoch, places)
        ids, labels, divided = unmasked(batch), batch[1]["sentence"], batch[2]["sentence"]
        runs = objective.chunks.read(epoch, places)
        for row in np.flatnonzero(divided):
            first, second = segments(ids, batch[0], row)
            assert len(set(first)) == len(set(second)) == 1
            if not labels[row]:
                assert first + second == np.concatenate(runs[row]).tolist()
            totals[labels[row]].append(len(first) + len(second))
            seconds[labels[row]].append(len(second))
    n = len(totals[0]) + len(totals[1])
    share = len(totals[1]) / n
    assert 0.5 - 5 * 0.5 / np.sqrt(n) - 0.05 < share < 0.5 + 5 * 0.5 / np.sqrt(n)
    for found in (totals, seconds):
        # The best threshold on a length is right hardly more often than a guess.
        both = np.concatenate([found[0], found[1]])
        best = max(abs((np.array(found[0]) <= t).mean() - (np.array(found[1]) <= t).mean()) for t in np.unique(both))
        assert best < 0.1


def test_other_documents_are_really_others():
    """Two documents of different tokens: a segment that was replaced has the tokens of the other one."""
    store = TokenStore.of([[[FIRST + d] * 3] * 40 for d in range(2)], VOCABULARY)
    objective = NextSentence(store, specials(), LENGTH)
    batch = objective.batch(0, np.arange(objective.num_examples))
    ids = unmasked(batch)
    for row in range(objective.num_examples):
        first, second = segments(ids, batch[0], row)
        assert (first[0] != second[0]) == bool(batch[1]["sentence"][row])
    assert batch[1]["sentence"].sum() > 3


def test_the_nearest_of_the_last_sentences_that_fit_are_taken():
    sentences = [np.full(n, n) for n in (5, 4, 3, 2)]  # ends of 2, 5, 9 and 14 tokens
    assert [len(s) for s in _last_sentences(sentences, length=6, room=20)] == [3, 2]
    assert [len(s) for s in _last_sentences(sentences, length=8, room=20)] == [4, 3, 2]
    assert [len(s) for s in _last_sentences(sentences, length=8, room=8)] == [3, 2]
    assert [len(s) for s in _last_sentences(sentences, length=50, room=50)] == [5, 4, 3, 2]
    assert _last_sentences(sentences, length=5, room=1) == []


def test_where_nothing_fits_a_row_keeps_its_own():
    store = TokenStore.of([[[FIRST] * 20, [FIRST] * 6], [[FIRST + 1] * 28]], VOCABULARY)
    objective = NextSentence(store, specials(), LENGTH)
    for epoch in range(20):
        labels, weights = objective.batch(epoch, np.arange(objective.num_examples))[1:]
        assert not labels["sentence"].any()
        assert sorted(weights["sentence"]) == [0, 1]


def test_a_run_of_one_sentence_is_one_segment():
    store = TokenStore.of([[[FIRST] * 9], [[FIRST + 1] * 5]], VOCABULARY)
    for objective in (NextSentence(store, specials(), 16), SentenceOrder(store, specials(), 16)):
        inputs, labels, weights = objective.batch(0, [0, 1])
        assert not inputs["segment_ids"].any()
        assert sorted(inputs["padding_mask"].sum(axis=1)) == [7, 11]
        assert not labels["sentence"].any()
        assert not weights["sentence"].any()
        assert weights["masked"].sum(axis=1).tolist() == [1, 1]
        with pytest.raises(ValueError, match="nothing to learn for output 'sentence'"):
            objective.outputs()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: NextSentence(TokenStore.of([[[11], [12]]], 90), specials()),
            r"at least two are needed. Received: 1\.",
        ),
        (lambda: SentenceOrder(STORE, specials(end_ids=())), r"needs a token before a text and one after it.*\(\)"),
        (lambda: SentenceOrder(STORE, specials(), 4), "row_length must be at least 5. Received: 4"),
        (lambda: SentenceOrder(STORE, specials(), sentence_share=0), "sentence_share must be above 0"),
        (lambda: SentenceOrder(STORE, specials(mask_id=None)), "'sentence_order' needs a token that hides others"),
    ],
)
def test_mistakes_get_one_clear_message(make, message):
    with pytest.raises(ValueError, match=message):
        make()
