"""`model.jit_compile` lets XLA compile the loop: the same tokens, scores and lengths."""

import numpy as np
import pytest

from keras_transformer.generation import BeamSearch, Greedy, Sample, generate, stream
from tests.generation.small_models import PROMPTS, small_decoder


@pytest.mark.parametrize("sampler", [Greedy(), BeamSearch(num_beams=3)], ids=["greedy", "beam_search"])
def test_xla_makes_the_same_tokens(sampler):
    model = small_decoder()
    plain, compiled = (
        _with_xla(model, wanted, lambda: generate(model, PROMPTS, max_new_tokens=6, stop_token_ids=2, sampler=sampler))
        for wanted in (False, True)
    )
    assert compiled.to_lists() == plain.to_lists()
    np.testing.assert_allclose(compiled.scores, plain.scores, rtol=1e-4, atol=1e-4)


def test_xla_streams_what_it_generates():
    model = small_decoder()
    options = {"max_new_tokens": 5, "sampler": Sample(temperature=0.9, top_p=0.9, seed=3)}
    whole, tokens = _with_xla(
        model, True, lambda: (generate(model, PROMPTS[:1], **options), list(stream(model, PROMPTS[0], **options)))
    )
    assert tokens == whole.to_lists()[0]


def _with_xla(model, wanted, call):
    model.jit_compile = wanted
    return call()
