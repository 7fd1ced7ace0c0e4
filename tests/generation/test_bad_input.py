"""What generation refuses, with an error from Python before anything is compiled. Runs under every backend."""

import keras
import numpy as np
import pytest

from keras_transformer import ops
from keras_transformer.generation import (
    BeamSearch,
    ForcedToken,
    GenerationConfig,
    Sample,
    export_function,
    generate,
    stream,
)
from keras_transformer.models import TransformerDecoder
from tests.generation.small_models import VOCABULARY, small_decoder, small_encoder_decoder
from tests.helpers import tiny_encoder


class Unhashable:
    __hash__ = None

    def __call__(self, logits, tokens):
        return logits


@pytest.fixture(autouse=True)
def _nothing_is_compiled(monkeypatch, request):
    if not request.node.name.startswith("test_the_longest"):
        monkeypatch.setattr(ops, "compiled", lambda *_: pytest.fail("compiled before the input was checked"))


@pytest.fixture(scope="module")
def decoder():
    return small_decoder(position="learned", max_length=10)


@pytest.fixture(scope="module")
def encoder_decoder():
    return small_encoder_decoder(position="sincos", max_length=10)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "at least one prompt"),
        ([[1, 2], []], "prompt 1 is empty"),
        (np.zeros((2, 0), "int32"), "prompt 0 is empty"),
        ([[1, VOCABULARY]], f"Received: {VOCABULARY} in prompt 0"),
        ([[1], [-1]], "Received: -1 in prompt 1"),
        ([1, 2, 3], "Prompts must be rows"),
        ([[[1, 2]]], "has 2 axes"),
        (np.ones((2, 2, 2), "int32"), r"Received: shape=\(2, 2, 2\)"),
        (np.ones(3, "int32"), r"Received: shape=\(3,\)"),
        ([[1.5, 2.0]], "dtype float64"),
        ([["a"]], "must be integers"),
    ],
)
def test_bad_prompts(decoder, prompts, message):
    with pytest.raises(ValueError, match=message):
        generate(decoder, prompts, max_new_tokens=2)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 4)), r"shape=\(2, 4\)"),
        (np.ones(3), r"shape=\(3,\)"),
        (np.full((2, 3), 2), "boolean or 0/1"),
        (np.array([[1, 1, 1], [0, 0, 0]]), "prompt 1 is empty"),
    ],
)
def test_bad_masks(decoder, mask, message):
    with pytest.raises(ValueError, match=message):
        generate(decoder, np.ones((2, 3), "int32"), padding_mask=mask, max_new_tokens=2)
    with pytest.raises(ValueError, match="unequal length"):
        generate(decoder, [[1, 2], [3]], padding_mask=mask, max_new_tokens=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer of at least 1. Received: 0"),
        ({"max_new_tokens": 2.0}, "Received: 2.0"),
        ({"max_tokens": 3}, "no option 'max_tokens'. Did you mean 'max_new_tokens'"),
        ({"sampler": "greedy"}, "sampler must be Greedy.*Received: 'greedy'"),
        ({"stop_token_ids": [VOCABULARY]}, "stop_token_ids must be in"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"pad_token_id": VOCABULARY}, "pad_token_id must be in"),
        ({"min_new_tokens": 3, "max_new_tokens": 2}, "min_new_tokens=3, max_new_tokens=2"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a finite number above 0. Received: 0"),
        ({"start_token_id": 1}, "leave out start_token_id. Received: start_token_id=1"),
        ({"logits_processors": ["upper"]}, "must be callable"),
        ({"logits_processors": [ForcedToken]}, "ForcedToken"),
        ({"logits_processors": [Unhashable()]}, "callable and hashable"),
        ({"config": {"max_new_tokens": 3}}, "config must be a GenerationConfig"),
    ],
)
def test_bad_options(decoder, options, message):
    with pytest.raises(ValueError, match=message):
        generate(decoder, [[1, 2]], **options)


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (Sample, {"temperature": 0}, r"Greedy\(\)"),
        (Sample, {"temperature": -1.0}, "temperature must be a finite number above 0. Received: -1.0"),
        (Sample, {"temperature": float("nan")}, "nan"),
        (Sample, {"top_k": 0}, "top_k must be an integer of at least 1. Received: 0"),
        (Sample, {"top_p": 0.0}, "top_p must be a finite number above 0 and at most 1. Received: 0.0"),
        (Sample, {"top_p": 1.5}, "top_p"),
        (Sample, {"min_p": 2}, "min_p"),
        (Sample, {"seed": -1}, "seed"),
        (Sample, {"seed": 2**31}, "seed must be below"),
        (BeamSearch, {"num_beams": 0}, "num_beams"),
        (BeamSearch, {"length_penalty": None}, "length_penalty"),
        (BeamSearch, {"early_stopping": "always"}, "early_stopping must be True, False or 'never'"),
        (BeamSearch, {"early_stopping": 1}, "Received: 1"),
        (BeamSearch, {"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences=3, num_beams=2"),
    ],
)
def test_bad_samplers(sampler, options, message):
    with pytest.raises(ValueError, match=message):
        sampler(**options)


