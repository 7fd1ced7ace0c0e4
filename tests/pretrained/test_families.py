"""Every family computes what transformers computes, both from what it wrote and from what we write."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_transformer import models, pretrained
from keras_transformer.generation import BeamSearch, generate
from tests.pretrained.small_models import (
    BEYOND_OURS,
    CASES,
    kind_of,
    largest_difference,
    random_inputs,
    theirs,
    write,
)

TOLERANCE = 1e-4


@pytest.fixture
def edit(tmp_path):
    """Changes fields of config.json and tensors of a folder; None removes a tensor."""

    def change(folder, config=None, tensors=None):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
        if tensors:
            path = folder / "model.safetensors"
            values = load_file(path) | tensors
            save_file({k: v for k, v in values.items() if v is not None}, path, metadata={"format": "pt"})

    return change


def inputs_of(case, folder):
    values = json.loads((folder / "config.json").read_text())
    return random_inputs(kind_of(case), segments=values.get("type_vocab_size", 2), padding=values["pad_token_id"] or 0)


@pytest.mark.parametrize("case", CASES)
def test_in_and_out(case, tmp_path):
    folder, back = tmp_path / "theirs", tmp_path / "ours"
    parameters = write(case, folder)
    inputs = inputs_of(case, folder)
    expected, _ = theirs(folder, CASES[case][0], inputs)
    model = pretrained.load_model(folder)
    assert largest_difference(model, inputs, expected) <= TOLERANCE
    assert model.count_params() == models.count_parameters(model.config) == parameters - BEYOND_OURS.get(case, 0)

    fields = {"pad_token_id": 0} if case == "roberta-padding-0" else None
    pretrained.save_huggingface(model, None, back, model_type=case.split("-")[0], fields=fields)
    (architecture,) = json.loads((back / "config.json").read_text())["architectures"]
    again, info = theirs(back, architecture, inputs)
    assert all("pooler" in key for key in info.pop("missing_keys"))  # transformers adds one where we have none
    assert not any(info.values())
    for name in expected.keys() & again.keys() - ({"pooler_output"} if model.count_params() != parameters else set()):
        pairs = zip(expected[name], again[name], strict=True)
        assert max(np.abs(a - b)[inputs_mask(inputs, name)].max() for a, b in pairs) == 0, name
    ours_again = pretrained.load_model(back)
    assert ours_again.config == model.config
    for a, b in zip(ours_again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.array(a), np.array(b))


def inputs_mask(inputs, name):
    if "states" not in name:
        return ...
    side = {"states": "", "encoder_hidden_states": "encoder_", "decoder_hidden_states": "decoder_"}[name]
    return inputs[f"{side}padding_mask"] > 0


@pytest.mark.parametrize(("case", "dtype"), [("gpt2", "bfloat16"), ("bart", "float16"), ("llama", "float32")])
def test_shards_and_half_precision(case, dtype, tmp_path):
    write(case, tmp_path, dtype, shard="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    inputs = inputs_of(case, tmp_path)
    expected, _ = theirs(tmp_path, CASES[case][0], inputs)
    assert largest_difference(pretrained.load_model(tmp_path), inputs, expected) <= TOLERANCE


# Weights with which sequences vary and some of them stop.
_GENERATING = {
    "gpt2": {"scale": 0.5, "seed": 2},
    "llama": {"scale": 0.5, "seed": 1},
    "t5": {"scale": 0.5, "seed": 1, "num_decoder_layers": 2},
    "t5-v1.1": {"scale": 0.5, "seed": 2, "num_decoder_layers": 2},
    "bart": {"scale": 0.1},
}


@pytest.mark.parametrize("sampler", [None, BeamSearch(3)], ids=["greedy", "beam"])
@pytest.mark.parametrize("case", _GENERATING)
def test_generated_sequences_are_equal(case, sampler, tmp_path):
    import torch
    import transformers

    # transformers 5 caches as many layers as T5's encoder has.
    write(case, tmp_path, **_GENERATING[case])
    auto = transformers.AutoModelForCausalLM if kind_of(case) == "decoder" else transformers.AutoModelForSeq2SeqLM
    their_model = auto.from_pretrained(tmp_path).eval()
    prompts = [[5, 8, 9, 31, 22], [7, 90], [11, 11, 30, 64, 12, 71, 3]]
    stop, start, new = 17, 2, 14
    penalty = 3.0 if case == "bart" else 1.0  # or it says one token over and over
    options = {"num_beams": 1 if sampler is None else 3, "forced_eos_token_id": None, "pad_token_id": 0}
    if kind_of(case) == "encoder_decoder":
        options["decoder_start_token_id"] = start
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        row = their_model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=stop,
            bos_token_id=None,
            repetition_penalty=penalty,
            **options,
        )[0].tolist()
        expected.append(row[len(prompt) if kind_of(case) == "decoder" else 1 :])
    given = {} if sampler is None else {"sampler": sampler}
    given["repetition_penalty"] = penalty
    start_token = {"start_token_id": start} if kind_of(case) == "encoder_decoder" else {}
    model = pretrained.load_model(tmp_path)
    result = generate(model, prompts, max_new_tokens=new, stop_token_ids=stop, **given, **start_token).to_lists()
    assert result == expected
    assert len({token for row in result for token in row}) > 4


def test_options_of_both_sides(tmp_path):
    write("bart", tmp_path)
    model = pretrained.load_encoder_decoder(tmp_path, max_length=12, num_layers=1, dropout=0.0, attention_dropout=0.3)
    for side in (model.config.encoder, model.config.decoder):
        assert (side.max_length, side.num_layers, side.dropout, side.attention.dropout) == (12, 1, 0.0, 0.3)
    np.testing.assert_array_equal(
        np.array(model.decoder.positions.table),
        load_file(tmp_path / "model.safetensors")["model.decoder.embed_positions.weight"][2:14],
    )


def test_unused_positions_are_written_as_zeros(tmp_path):
    write("roberta", tmp_path / "theirs")
    encoder = pretrained.load_encoder(tmp_path / "theirs")
    assert encoder.config.max_length == 38
    pretrained.save_huggingface(encoder, None, tmp_path / "ours", model_type="roberta")
    table = load_file(tmp_path / "ours" / "model.safetensors")["embeddings.position_embeddings.weight"]
    assert table.shape == (40, 32)
    assert not table[:2].any()
    assert table[2:].all()


@pytest.mark.parametrize("case", ["roberta", "albert"])
def test_classifiers_of_other_families(case, tmp_path):
    import torch
    import transformers

    architecture, config, sizes = CASES[case]
    classifier = architecture.replace("Model", "ForSequenceClassification")
    torch.manual_seed(0)
    config = getattr(transformers, config)(**sizes, num_labels=3, initializer_range=0.5)
    getattr(transformers, classifier)(config).save_pretrained(tmp_path / "theirs")
    inputs = inputs_of(case, tmp_path / "theirs")
    expected, _ = theirs(tmp_path / "theirs", classifier, inputs)
    model = pretrained.load_classifier(tmp_path / "theirs")
    assert np.abs(np.array(model(inputs)["logits"]) - expected["logits"]).max() <= TOLERANCE
    assert expected["logits"].std() > 0.1
    pretrained.save_huggingface(model, None, tmp_path / "ours", model_type=case)
    again, info = theirs(tmp_path / "ours", classifier, inputs)
    assert not any(info.values())
    np.testing.assert_array_equal(again["logits"], expected["logits"])


@pytest.mark.parametrize(
    ("case", "fields", "message"),
    [
        ("albert", {"inner_group_num": 2}, "inner_group_num=1 can be loaded"),
        ("albert", {"num_hidden_groups": 2}, "num_hidden_groups=2"),
        ("roberta", {"is_decoder": True}, "is_decoder=True"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ("gpt2", {"activation_function": "quick_gelu"}, "activation_function must be one of .* 'quick_gelu'"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_type='llama3'"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config="),
        ("t5", {"feed_forward_proj": "gated-mish"}, "feed_forward_proj must be one of .* 'mish'"),
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
    ],
)
def test_variants_that_we_do_not_compute(case, fields, message, tmp_path, edit):
    write(case, tmp_path)
    edit(tmp_path, fields)
    with pytest.raises(ValueError, match=message):
        pretrained.load_model(tmp_path)


@pytest.mark.parametrize(
    ("case", "name", "expected"),
    [
        ("gpt2", "transformer.h.1.attn.c_attn.weight", (32, 96)),
        ("llama", "model.layers.2.self_attn.k_proj.weight", (16, 32)),
        ("t5", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, 4)),
        ("bart", "model.encoder.embed_positions.weight", (42, 32)),
        ("albert", "encoder.albert_layer_groups.0.albert_layers.0.ffn.weight", (56, 32)),
        ("distilbert", "transformer.layer.0.ffn.lin1.bias", (56,)),
    ],
)
def test_tensors_that_do_not_fit(case, name, expected, tmp_path, edit):
    write(case, tmp_path)
    edit(tmp_path, tensors={name: np.zeros((7, 5), "float32")})
    both_shapes = f"{re.escape(repr(name))}.*expected shape {re.escape(str(expected))}.*shape {re.escape('(7, 5)')}"
    with pytest.raises(ValueError, match=both_shapes):
        pretrained.load_model(tmp_path)
    edit(tmp_path, tensors={name: None})
    with pytest.raises(ValueError, match=re.escape(f"lacks the tensor {name!r}, expected with shape {expected}")):
        pretrained.load_model(tmp_path)


def test_final_logits_bias_must_be_zero(tmp_path, edit):
    write("bart", tmp_path)
    edit(tmp_path, tensors={"final_logits_bias": np.full((1, 100), 0.5, "float32")})
    with pytest.raises(ValueError, match=r"'final_logits_bias'.*only zeros .* Received: values up to 0\.5"):
        pretrained.load_model(tmp_path)


def test_copies_of_shared_embeddings_must_be_the_same(tmp_path, edit):
    write("bart", tmp_path)
    shared = load_file(tmp_path / "model.safetensors")["model.shared.weight"]
    edit(tmp_path, tensors={"model.shared.weight": None, "model.decoder.embed_tokens.weight": shared})
    model = pretrained.load_model(tmp_path)
    np.testing.assert_array_equal(np.array(model.encoder.embeddings.tokens.table), shared)
    edit(tmp_path, tensors={"model.encoder.embed_tokens.weight": shared + 1})
    with pytest.raises(ValueError, match="must be the same"):
        pretrained.load_model(tmp_path)


def test_the_right_function_for_the_kind(tmp_path):
    write("gpt2", tmp_path)
    assert pretrained.load_decoder(tmp_path).name == "decoder"
    with pytest.raises(ValueError, match="load_encoder does not load 'gpt2': use load_decoder"):
        pretrained.load_encoder(tmp_path)
    with pytest.raises(ValueError, match="load_encoder_decoder does not load 'gpt2'"):
        pretrained.load_encoder_decoder(tmp_path)
    with pytest.raises(ValueError, match="pooler=True"):
        pretrained.load_model(tmp_path, pooler=True)


@pytest.mark.parametrize("case", ["distilbert", "electra"])
def test_a_pooler_where_the_family_has_none(case, tmp_path):
    write(case, tmp_path)
    with pytest.raises(ValueError, match="no weights for pooler/kernel"):
        pretrained.load_encoder(tmp_path, pooler=True)


def test_models_without_a_counterpart(tmp_path):
    from keras_transformer.models import DecoderConfig, TransformerDecoder

    config = DecoderConfig(vocabulary_size=20, hidden_dim=24, num_layers=1, position="alibi", residual="parallel")
    with pytest.raises(ValueError, match=r"no counterpart of this decoder\. Received: .*gpt2.*llama"):
        pretrained.save_huggingface(TransformerDecoder(config), None, tmp_path / "model")
    write("bert", tmp_path / "bert")
    encoder = pretrained.load_encoder(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"no counterpart of this encoder\. Received: pooler=True, not in distilbert"):
        pretrained.save_huggingface(encoder, None, tmp_path / "model", model_type="distilbert")
    with pytest.raises(ValueError, match="'t5' is not one of encoder"):
        pretrained.save_huggingface(encoder, None, tmp_path / "model", model_type="t5")
    with pytest.raises(ValueError, match=r"'albert', 'bart', .* can be loaded"):
        pretrained.save_huggingface(encoder, None, tmp_path / "model", model_type="xlnet")
    assert not (tmp_path / "model").exists()


def test_special_tokens_go_out(tmp_path):
    import transformers

    write("gpt2", tmp_path / "theirs")
    model = pretrained.load_model(tmp_path / "theirs")
    fields = {"eos_token_id": 5, "pad_token_id": 6}
    pretrained.save_huggingface(model, None, tmp_path / "ours", fields=fields)
    config = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").generation_config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, 5, 6)


@pytest.mark.parametrize("case", ["albert", "t5"])
def test_a_loaded_model_is_saved_by_keras(case, tmp_path):
    """One block for all layers, and scaled logits, survive `.keras`."""
    import keras

    write(case, tmp_path / "theirs")
    inputs = inputs_of(case, tmp_path / "theirs")
    model = pretrained.load_model(tmp_path / "theirs")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.config == model.config
    assert len(again.trainable_variables) == len(model.trainable_variables)
    name = "sequence_output" if case == "albert" else "logits"
    np.testing.assert_array_equal(np.array(again(inputs)[name]), np.array(model(inputs)[name]))
