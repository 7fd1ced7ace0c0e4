"""The cache, the loop and what it stops for. Runs under every backend: KERAS_BACKEND=jax."""

import keras
import numpy as np
import pytest

from keras_transformer.generation import (
    ForcedToken,
    GenerationConfig,
    Greedy,
    Sample,
    TokensSoFar,
    TopK,
    TopP,
    generate,
    stream,
)
from keras_transformer.generation.decoding import Decoding
from keras_transformer.generation.prompts import prepare
from keras_transformer.generation.token_loop import TokenLoop
from keras_transformer.models import TransformerDecoder
from keras_transformer.models.config import SCHEMES
from tests.generation.small_models import (
    PROMPTS,
    START,
    VOCABULARY,
    greedy_loop,
    log_softmax,
    plain_logits,
    small_decoder,
    small_encoder_decoder,
)

NEW = 6


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def decoder():
    keras.utils.set_random_seed(1)
    return small_decoder()


@pytest.fixture(scope="module")
def encoder_decoder():
    keras.utils.set_random_seed(3)
    return small_encoder_decoder(position="alibi", residual="post_norm", initializer_range=0.8)


def cached_logits(model, prompts, continuation, **options):
    """Logits of each token of `continuation`, read one by one behind padded prompts: (rows, tokens, vocabulary)."""
    decoding = Decoding(model)
    config = GenerationConfig(max_new_tokens=len(continuation) + 1, **options)
    inputs = {name: keras.ops.convert_to_tensor(value) for name, value in prepare(decoding, config, prompts).items()}
    first = decoding.first_tokens(inputs, config.start_token_id)
    logits, memory = decoding.prefill(inputs, *first, extra=len(continuation))
    found = [array(logits)]
    for step, token in enumerate(continuation):
        tokens = keras.ops.full((len(prompts),), token, "int32")
        logits, memory = decoding.step(tokens, memory, first[0].shape[1] + step)
        found.append(array(logits))
    return np.stack(found, 1)


