"""What holds for the batches of every objective, and what those of single objectives are, by hand."""

import keras
import numpy as np
import pytest

from keras_transformer import objectives
from keras_transformer.corpus import FullRows, TokenStore
from keras_transformer.objectives import (
    OBJECTIVES,
    Contrastive,
    MaskedTokens,
    NextToken,
    PrefixTokens,
    ReplacedTokens,
    Specials,
    unigram_entropy,
)
from tests.objectives.corpora import END, FIRST, MASK, PAD, START, backbone, markov, specials

STORE = markov(60, seed=0, topics=3)
LENGTH = 24


def make(name, store=STORE, **options):
    return objectives.create(name, store, specials(), **{"row_length": LENGTH, "seed": 5} | options)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def rows_of(batch, rows):
    return tuple({name: array[rows] for name, array in part.items()} for part in batch)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_is_the_same_in_any_batch_and_object(name):
    places = np.random.default_rng(0).permutation(make(name).num_examples)[:40]
    whole = make(name).batch(3, places)
    assert_same(make(name).batch(3, places[11:14]), rows_of(whole, slice(11, 14)))
    assert_same(make(name).batch(3, places[::-1]), rows_of(whole, slice(None, None, -1)))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_epochs_and_seeds_differ_also_for_the_same_texts(name):
    """Without shuffling the texts are the same in every epoch; what is done to them is not."""
    objective = make(name, shuffle=False)
    places = np.arange(30)
    first, second = objective.batch(0, places), objective.batch(1, places)
    other = make(name, shuffle=False, seed=6).batch(0, places)
    if name in ("next_token", "contrastive"):  # nothing is drawn
        assert_same(first, second)
        assert_same(first, other)
        assert (make(name).batch(0, places)[0]["token_ids"] != make(name).batch(1, places)[0]["token_ids"]).any()
        return
    for batch in (second, other):
        parts = zip(first, batch, strict=True)
        changed = np.zeros(30, bool)
        for a, b in parts:
            for key in a:
                changed |= (a[key] != b[key]).reshape(30, -1).any(axis=1)
        assert changed.mean() > 0.8


@pytest.mark.parametrize("name", OBJECTIVES)
def test_shapes_and_outputs_are_those_of_the_batches_and_the_model(name):
    objective = make(name)
    batch = objective.batch(0, np.arange(objective.num_examples))
    for part, shapes in zip(batch, objective.shapes(), strict=True):
        assert part.keys() == shapes.keys()
        for key, array in part.items():
            shape, dtype = shapes[key]
            assert array.dtype == dtype
            assert array.dtype in (np.int32, np.float32)
            assert (None, *array.shape[1:]) == shape
    outputs = objective.outputs()
    assert outputs.keys() == batch[1].keys() == batch[2].keys()
    for key, output in outputs.items():
        assert output.expected_weight == pytest.approx(batch[2][key].sum() / objective.num_examples, rel=0.03)
        assert output.share == (50 if key == "replaced" else 1)
    model = objective.create_model(backbone(objective.model_kind))
    assert {tensor.name for tensor in model.inputs} == set(batch[0])
    predictions = model(batch[0] if name != "contrastive" else rows_of(batch, slice(9))[0])
    assert predictions.keys() == outputs.keys()
    for key, output in outputs.items():
        labels = batch[1][key][: len(predictions[key])]
        assert output.loss.call(labels, predictions[key]).shape == labels.shape
    assert isinstance(model.backbone, keras.Model)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_places_outside_the_epoch_are_refused(name):
    objective = make(name)
    with pytest.raises(IndexError, match="Places go from 0 to"):
        objective.batch(0, [objective.num_examples])
    with pytest.raises(IndexError):
        objective.batch(0, [-1])


@pytest.mark.parametrize("crossing", [False, True])
def test_masked_rows_are_the_rows_of_the_corpus(crossing):
    objective = make("masked", crossing=crossing)
    inputs, labels, weights = objective.batch(2, np.arange(20))
    text = FullRows(STORE, LENGTH, [START], [END], crossing, 5).read(2, np.arange(20))
    back = inputs["token_ids"].copy()
    for row, slot in np.argwhere(weights["masked"] > 0):
        back[row, inputs["masked_positions"][row, slot]] = labels["masked"][row, slot]
    np.testing.assert_array_equal(back, text["token_ids"])
    assert ("example_ids" in inputs) is not crossing
    if not crossing:
        np.testing.assert_array_equal(inputs["example_ids"], text["example_ids"])
        np.testing.assert_array_equal(inputs["position_ids"], text["position_ids"])
    assert inputs["padding_mask"].all()
    assert not inputs["segment_ids"].any()


