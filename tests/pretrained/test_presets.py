"""Backbones of keras-nlp other than BERT: the same hidden states and logits from the same preset."""

import keras
import numpy as np
import pytest

from keras_transformer import pretrained
from keras_transformer.models import TransformerDecoder, TransformerEncoder
from tests.pretrained.small_models import random_inputs

TOLERANCE = 1e-4
_SIZES = {"vocabulary_size": 100, "num_layers": 3, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 56}
_LENGTH = {"max_sequence_length": 40}
_ELECTRA = {name: value for name, value in _SIZES.items() if name != "vocabulary_size"} | {"vocab_size": 100} | _LENGTH
_LLAMA = {name: value for name, value in _SIZES.items() if name != "num_heads"}
_LLAMA |= {"num_query_heads": 4, "num_key_value_heads": 2}
CASES = {
    "distilbert": ("DistilBertBackbone", _SIZES | _LENGTH),
    "roberta": ("RobertaBackbone", _SIZES | _LENGTH),
    "electra": ("ElectraBackbone", _ELECTRA | {"embedding_dim": 16}),
    "electra-one-width": ("ElectraBackbone", _ELECTRA | {"embedding_dim": 32}),
    "albert": ("AlbertBackbone", _SIZES | _LENGTH | {"embedding_dim": 16}),
    "gpt2": ("GPT2Backbone", _SIZES | _LENGTH),
    "llama": ("LlamaBackbone", _LLAMA | {"rope_max_wavelength": 500}),
    "llama-tied": ("LlamaBackbone", _LLAMA | {"tie_word_embeddings": True}),
    "t5": ("T5Backbone", _SIZES | {"use_gated_activation": False}),
    "t5-v1.1": (
        "T5Backbone",
        _SIZES | {"key_value_dim": 6, "tie_embedding_weights": False, "activation": "gelu"},
    ),
    "bart": ("BartBackbone", _SIZES | _LENGTH),
}


def write_preset(case, folder):
    import keras_hub

    name, fields = CASES[case]
    backbone = getattr(keras_hub.models, name)(**fields)
    random = np.random.default_rng(0)
    for variable in backbone.weights:
        is_norm = "norm" in variable.path and len(variable.shape) == 1 and "bias" not in variable.path
        scale = 0.3 if len(variable.shape) == 1 else 0.2
        variable.assign((is_norm and "beta" not in variable.path) + random.normal(size=variable.shape) * scale)
    backbone.save_to_preset(folder)
    return backbone


def states_of(backbone, inputs, prefix):
    """The outputs of all blocks with this prefix, but for the last, which a norm may follow."""
    names = [layer.name for layer in backbone.layers if layer.name.startswith(prefix)][:-1]
    outputs = [keras.tree.flatten(backbone.get_layer(name).output)[0] for name in names]
    return [np.array(value) for value in keras.Model(backbone.inputs, outputs)(inputs)] if outputs else []


def compare(ours, expected, mask):
    assert len(ours) == len(expected) > 0
    worst = max(np.abs(np.array(a) - np.array(b))[mask > 0].max() for a, b in zip(ours, expected, strict=True))
    assert worst <= TOLERANCE, f"largest difference {worst}"
    assert np.array(expected[-1])[mask > 0].std(axis=0).max() > 0.1


@pytest.mark.parametrize("case", CASES)
def test_the_same_states_and_logits(case, tmp_path):
    backbone = write_preset(case, tmp_path)
    model = pretrained.load_model(tmp_path)
    assert model.count_params() == backbone.count_params()
    if isinstance(model, TransformerEncoder):
        inputs = random_inputs("encoder")
        accepted = {name: inputs[name] for name in backbone.input}
        expected = backbone(accepted)
        ours = model(inputs)
        last = expected["sequence_output"] if isinstance(expected, dict) else expected
        states = [] if case == "albert" else states_of(backbone, accepted, "transformer_layer_")
        mine = model.hidden_states(model.embed(inputs["token_ids"], inputs["segment_ids"]), inputs["padding_mask"])
        mine = [*mine[1:-1], ours["sequence_output"]][-len(states) - 1 :]
        compare(mine, [*states, last], inputs["padding_mask"])
        if isinstance(expected, dict):
            difference = np.array(ours["pooled_output"]) - np.array(expected["pooled_output"])
            assert np.abs(difference).max() <= TOLERANCE
    elif isinstance(model, TransformerDecoder):
        inputs = random_inputs("decoder")
        mask = inputs["padding_mask"]
        last = backbone(inputs)
        mine = model.hidden_states(model.embed(inputs["token_ids"]), mask)
        compare([*mine[1:-1], mine[-1]], [*states_of(backbone, inputs, "transformer_layer_"), last], mask)
        logits = backbone.token_embedding(last, reverse=True)
        compare([model(inputs)["logits"]], [logits], mask)
    else:
        inputs = random_inputs("encoder_decoder")
        expected, ours = backbone(inputs), model(inputs)
        compare([ours["encoder_output"]], [expected["encoder_sequence_output"]], inputs["encoder_padding_mask"])
        decoded = expected["decoder_sequence_output"]
        compare([ours["sequence_output"]], [decoded], inputs["decoder_padding_mask"])
        scale = 32**-0.5 if case == "t5" else 1
        logits = backbone.token_embedding(decoded * scale, reverse=True)
        compare([ours["logits"]], [logits], inputs["decoder_padding_mask"])


_ADJUSTED = {
    "rope_frequency_adjustment_factor": 8.0,
    "rope_low_freq_factor": 1.0,
    "rope_high_freq_factor": 4.0,
    "rope_pretraining_sequence_length": 32,
}


@pytest.mark.parametrize(
    ("backbone", "fields", "message"),
    [
        ("LlamaBackbone", _LLAMA | _ADJUSTED, r"rope_frequency_adjustment_factor=8\.0"),
        ("LlamaBackbone", _LLAMA | {"rope_position_scaling_factor": 3.0}, r"rope_position_scaling_factor=3\.0"),
        ("AlbertBackbone", _SIZES | {"embedding_dim": 16, "num_inner_repetitions": 2}, "num_inner_repetitions=2"),
    ],
)
def test_variants_that_we_do_not_compute(backbone, fields, message, tmp_path):
    import keras_hub

    getattr(keras_hub.models, backbone)(**fields).save_to_preset(tmp_path)
    with pytest.raises(ValueError, match=message):
        pretrained.load_model(tmp_path)
