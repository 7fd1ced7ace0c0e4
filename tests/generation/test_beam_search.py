"""Beam search against a plain Python implementation, which in turn is checked against Hugging Face.

Runs under every backend.
"""

import itertools

import keras
import numpy as np
import pytest

from keras_transformer.generation import BeamSearch, generate
from tests.generation.small_models import (
    PROMPTS,
    START,
    log_softmax,
    plain_logits,
    small_decoder,
    small_encoder_decoder,
)

WORDS = 9
ROWS = [[5, 8, 3], [7], [2, 2, 6, 1]]


def reference(oracle, num_tokens, num_beams, length_penalty=1.0, early_stopping=False, stops=()):
    """Beam search over lists; `oracle` maps sequences of new tokens to the log-probabilities of the next.

    Returns the finished sequences, (score, tokens), best first.
    """
    running, finished = [(0.0, [])], []
    for length in range(1, num_tokens + 1):
        log_probabilities = oracle([tokens for _, tokens in running])
        candidates = [
            (score + log_probability, [*tokens, token])
            for (score, tokens), row in zip(running, log_probabilities, strict=True)
            for token, log_probability in enumerate(row)
        ]
        candidates = sorted(candidates, key=lambda c: -c[0])[: max(2, 1 + len(stops)) * num_beams]
        ended = [length == num_tokens or tokens[-1] in stops for _, tokens in candidates]
        for (score, tokens), end in list(zip(candidates, ended, strict=True))[:num_beams]:
            if end:
                finished.append((score / length**length_penalty, tokens))
        finished = sorted(finished, key=lambda f: -f[0])[:num_beams]
        running = [c for c, end in zip(candidates, ended, strict=True) if not end][:num_beams]
        if not running or (early_stopping is True and len(finished) == num_beams):
            break
        possible = num_tokens if early_stopping == "never" and length_penalty > 0 else length
        if len(finished) == num_beams and running[0][0] / possible**length_penalty <= finished[-1][0]:
            break
    return finished


def oracle_of(logits_of):
    """An oracle from a function that gives the logits of the next token for rows of one length, with a memory."""
    known = {}

    def oracle(rows):
        missing = [row for row in rows if tuple(row) not in known]
        if missing:
            for row, logits in zip(missing, logits_of(missing), strict=True):
                known[tuple(row)] = log_softmax(logits.astype("float64"))
        return [known[tuple(row)] for row in rows]

    return oracle


@pytest.fixture(scope="module")
def decoder():
    keras.utils.set_random_seed(3)
    return small_decoder(vocabulary_size=WORDS, num_layers=1, initializer_range=0.8)


@pytest.fixture(scope="module")
def oracles(decoder):
    def of(prompt):
        return oracle_of(lambda rows: plain_logits(decoder, [[*prompt, *row] for row in rows])[:, -1])

    return [of(prompt) for prompt in ROWS]


def check(result, expected, count, num_tokens):
    for row, finished in enumerate(expected):
        for place, (score, tokens) in enumerate(finished[:count]):
            found = row * count + place
            assert result.to_lists()[found] == tokens
            assert result.token_ids[found].tolist() == tokens + [0] * (num_tokens - len(tokens))
            np.testing.assert_allclose(result.scores[found], score, rtol=1e-4, atol=1e-5)


SEARCHES = [
    BeamSearch(4, num_return_sequences=4),
    BeamSearch(3, length_penalty=0.0, num_return_sequences=3),
    BeamSearch(3, length_penalty=2.0, early_stopping=True, num_return_sequences=3),
    BeamSearch(3, length_penalty=-1.0, num_return_sequences=2),
    BeamSearch(2, length_penalty=1.5, early_stopping="never", num_return_sequences=2),
    BeamSearch(1),
]


@pytest.mark.parametrize(
    ("search", "stops"),
    [*((search, (4, 7)) for search in SEARCHES), (SEARCHES[0], ()), (SEARCHES[0], (4,)), (SEARCHES[2], (4,))],
    ids=str,
)
def test_beam_search_equals_the_plain_implementation(decoder, oracles, search, stops):
    result = generate(decoder, ROWS, max_new_tokens=6, sampler=search, stop_token_ids=stops)
    rules = (6, search.num_beams, search.length_penalty, search.early_stopping, stops)
    expected = [reference(oracle, *rules) for oracle in oracles]
    check(result, expected, search.num_return_sequences, 6)