# The attention of a block knows nothing of where its norms stand, so not every pair is needed.
@pytest.mark.parametrize(("residual", "key_heads"), [("pre_norm", None), ("post_norm", 2), ("parallel", 2)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_cached_logits_of_a_padded_row_are_those_of_the_row_alone(scheme, residual, key_heads):
    model = small_decoder(position=scheme, residual=residual, key_heads=key_heads)
    continuation = [3, 17, 3, 22]
    found = cached_logits(model, PROMPTS, continuation)
    for row, prompt in enumerate(PROMPTS):
        expected = plain_logits(model, [prompt + continuation])[0, len(prompt) - 1 :]
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("residual", "key_heads"), [("pre_norm", 2), ("post_norm", None)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_cached_logits_behind_an_encoder_are_those_of_the_row_alone(scheme, residual, key_heads):
    model = small_encoder_decoder(position=scheme, residual=residual, key_heads=key_heads)
    continuation = [3, 17, 22]
    found = cached_logits(model, PROMPTS, continuation, start_token_id=START)
    for row, source in enumerate(PROMPTS):
        expected = plain_logits(model, [[START, *continuation]], source)[0]
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=2e-5)


def test_a_window_looks_as_far_back_with_a_cache():
    model = small_decoder(window=3, tied=True)
    found = cached_logits(model, PROMPTS, [3, 17, 3])
    for row, prompt in enumerate(PROMPTS):
        expected = plain_logits(model, [[*prompt, 3, 17, 3]])[0, len(prompt) - 1 :]
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=2e-5)


def test_greedy_equals_an_argmax_loop_without_a_cache(decoder):
    result = generate(decoder, PROMPTS, max_new_tokens=NEW)
    expected = [greedy_loop(decoder, prompt, NEW) for prompt in PROMPTS]
    assert result.to_lists() == [tokens for tokens, _ in expected]
    np.testing.assert_allclose(result.scores, [score for _, score in expected], rtol=1e-4)
    assert result.lengths.tolist() == [NEW] * 3
    assert result.token_ids.dtype == np.int32


def test_greedy_behind_an_encoder_equals_an_argmax_loop(encoder_decoder):
    result = generate(encoder_decoder, PROMPTS, max_new_tokens=NEW, start_token_id=START)
    expected = [greedy_loop(encoder_decoder, [START], NEW, source)[0] for source in PROMPTS]
    assert result.to_lists() == expected
    assert len({tuple(row) for row in expected}) > 1, "the model must read its source, or this proves nothing"


def test_arrays_ragged_rows_and_masks_are_the_same_prompts(decoder):
    expected = generate(decoder, PROMPTS, max_new_tokens=2).to_lists()

    class Ragged:
        def to_list(self):
            return PROMPTS

    assert generate(decoder, Ragged(), max_new_tokens=2).to_lists() == expected
    for place in ("first", "last", "between"):
        ids, mask = np.full((2, 3, 7), 39, "int32")
        mask[:] = 0
        for row, prompt in enumerate(PROMPTS):
            places = {"first": range(7 - len(prompt), 7), "last": range(len(prompt)), "between": [1, 3, 4, 5, 6]}
            chosen = list(places[place])[: len(prompt)]
            ids[row, chosen], mask[row, chosen] = prompt, 1
        assert generate(decoder, ids, padding_mask=mask, max_new_tokens=2).to_lists() == expected, place


def test_a_stop_token_ends_its_row_only(decoder):
    free = generate(decoder, PROMPTS, max_new_tokens=NEW).to_lists()
    stops = [free[0][2], free[1][1]]
    result = generate(decoder, PROMPTS, max_new_tokens=NEW, stop_token_ids=stops, pad_token_id=4)
    for row, tokens in enumerate(free):
        ends = [place for place, token in enumerate(tokens) if token in stops]
        length = ends[0] + 1 if ends else NEW
        assert result.lengths[row] == length
        assert result.token_ids[row].tolist() == tokens[:length] + [4] * (NEW - length)
    assert result.lengths[0] <= 3
    assert result.lengths[1] <= 2


def test_the_loop_ends_when_all_rows_have_stopped(decoder):
    first = generate(decoder, PROMPTS[:1], max_new_tokens=NEW).to_lists()[0]
    config = GenerationConfig(max_new_tokens=NEW, stop_token_ids=first[1])
    loop = TokenLoop(Decoding(decoder), config)
    inputs = prepare(Decoding(decoder), config, PROMPTS[:1])
    state = loop.start({name: keras.ops.convert_to_tensor(value) for name, value in inputs.items()})
    assert bool(loop.goes_on(state)) == (first[0] != first[1])
    if first[0] != first[1]:
        assert not bool(loop.goes_on(loop.advance(state)))


def test_no_stop_token_before_the_minimum(decoder):
    stop = generate(decoder, PROMPTS[:1], max_new_tokens=1).to_lists()[0][0]
    assert generate(decoder, PROMPTS[:1], max_new_tokens=4, stop_token_ids=stop).lengths.tolist() == [1]
    result = generate(decoder, PROMPTS[:1], max_new_tokens=4, stop_token_ids=stop, min_new_tokens=3)
    assert stop not in result.to_lists()[0][:3]

    def forbidden(logits, tokens):
        return np.where((np.arange(VOCABULARY) == stop) & (len(tokens) - len(PROMPTS[0]) < 3), -np.inf, logits)

    expected = greedy_loop(decoder, PROMPTS[0], 4, change=forbidden)[0]
    assert result.to_lists()[0] == expected[: result.lengths[0]]


def penalised(penalty):
    def change(logits, tokens):
        seen = np.isin(np.arange(VOCABULARY), tokens)
        return np.where(seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)

    return change


def test_repetition_penalty_counts_the_prompt_and_no_padding(decoder):
    result = generate(decoder, PROMPTS, max_new_tokens=NEW, repetition_penalty=1.8)
    expected = [greedy_loop(decoder, prompt, NEW, change=penalised(1.8))[0] for prompt in PROMPTS]
    assert result.to_lists() == expected
    assert expected != generate(decoder, PROMPTS, max_new_tokens=NEW).to_lists()


def test_repetition_penalty_behind_an_encoder_does_not_count_the_source(encoder_decoder):
    options = {"max_new_tokens": NEW, "start_token_id": START, "repetition_penalty": 1.8}
    expected = [greedy_loop(encoder_decoder, [START], NEW, source, penalised(1.8))[0] for source in PROMPTS]
    assert generate(encoder_decoder, PROMPTS, **options).to_lists() == expected


def test_a_forced_token_comes_at_its_place(decoder):
    result = generate(decoder, PROMPTS, max_new_tokens=3, logits_processors=[ForcedToken(6, place=1)])
    assert [row[1] for row in result.to_lists()] == [6, 6, 6]
    assert [row[0] for row in result.to_lists()] == [greedy_loop(decoder, prompt, 1)[0][0] for prompt in PROMPTS]


SAMPLER = {"temperature": 1.3, "top_k": 30, "top_p": 0.95}


def test_the_seed_decides(decoder):
    def tokens(seed):
        return generate(decoder, PROMPTS, max_new_tokens=NEW, sampler=Sample(**SAMPLER, seed=seed)).to_lists()

    assert tokens(3) == tokens(3)
    assert tokens(3) != tokens(4)
    drawn = tokens(None)
    assert drawn != tokens(None)
    keras.utils.set_random_seed(0)
    first = tokens(None)
    keras.utils.set_random_seed(0)
    assert first == tokens(None)


def test_sampled_tokens_have_the_frequencies_of_the_model(decoder):
    """2,000 rows of one prompt: the second token, given the first, by a chi-square test at 0.001."""
    rows = 2000
    sampler = Sample(temperature=1.5, top_k=6, seed=5)
    result = generate(decoder, [PROMPTS[0]] * rows, max_new_tokens=2, sampler=sampler)
    context = TokensSoFar(None, None, 0)
    for place, prefix in ((0, []), (1, [np.bincount(result.token_ids[:, 0]).argmax()])):
        logits = plain_logits(decoder, [[*PROMPTS[0], *prefix]])[0, -1:].astype("float32")
        for processor in sampler.processors:
            logits = array(processor(logits, context))
        probabilities = np.exp(log_softmax(logits.astype("float64")))[0]
        chosen = result.token_ids[(result.token_ids[:, :place] == prefix).all(1), place]
        counts = np.bincount(chosen, minlength=VOCABULARY)
        assert counts[probabilities == 0].sum() == 0
        expected = probabilities[probabilities > 0] * len(chosen)
        chi_square = ((counts[probabilities > 0] - expected) ** 2 / expected).sum()
        assert chi_square < 20.5, f"5 degrees of freedom: {chi_square} at place {place}"


@pytest.mark.parametrize("sampler", [Greedy(), Sample(**SAMPLER, seed=3)], ids=["greedy", "sample"])
def test_streaming_yields_what_generate_returns(decoder, sampler):
    options = {"max_new_tokens": NEW, "sampler": sampler, "repetition_penalty": 1.2}
    expected = generate(decoder, PROMPTS[:1], **options).to_lists()[0]
    assert list(stream(decoder, PROMPTS[0], **options)) == expected
    stopped = list(stream(decoder, PROMPTS[0], stop_token_ids=expected[2], **options))
    assert stopped == expected[: expected.index(expected[2]) + 1]


def test_streaming_behind_an_encoder(encoder_decoder):
    options = {"max_new_tokens": 3, "start_token_id": START}
    expected = generate(encoder_decoder, PROMPTS[:1], **options).to_lists()[0]
    assert list(stream(encoder_decoder, PROMPTS[0], **options)) == expected


def test_a_second_call_is_not_traced_again(decoder, monkeypatch):
    calls = []
    decode = TransformerDecoder.decode
    monkeypatch.setattr(TransformerDecoder, "decode", lambda *a, **k: calls.append(1) or decode(*a, **k))
    traced = []
    for seed, prompts in ((1, [[5, 8], [7, 7]]), (2, [[5, 8, 9], [30]])):
        sampler = Sample(temperature=0.9, seed=seed)
        generate(decoder, prompts, max_new_tokens=3, sampler=sampler, stop_token_ids=39)
        list(stream(decoder, prompts[0], max_new_tokens=5))
        traced.append(len(calls))
    assert traced[0] == traced[1] > 0


def test_new_weights_are_used_without_tracing_again():
    model = small_decoder()
    before = generate(model, PROMPTS, max_new_tokens=NEW)
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(len(variable.path)).normal(size=variable.shape, scale=0.4))
    after = generate(model, PROMPTS, max_new_tokens=NEW).to_lists()
    assert after != before.to_lists()
    assert after == [greedy_loop(model, prompt, NEW)[0] for prompt in PROMPTS]


def test_mixed_bfloat16_chooses_tokens_as_good_as_float32(decoder):
    model = small_decoder(dtype="mixed_bfloat16")
    model.set_weights(decoder.get_weights())
    result = generate(model, PROMPTS, max_new_tokens=NEW)
    assert [row.shape for row in result.token_ids] == [(NEW,)] * 3
    for prompt, tokens in zip(PROMPTS, result.to_lists(), strict=True):
        logits = plain_logits(decoder, [[*prompt, *tokens]])[0, len(prompt) - 1 : -1]
        chosen = np.take_along_axis(logits, np.array(tokens)[:, None], 1)[:, 0]
        assert (logits.max(1) - chosen < 0.05 * np.abs(logits).max()).all()


def test_a_model_can_be_saved_after_it_has_generated(decoder, tmp_path):
    tokens = generate(decoder, PROMPTS, max_new_tokens=NEW).to_lists()
    decoder.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert generate(loaded, PROMPTS, max_new_tokens=NEW).to_lists() == tokens


def test_a_sampler_brings_its_processors_in_order():
    assert Sample().processors == ()
    assert Sample(top_p=0.5, top_k=3).processors == (TopK(3), TopP(0.5))
