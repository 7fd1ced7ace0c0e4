"""Sizes by name: the parameters of the published models, as transformers counts them."""

import pytest

from keras_transformer import models
from tests.cases.models import MODELS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def count(model_class, config) -> int:
    """Returns the number of parameters of a model of transformers, shared ones once, without memory for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model_class(config).parameters())


def bert(hidden, layers, heads, **changes):
    values = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    return transformers.BertModel, transformers.BertConfig(**values, intermediate_size=4 * hidden, **changes)


def gpt2(hidden, layers, heads):
    return transformers.GPT2LMHeadModel, transformers.GPT2Config(n_embd=hidden, n_layer=layers, n_head=heads)


def t5(hidden, inner, layers, heads):
    return transformers.T5ForConditionalGeneration, transformers.T5Config(
        vocab_size=32128,
        d_model=hidden,
        d_ff=inner,
        num_layers=layers,
        num_heads=heads,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )


def llama(hidden, inner, layers, heads, key_heads):
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
    )


THEIRS = {
    "bert-tiny": lambda: bert(128, 2, 2),
    "bert-mini": lambda: bert(256, 4, 4),
    "bert-small": lambda: bert(512, 4, 8),
    "bert-medium": lambda: bert(512, 8, 8),
    "bert-base": lambda: bert(768, 12, 12),
    "bert-large": lambda: bert(1024, 24, 16),
    "minilm-l6": lambda: bert(384, 6, 12),
    "electra-small": lambda: (transformers.ElectraModel, transformers.ElectraConfig()),
    "gpt2-small": lambda: gpt2(768, 12, 12),
    "gpt2-medium": lambda: gpt2(1024, 24, 16),
    "gpt2-large": lambda: gpt2(1280, 36, 20),
    "gpt2-xl": lambda: gpt2(1600, 48, 25),
    "t5-small": lambda: t5(512, 1024, 8, 6),
    "t5-base": lambda: t5(768, 2048, 12, 12),
    "t5-large": lambda: t5(1024, 2816, 24, 16),
    "llama-like-tiny": lambda: llama(288, 768, 6, 6, 6),
    "llama-like-1b": lambda: llama(2048, 5632, 22, 32, 4),
    "llama-like-7b": lambda: llama(4096, 11008, 32, 32, 32),
}


@pytest.mark.parametrize("name", THEIRS)
def test_a_preset_has_as_many_parameters_as_in_transformers(name):
    expected = count(*THEIRS[name]())
    if name.startswith("t5"):
        # Version 1.1 has a kernel of its own for the logits; transformers 5 builds it tied, whatever its config says.
        config = models.preset(name).decoder
        expected += config.vocabulary_size * config.hidden_dim
    assert models.count_parameters(name) == expected


def test_roberta_has_all_but_the_two_positions_that_it_never_reads():
    config = transformers.RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )
    assert models.count_parameters("roberta-base") == count(transformers.RobertaModel, config) - 2 * 768


def test_the_model_of_2017_has_the_65_million_parameters_of_its_paper():
    assert models.PRESETS.keys() - THEIRS.keys() == {"roberta-base", "transformer-base"}
    assert models.count_parameters("transformer-base") == pytest.approx(65e6, rel=0.04)


@pytest.mark.parametrize("case", [case for case in MODELS if case.cls.__name__.startswith("Transformer")], ids=str)
def test_the_count_of_a_config_is_that_of_the_built_model(case):
    model = case.build()
    assert models.count_parameters(model.config) == model.count_params() == case.parameters


def test_presets_can_be_changed_and_built():
    config = models.preset("bert-tiny", vocabulary_size=50, position={"scheme": "rotary"})
    model = models.create(config, name="small")
    assert (model.name, model.config.position.scheme) == ("small", "rotary")
    assert models.preset("bert-tiny").vocabulary_size == 30522


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: models.preset("bert-tinny"), "Did you mean 'bert-tiny'"),
        (lambda: models.preset("bert-tiny", hiden_dim=3), "Did you mean 'hidden_dim'"),
        (lambda: models.create({"hidden_dim": 3}), "config must be a config"),
        (lambda: models.count_parameters("gpt5"), "preset must be one of"),
    ],
)
def test_mistakes_get_one_clear_message(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
