"""A saved function gives the tokens of `generate` after loading. TensorFlow only."""

import keras
import pytest

from keras_transformer.generation import BeamSearch, Greedy, Sample, export_function, generate
from tests.generation.small_models import PROMPTS, START, small_decoder, small_encoder_decoder

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel holds TensorFlow functions", allow_module_level=True)
tf = pytest.importorskip("tensorflow")


def padded(prefix=""):
    ids = tf.ragged.constant(PROMPTS, dtype=tf.int32).to_tensor(39)
    mask = tf.sequence_mask([len(prompt) for prompt in PROMPTS], dtype=tf.int32)
    return {f"{prefix}token_ids": ids, f"{prefix}padding_mask": mask}


def saved_and_loaded(model, folder, **options):
    module = tf.Module()
    module.model = model
    module.generate = export_function(model, **options)
    tf.saved_model.save(module, str(folder), signatures={"generate": module.generate})
    return tf.saved_model.load(str(folder)).signatures["generate"]


@pytest.mark.parametrize("sampler", [Greedy(), BeamSearch(3, num_return_sequences=2)], ids=["greedy", "beams"])
def test_a_loaded_decoder_gives_the_same_tokens(tmp_path, sampler):
    model = small_decoder(position="relative_bias")
    options = {"max_new_tokens": 5, "stop_token_ids": (4, 9), "sampler": sampler, "repetition_penalty": 1.2}
    expected = generate(model, PROMPTS, **options)
    loaded = saved_and_loaded(model, tmp_path, **options)
    found = loaded(**padded())
    assert found["token_ids"].numpy().tolist() == expected.token_ids.tolist()
    assert found["lengths"].numpy().tolist() == expected.lengths.tolist()
    shorter = loaded(token_ids=tf.constant([[0, 11, 11, 30]]), padding_mask=tf.constant([[0, 1, 1, 1]]))
    count = getattr(sampler, "num_return_sequences", 1)
    assert shorter["token_ids"].numpy().tolist() == expected.token_ids[-count:].tolist()


def test_a_loaded_sampler_takes_the_seed_of_the_request(tmp_path):
    model = small_decoder()
    options = {"max_new_tokens": 5}
    loaded = saved_and_loaded(model, tmp_path, sampler=Sample(top_k=20, seed=1), prompt_length=5, **options)
    for seed in (1, 2):
        expected = generate(model, PROMPTS, sampler=Sample(top_k=20, seed=seed), **options)
        found = loaded(**padded(), seed=tf.constant(seed))
        assert found["token_ids"].numpy().tolist() == expected.token_ids.tolist()


def test_a_loaded_encoder_decoder_gives_the_same_tokens(tmp_path):
    model = small_encoder_decoder(position="learned", num_layers=1)
    options = {"max_new_tokens": 5, "start_token_id": START}
    loaded = saved_and_loaded(model, tmp_path, **options)
    found = loaded(**padded("encoder_"))
    assert found["token_ids"].numpy().tolist() == generate(model, PROMPTS, **options).token_ids.tolist()