def test_a_model_without_a_decoder():
    with pytest.raises(ValueError, match="Received: a TransformerEncoder, which has no decoder"):
        generate(tiny_encoder(), [[1]])
    with pytest.raises(ValueError, match="Received: a str"):
        stream("gpt2", [1])


def test_a_decoder_without_its_encoder():
    decoder = TransformerDecoder(small_encoder_decoder().decoder.config)
    with pytest.raises(ValueError, match="pass the TransformerEncoderDecoder"):
        generate(decoder, [[1]])


def test_an_encoder_decoder_needs_its_start_token(encoder_decoder):
    with pytest.raises(ValueError, match=r"pass start_token_id\. Received: None"):
        generate(encoder_decoder, [[1]], max_new_tokens=2)
    with pytest.raises(ValueError, match="start_token_id must be in"):
        generate(encoder_decoder, [[1]], max_new_tokens=2, start_token_id=VOCABULARY)


def test_more_tokens_than_positions(decoder, encoder_decoder):
    with pytest.raises(ValueError, match=r"Shorten the prompt to 7 tokens.*a prompt of 8 tokens and max_new_tokens=4"):
        generate(decoder, [[1], [2] * 8], max_new_tokens=4)
    with pytest.raises(ValueError, match="The decoder has 10 positions"):
        list(stream(decoder, [2] * 8, max_new_tokens=4))
    with pytest.raises(ValueError, match=r"encoder has 10 positions.*a prompt of 11 tokens"):
        generate(encoder_decoder, [[2] * 11], max_new_tokens=4, start_token_id=1)
    with pytest.raises(ValueError, match="max_new_tokens=11"):
        generate(encoder_decoder, [[2]], max_new_tokens=11, start_token_id=1)


def test_the_longest_prompt_fits(decoder, encoder_decoder):
    assert generate(decoder, [[1], [2] * 7], max_new_tokens=4).lengths.tolist() == [4, 4]
    assert generate(encoder_decoder, [[1], [2] * 10], max_new_tokens=10, start_token_id=1).lengths.tolist() == [10, 10]


def test_the_longest_prompt_has_no_limit_without_a_table():
    assert generate(small_decoder(position="alibi", max_length=4), [[2] * 9], max_new_tokens=3).lengths.tolist() == [3]


def test_streaming_refuses_what_it_cannot_stream_when_it_is_called(decoder):
    with pytest.raises(ValueError, match="use generate"):
        stream(decoder, [1], sampler=BeamSearch(2))
    with pytest.raises(ValueError, match="takes one prompt"):
        stream(decoder, [[1, 2]])
    with pytest.raises(ValueError, match="empty"):
        stream(decoder, np.zeros(0, "int32"))


def test_exporting_checks_what_it_can(decoder):
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
            export_function(decoder)
        return
    with pytest.raises(ValueError, match="prompt_length must be an integer above 0"):
        export_function(decoder, prompt_length=0)
    with pytest.raises(ValueError, match="a prompt of 9 tokens and max_new_tokens=4"):
        export_function(decoder, prompt_length=9, max_new_tokens=4)
    with pytest.raises(ValueError, match="leave out start_token_id"):
        export_function(decoder, start_token_id=3)


def test_a_config_is_changed_by_options_only_by_name():
    config = GenerationConfig(max_new_tokens=3, stop_token_ids=7)
    assert GenerationConfig.of(config, {"max_new_tokens": 5}) == GenerationConfig(max_new_tokens=5, stop_token_ids=(7,))
    assert hash(config) == hash(GenerationConfig(max_new_tokens=3, stop_token_ids=[7]))
