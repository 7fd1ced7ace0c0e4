"""Span corruption: rows of exactly one length, from which a decoder of its own gives the text back."""

import math

import numpy as np
import pytest

from keras_transformer.corpus import FullRows, TokenStore
from keras_transformer.objectives import RowNumbers, SpanCorruption
from keras_transformer.objectives.span_corruption import SpanLengths
from keras_transformer.objectives.spans import compositions, random_spans
from tests.objectives.corpora import END, FIRST, SENTINELS, START, markov, specials

STORE = markov(60, seed=0)
OF = specials(start_ids=())


def joined(encoder, target):
    """Puts the spans behind each sentinel of the target in its place, token by token, and drops the end."""
    spans, current = {}, None
    for token in target:
        if token in SENTINELS:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    text = []
    for token in encoder:
        text += spans.pop(token) if token in spans else [token]
    assert not spans
    return text


@pytest.mark.parametrize(
    ("row_length", "rate", "mean_span"), [(32, 0.15, 3), (64, 0.15, 3), (50, 0.5, 3), (40, 0.3, 1), (9, 0.15, 3)]
)
def test_inputs_and_targets_give_the_text_back(row_length, rate, mean_span):
    objective = SpanCorruption(STORE, OF, row_length, rate=rate, mean_span=mean_span, seed=4)
    inputs, labels, weights = objective.batch(1, np.arange(20))
    lengths = objective.lengths
    text = FullRows(STORE, lengths.text, [], [END], True, 4).read(1, np.arange(20))["token_ids"]
    for row in range(20):
        encoder, target = inputs["encoder_token_ids"][row].tolist(), labels["next_token"][row].tolist()
        assert encoder[-1] == target[-1] == END
        assert joined(encoder[:-1], target[:-1]) == text[row].tolist()
        # In order, each once, on both sides; and no two of them touch.
        assert [t for t in encoder if t in SENTINELS] == list(SENTINELS[: lengths.spans])
        assert [t for t in target if t in SENTINELS] == list(SENTINELS[: lengths.spans])
        sentinels = np.isin(encoder, SENTINELS)
        assert not (sentinels[1:] & sentinels[:-1]).any()
        assert target[0] == SENTINELS[0]
    assert inputs["encoder_token_ids"].shape == (20, row_length)
    assert inputs["encoder_padding_mask"].all()
    assert inputs["decoder_padding_mask"].all()
    assert weights["next_token"].all()
    assert (inputs["decoder_token_ids"][:, 0] == OF.decoder_start_id).all()
    np.testing.assert_array_equal(inputs["decoder_token_ids"][:, 1:], labels["next_token"][:, :-1])


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3, 0.45])
@pytest.mark.parametrize("mean_span", [2, 3, 8])
def test_rows_are_full_and_no_longer_text_would_fit(rate, mean_span):
    for row_length in range(8, 600):
        found = SpanLengths.of_row(row_length, rate, mean_span, frame=1, end=1)
        assert found.encoder == row_length
        noise = min(max(round(rate * found.text), 1), found.text - 1)
        spans = max(round(noise / mean_span), 1)
        assert (found.noise, found.spans) == (noise, spans)
        assert found.encoder == found.text - noise + spans + 1
        assert found.decoder == noise + spans + 1


def test_the_lengths_of_the_published_model():
    """T5 reads 512 tokens made of 568, and writes 114: its own helper gives these numbers for 15 % and 3."""
    found = SpanLengths.of_row(512, 0.15, 3.0, frame=1, end=1)
    assert (found.text, found.decoder) == (568, 114)


def test_extreme_rates_fill_the_row_but_for_one_token():
    for rate in (0.5, 0.7, 0.9):
        for row_length in range(4, 80):
            found = SpanLengths.of_row(row_length, rate, 1.0, frame=1, end=1)
            assert row_length - 1 <= found.encoder <= row_length
            assert 1 <= found.spans <= min(found.noise, found.text - found.noise)


def test_divisions_are_all_as_likely():
    keys = RowNumbers(0, 0, np.arange(6000)).uniforms("x", 4)
    found = compositions(keys, 5, 3)
    assert (found.sum(axis=1) == 5).all()
    assert found.min() == 1
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 6  # of 4 places for 2 cuts
    assert ((counts - 1000) ** 2 / 1000).sum() < 5 + 5 * np.sqrt(10)
    assert compositions(keys[:2], 4, 1).tolist() == [[4], [4]]
    assert compositions(keys[:2], 4, 4).tolist() == [[1] * 4] * 2
    with pytest.raises(ValueError, match=r"from 1 to 2 parts of 2 tokens. Received: 3"):
        compositions(keys, 2, 3)


def test_spans_stand_in_all_places_that_they_can():
    """Two spans of one token in a row of four: three ways in which they do not touch, each as often."""
    keys = RowNumbers(1, 0, np.arange(3000)).uniforms("x", 5)
    part = random_spans(keys, np.ones((3000, 2), np.int64), 4)
    ways, counts = np.unique(part, axis=0, return_counts=True)
    assert ways.tolist() == [[0, 1, 2, 3], [1, 2, 2, 3], [1, 2, 3, 4]]
    assert ((counts - 1000) ** 2 / 1000).sum() < 2 + 5 * 2


def test_the_ends_of_a_row_are_taken_out_as_often_as_divisions_say():
    """Not never and always, as in T5's own code."""
    text, noise, spans, rows = 34, 5, 2, 20_000
    numbers = RowNumbers(0, 0, np.arange(rows))
    lengths = compositions(numbers.uniforms("spans", noise), noise, spans)
    taken = (random_spans(numbers.uniforms("gaps", text + 1), lengths, text) % 2).mean(axis=0)
    exact = math.comb(text - noise, spans - 1) / math.comb(text - noise + 1, spans)  # nothing before the first span
    bound = 5 * np.sqrt(exact * (1 - exact) / rows)
    assert abs(taken[0] - exact) < bound
    assert abs(taken[-1] - exact) < bound
    assert taken.sum() == pytest.approx(noise)
    assert np.abs(taken - taken[::-1]).max() < 0.02
    assert taken[5:-5].min() > 0.9 * noise / text


def test_a_frame_stands_around_the_encoders_row():
    objective = SpanCorruption(STORE, specials(), 32)
    inputs, _, _ = objective.batch(0, [0, 1])
    assert (inputs["encoder_token_ids"][:, 0] == START).all()
    assert inputs["encoder_token_ids"].shape == (2, 32)
    assert (inputs["decoder_token_ids"][:, 0] == END).all()  # as BART


@pytest.mark.parametrize(
    ("options", "of", "message"),
    [
        ({"row_length": 600}, OF, "on rows of 600 tokens needs 33 sentinels: reserve <extra_id_0> to <extra_id_32>"),
        ({"rate": 0.0}, OF, "rate must be above 0"),
        ({"mean_span": 0.5}, OF, "mean_span must be at least 1"),
        ({"row_length": 2}, OF, "row_length must be at least 3. Received: 2"),
        ({}, specials(start_ids=(), end_ids=()), "Received: specials without end_ids"),
    ],
)
def test_mistakes_get_one_clear_message(options, of, message):
    with pytest.raises(ValueError, match=message):
        SpanCorruption(STORE, of, **options)


def test_sentinels_in_the_corpus_are_refused():
    store = TokenStore.of([[[FIRST, FIRST + 1, SENTINELS[3], FIRST]]] * 40, 90)
    with pytest.raises(ValueError, match=f"no text may have them.*Received: the token {SENTINELS[3]}"):
        SpanCorruption(store, OF, 16).batch(0, [0])
