"""Text infilling and permuted sentences: the target is the text, and the encoder's row what the rules leave of it."""

import itertools

import numpy as np
import pytest

from keras_transformer.corpus import Chunks, TokenStore
from keras_transformer.objectives import Denoising
from tests.objectives.corpora import END, FIRST, MASK, PAD, START, VOCABULARY, specials

# No token stands twice in a sentence, nor in two sentences of a document: so each tells where it comes from.
DOCUMENTS = [[[FIRST + 10 * i + j for j in range(3 + (i + d) % 6)] for i in range(6)][: 1 + (d % 6)] for d in range(80)]
STORE = TokenStore.of(DOCUMENTS, VOCABULARY)
LENGTH = 40


def read(objective, epoch=0):
    """The encoder's tokens, and the sentences of each text, without frames and padding."""
    places = np.arange(objective.num_examples)
    inputs, labels, weights = objective.batch(epoch, places)
    texts = [[sentence.tolist() for sentence in text] for text in objective.chunks.read(epoch, places)]
    return inputs, labels, weights, texts


def tokens(row, mask):
    return row[: mask.sum()].tolist()


def test_the_target_is_the_text_in_its_order():
    inputs, labels, weights, texts = read(Denoising(STORE, specials(), LENGTH, seed=3))
    for row, text in enumerate(texts):
        plain = [START, *itertools.chain(*text), END]
        target = labels["next_token"][row]
        assert target.tolist() == plain + [PAD] * (LENGTH - len(plain))
        assert weights["next_token"][row].tolist() == [1] * len(plain) + [0] * (LENGTH - len(plain))
        assert inputs["decoder_padding_mask"][row].sum() == len(plain)
        assert inputs["decoder_token_ids"][row].tolist() == [END, *target[:-1]]


def test_the_encoder_reads_the_sentences_in_another_order_with_gaps():
    objective = Denoising(STORE, specials(), LENGTH, seed=3)
    inputs, _, _, texts = read(objective)
    moved = 0
    for row, text in enumerate(texts):
        noisy = tokens(inputs["encoder_token_ids"][row], inputs["encoder_padding_mask"][row])
        assert (noisy[0], noisy[-1]) == (START, END)
        kept = [token for token in noisy[1:-1] if token != MASK]
        place = {token: (number, i) for number, sentence in enumerate(text) for i, token in enumerate(sentence)}
        sentences = [number for number, _ in itertools.groupby(place[token][0] for token in kept)]
        assert len(sentences) == len(set(sentences)), "a sentence was torn apart"
        for _, group in itertools.groupby((place[token] for token in kept), key=lambda at: at[0]):
            order = [i for _, i in group]
            assert order == sorted(order)
        moved += sentences != sorted(sentences)
        words = sum(map(len, text))
        missing = words - len(kept)
        budget = min(max(round(0.3 * words), 1), words - 1)
        assert missing == budget
    assert moved > 20


def test_without_permutation_a_text_stays_in_order():
    inputs, _, _, _ = read(Denoising(STORE, specials(), LENGTH, permute=False))
    for row, mask in zip(inputs["encoder_token_ids"], inputs["encoder_padding_mask"], strict=True):
        kept = [token for token in tokens(row, mask)[1:-1] if token != MASK]
        assert kept == sorted(kept)


def long_texts():
    random = np.random.default_rng(0)
    return TokenStore.of([[random.integers(FIRST, FIRST + 60, 200).tolist()] for _ in range(120)], VOCABULARY)


def test_spans_have_the_lengths_of_a_poisson_distribution():
    objective = Denoising(long_texts(), specials(), 202, rate=0.3)
    lengths = []
    for row in range(300):
        spans, inserted = objective._spans(200, np.random.default_rng(row).random(300))
        assert spans.sum() == 60
        assert spans.min() >= 1
        lengths += [*spans[:-1], *[0] * inserted]  # the last one is cut
    counts = np.bincount(lengths, minlength=9)[:9]
    exact = 3.0 ** np.arange(9) * np.exp(-3) / np.cumprod([1, *range(1, 9)])
    share = counts / len(lengths)
    # The span that a text ends with is a long one more often than not: the others are a little shorter.
    assert np.abs(share - exact).max() < 0.02
    assert abs(np.mean(lengths) - 3) < 0.12