def test_words_end_where_documents_do():
    """A suffix that begins a document is a word of its own: the documents are masked apart."""
    of = specials(begins_word=np.zeros(90, bool), start_ids=(), end_ids=())
    store = TokenStore.of([[[11, 12, 13, 14]]] * 50, 90)
    inputs, _, weights = MaskedTokens(store, of, row_length=16, rate=0.3, shuffle=False).batch(0, np.arange(10))
    hidden = (inputs["token_ids"] == MASK).reshape(10, 4, 4)
    changed = (inputs["token_ids"].reshape(10, 4, 4) != [11, 12, 13, 14]) | hidden
    assert set(weights["masked"].sum(1)) == {4}  # of a budget of 5
    assert (changed.any(axis=2).sum(axis=1) <= 1).all()


def test_replaced_rows_know_the_text_and_hide_with_the_mask_token_only():
    objective = make("replaced", rate=0.25)
    inputs, labels, weights = objective.batch(0, np.arange(20))
    text = FullRows(STORE, LENGTH, [START], [END], False, 5).read(0, np.arange(20))["token_ids"]
    np.testing.assert_array_equal(inputs["original_ids"], text)
    hidden = inputs["token_ids"] != text
    assert (inputs["token_ids"][hidden] == MASK).all()
    for row in range(20):
        count = int(weights["masked"][row].sum())
        assert np.flatnonzero(hidden[row]).tolist() == inputs["masked_positions"][row, :count].tolist()
        assert text[row, hidden[row]].tolist() == labels["masked"][row, :count].tolist()
    assert not labels["replaced"].any()
    assert weights["replaced"].all()


@pytest.mark.parametrize("crossing", [False, True])
def test_next_tokens_stop_where_documents_do(crossing):
    inputs, labels, weights = make("next_token", crossing=crossing).batch(0, np.arange(30))
    ids = inputs["token_ids"]
    borders = 0
    for row in range(30):
        for place in range(LENGTH):
            last = place == LENGTH - 1
            border = not last and ids[row, place] == END  # documents end with it
            borders += border
            assert weights["next_token"][row, place] == (not last and (crossing or not border))
            if not last:
                assert labels["next_token"][row, place] == ids[row, place + 1]
    assert borders > 5
    assert ("example_ids" in inputs) is not crossing


def test_the_loss_begins_with_the_last_token_of_the_prefix():
    objective = make("prefix", crossing=True)
    places = np.arange(objective.num_examples)
    inputs, _, weights = objective.batch(0, places)
    lengths = inputs["prefix_mask"].sum(axis=1)
    assert (inputs["prefix_mask"] == (np.arange(LENGTH) < lengths[:, None])).all()
    for row, length in enumerate(lengths):
        assert weights["next_token"][row].tolist() == [0] * (length - 1) + [1] * (LENGTH - length) + [0]
    assert lengths.min() >= 1
    assert lengths.max() <= LENGTH - 1
    many = np.concatenate([objective.batch(e, places)[0]["prefix_mask"].sum(axis=1) for e in range(40)])
    counts = np.bincount(many, minlength=LENGTH)[1:]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < (LENGTH - 2) + 5 * np.sqrt(2 * (LENGTH - 2))


def test_a_prefix_of_packed_rows_gives_no_loss_across_documents():
    packed, plain = make("prefix"), make("next_token")
    inputs, _, weights = packed.batch(0, np.arange(30))
    lengths = inputs["prefix_mask"].sum(axis=1, keepdims=True)
    expected = plain.batch(0, np.arange(30))[2]["next_token"] * (np.arange(LENGTH) >= lengths - 1)
    np.testing.assert_array_equal(weights["next_token"], expected)