def test_the_searches_above_differ(oracles):
    found = {
        str([reference(oracle, 6, s.num_beams, s.length_penalty, s.early_stopping, (4, 7))[0] for oracle in oracles])
        for s in SEARCHES
    }
    assert len(found) >= 4


def test_enough_beams_find_the_best_of_all_sequences(decoder, oracles):
    length = 3
    result = generate(
        decoder, ROWS, max_new_tokens=length, sampler=BeamSearch(WORDS ** (length - 1), num_return_sequences=5)
    )
    for row, oracle in enumerate(oracles):
        scores = {}
        for tokens in itertools.product(range(WORDS), repeat=length):
            scores[tokens] = sum(oracle([list(tokens[:i])])[0][tokens[i]] for i in range(length)) / length
        best = sorted(scores, key=scores.get, reverse=True)[:5]
        assert [tuple(tokens) for tokens in result.to_lists()[row * 5 : row * 5 + 5]] == best


def test_one_beam_is_greedy(decoder):
    result = generate(decoder, ROWS, max_new_tokens=6, sampler=BeamSearch(1))
    assert result.to_lists() == generate(decoder, ROWS, max_new_tokens=6).to_lists()


def test_beam_search_behind_an_encoder():
    model = small_encoder_decoder(position="learned", key_heads=2)
    search = BeamSearch(3, num_return_sequences=3)
    result = generate(model, PROMPTS, max_new_tokens=5, sampler=search, stop_token_ids=4, start_token_id=START)
    expected = []
    for source in PROMPTS:
        oracle = oracle_of(lambda rows, s=source: plain_logits(model, [[START, *row] for row in rows], s)[:, -1])
        expected.append(reference(oracle, 5, 3, stops=(4,)))
    check(result, expected, 3, 5)


def test_processors_act_on_log_probabilities(decoder, oracles):
    """Hugging Face's rule: the penalty multiplies log-probabilities, and nothing is normalised again."""
    options = {"sampler": BeamSearch(3), "stop_token_ids": 4, "repetition_penalty": 1.5, "min_new_tokens": 3}
    result = generate(decoder, ROWS, max_new_tokens=6, **options)

    def processed(oracle, prompt):
        def changed(rows):
            found = []
            for tokens, values in zip(rows, oracle(rows), strict=True):
                values = np.where(np.isin(np.arange(WORDS), prompt + tokens), values * 1.5, values)
                found.append(np.where((np.arange(WORDS) == 4) & (len(tokens) < 3), -np.inf, values))
            return found

        return changed

    expected = [
        reference(processed(oracle, prompt), 6, 3, stops=(4,)) for oracle, prompt in zip(oracles, ROWS, strict=True)
    ]
    check(result, expected, 1, 6)


@pytest.mark.parametrize("search", SEARCHES[:5], ids=lambda s: f"{s.num_beams}-{s.length_penalty}-{s.early_stopping}")
def test_the_plain_implementation_equals_hugging_face(search):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"vocab_size": WORDS, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "initializer_range": 1.0}
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=4, pad_token_id=0)
    ).eval()
    for prompt in ROWS:

        def logits_of(rows, prompt=prompt):
            with torch.no_grad():
                return model(torch.tensor([prompt + row for row in rows])).logits[:, -1].numpy()

        expected = reference(
            oracle_of(logits_of), 6, search.num_beams, search.length_penalty, search.early_stopping, (4, 7)
        )
        found = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones((1, len(prompt)), dtype=torch.int64),
            max_new_tokens=6,
            do_sample=False,
            num_beams=search.num_beams,
            length_penalty=search.length_penalty,
            early_stopping=search.early_stopping,
            num_return_sequences=search.num_return_sequences,
            eos_token_id=[4, 7],
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
        )
        for place in range(search.num_return_sequences):
            score, tokens = expected[place]
            sequence = found.sequences[place, len(prompt) :].tolist()
            assert sequence[: len(tokens)] == tokens
            np.testing.assert_allclose(float(found.sequences_scores[place]), score, rtol=1e-4)