def test_each_span_is_one_mask_and_spans_of_nothing_are_put_in():
    """Of 200 words 60 are gone, in about 20 gaps; between what is left and the masks nothing is lost or twice."""
    objective = Denoising(long_texts(), specials(), 210, rate=0.3, permute=False)
    inputs, labels, _, _ = read(objective)
    extra, apart = 0, 0
    for row in range(60):
        noisy = np.array(tokens(inputs["encoder_token_ids"][row], inputs["encoder_padding_mask"][row]))[1:-1]
        kept, masks = noisy[noisy != MASK], int((noisy == MASK).sum())
        assert len(kept) == 140
        gaps = _gaps(labels["next_token"][row, 1:201].tolist(), noisy.tolist())
        assert sum(gaps) == 60
        extra += sum(gap == 0 for gap in gaps)
        apart += masks
        assert len(gaps) == masks
    assert extra / apart == pytest.approx(np.exp(-3), abs=0.02)


def _gaps(text, noisy):
    """How many tokens each mask stands for: the least that lets the rest follow (tokens differ enough for that)."""
    best = {}

    def match(i, j):
        # Iteratively, from the end: whether text[i:] can become noisy[j:].
        return best[i, j]

    for i in range(len(text), -1, -1):
        for j in range(len(noisy), -1, -1):
            if j == len(noisy):
                best[i, j] = i == len(text)
            elif noisy[j] == MASK:
                best[i, j] = match(i, j + 1) or (i < len(text) and best[i + 1, j])
            else:
                best[i, j] = i < len(text) and text[i] == noisy[j] and match(i + 1, j + 1)
    assert match(0, 0)
    gaps, i = [], 0
    for j, token in enumerate(noisy):
        if token == MASK:
            start = i
            while not match(i, j + 1):
                i += 1
            gaps.append(i - start)
        else:
            i += 1
    return gaps


def test_words_are_never_split():
    of = specials(begins_word=np.arange(VOCABULARY) % 2 == 0)  # pairs of tokens
    store = TokenStore.of([[[FIRST + i for i in range(20)]]] * 40, VOCABULARY)
    inputs, _, _, _ = read(Denoising(store, of, 24))
    split = gone = 0
    for row, mask in zip(inputs["encoder_token_ids"], inputs["encoder_padding_mask"], strict=True):
        kept = set(tokens(row, mask))
        split += sum((FIRST + i in kept) != (FIRST + i + 1 in kept) for i in range(0, 20, 2))
        gone += 20 - len(kept & set(range(FIRST, FIRST + 20)))
    assert split == 0
    assert gone == 40 * 2 * 3  # of ten words each


def test_a_full_row_does_not_overflow():
    """Spans of no word only: masks are put in as far as there is room."""
    random = np.random.default_rng(0)
    store = TokenStore.of([[random.integers(FIRST, FIRST + 60, 38).tolist()] for _ in range(200)], VOCABULARY)
    objective = Denoising(store, specials(), LENGTH, mean_span=0.3)
    inputs, _, _, _ = read(objective)
    assert inputs["encoder_padding_mask"].sum(axis=1).max() == LENGTH
    masks = (inputs["encoder_token_ids"] == MASK).sum(axis=1)
    assert masks.max() == 11  # of 38 words 11 are gone
    assert (masks == 11).mean() > 0.5


def test_a_text_of_one_word_stays():
    store = TokenStore.of([[[FIRST]]], VOCABULARY)
    inputs, labels, _ = Denoising(store, specials(), 4).batch(0, [0])
    assert inputs["encoder_token_ids"].tolist() == labels["next_token"].tolist() == [[START, FIRST, END, PAD]]


def test_chunks_are_those_of_the_corpus():
    objective = Denoising(STORE, specials(), LENGTH, seed=3)
    assert objective.num_examples == Chunks(STORE, LENGTH - 2, 3).num_chunks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.0}, "rate must be above 0 and below 1"),
        ({"mean_span": 0}, "mean_span must be above 0"),
        ({"row_length": 2}, "row_length must be at least 3"),
    ],
)
def test_mistakes_get_one_clear_message(options, message):
    with pytest.raises(ValueError, match=message):
        Denoising(STORE, specials(), **options)
    with pytest.raises(ValueError, match="needs a token that hides others"):
        Denoising(STORE, specials(mask_id=None))