def test_texts_to_be_told_apart_are_padded_runs_of_sentences():
    documents = [[[11, 12], [13]], [[14, 15, 16, 17, 18]]]
    objective = Contrastive(TokenStore.of(documents, 90), specials(), row_length=7, shuffle=False)
    inputs, labels, weights = objective.batch(0, [0, 1])
    assert inputs["token_ids"].tolist() == [[2, 11, 12, 13, 3, 0, 0], [2, 14, 15, 16, 17, 18, 3]]
    assert inputs["padding_mask"].tolist() == [[1] * 5 + [0] * 2, [1] * 7]
    assert (labels["pair"].tolist(), weights["pair"].tolist()) == ([0, 0], [1, 1])


def test_entropy_is_that_of_the_counts():
    random = np.random.default_rng(0)
    sentences = [random.integers(0, 50, n).tolist() for n in (7, 300, 12)]
    store = TokenStore.of([sentences[:1], sentences[1:]], 50)
    _, counts = np.unique(np.concatenate(sentences), return_counts=True)
    p = counts / counts.sum()
    assert unigram_entropy(store) == pytest.approx(-(p * np.log(p)).sum(), rel=1e-12)
    assert unigram_entropy(TokenStore.of([[[3, 3, 3]]], 50)) == 0
    with pytest.raises(ValueError, match="at least one token"):
        unigram_entropy(TokenStore.of([], 50))


def test_entropy_is_counted_in_blocks(monkeypatch):
    from keras_transformer.objectives import entropy

    expected = unigram_entropy(STORE)
    monkeypatch.setattr(entropy, "_BLOCK", 37)
    assert unigram_entropy(STORE) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: objectives.create("maskd", STORE, specials()), "Did you mean 'masked'. Received: 'maskd'"),
        (lambda: MaskedTokens(STORE, specials(mask_id=None)), "'masked' needs a token that hides others"),
        (lambda: MaskedTokens(STORE, specials(), row_length=10**6), "must fill at least one row"),
        (lambda: MaskedTokens(STORE, specials(), rate=1.5), "Received: 1.5"),
        (lambda: NextToken(STORE, Specials(60, 0)), "tokenized with 90 tokens.* Received: specials of 60 tokens"),
        (lambda: ReplacedTokens(STORE, specials(), discriminator_share=0), "discriminator_share must be above 0"),
        (lambda: Contrastive(STORE, specials(), row_length=2), "row_length must be at least 3. Received: 2"),
        (lambda: make("masked").create_model(backbone("decoder")), "needs a TransformerEncoder. Received: Transf"),
        (lambda: make("next_token").create_model(backbone("encoder")), "needs a TransformerDecoder"),
        (lambda: make("denoising").create_model(backbone("decoder")), "needs a TransformerEncoderDecoder"),
        (
            lambda: make("masked").create_model(backbone("encoder", vocabulary_size=89)),
            "the 90 tokens of the vocabulary. Received: vocabulary_size=89",
        ),
        (
            lambda: make("denoising").create_model(backbone("encoder_decoder", max_length=23)),
            "Rows of 24 tokens .* Received: max_length=23",
        ),
    ],
)
def test_mistakes_get_one_clear_message(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_rows_with_nothing_to_learn_are_refused():
    """No word begins anywhere: each row is one word, longer than the budget."""
    of = specials(begins_word=np.zeros(90, bool), end_ids=())
    store = markov(1, seed=0, sentences=40)
    objective = MaskedTokens(store, of, row_length=LENGTH)
    with pytest.raises(ValueError, match=r"nothing to learn for output 'masked'.*unit='token'"):
        objective.outputs()
    assert MaskedTokens(store, of, row_length=LENGTH, unit="token").outputs()["masked"].expected_weight > 1


def test_the_prefix_is_a_part_of_every_row_of_two_tokens():
    store = TokenStore.of([[[11, 12]]] * 4, 90)
    of = specials(start_ids=(), end_ids=())
    inputs, _, weights = PrefixTokens(store, of, row_length=2).batch(0, [0, 1])
    assert inputs["prefix_mask"].tolist() == [[1, 0]] * 2
    assert weights["next_token"].shape == (2, 2)
    assert PAD not in inputs["token_ids"]
    assert FIRST <= inputs["token_ids"].min()
