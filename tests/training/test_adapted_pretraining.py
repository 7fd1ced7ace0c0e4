"""Less of a model is pretrained: frozen layers, adapters, and slower lower layers, for encoders and decoders."""

import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_transformer import models, pretrained
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.text import TextPacker, load_tokenizer, train_vocabulary
from keras_transformer.training import Recipe, run
from tests.training.test_pretraining import OBJECTIVES, tiny, write_corpus

KINDS = {"encoder": ("wordpiece", 150, {}), "decoder": ("byte_level_bpe", 330, {"style": "gpt2"})}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("text") / "corpus")


def save_start(kind, corpus, folder):
    """A Hugging Face folder with two blocks of random weights and a vocabulary of the corpus."""
    tokenizer, size, options = KINDS[kind]
    texts = (path.read_text() for path in sorted(corpus.iterdir()))
    train_vocabulary(tokenizer, texts, size, folder / "vocabulary", **options)
    tokenizer = load_tokenizer(folder / "vocabulary")
    sizes = {
        "vocabulary_size": tokenizer.vocabulary_size,
        "hidden_dim": 16,
        "num_layers": 2,
        "max_length": 24,
        "attention": AttentionConfig(num_heads=2),
        "feed_forward": FeedForwardConfig(32, "gelu_tanh" if kind == "decoder" else "gelu"),
    }
    if kind == "encoder":
        model = models.TransformerEncoder(models.EncoderConfig(**sizes))
    else:
        model = models.TransformerDecoder(models.DecoderConfig(residual="pre_norm", **sizes))
    pretrained.save_huggingface(model, TextPacker(tokenizer, max_length=24), folder / "model")
    return folder / "model"


def trained(objective, corpus, tmp_path, *fields):
    """The weights before and after a pretraining."""
    start = save_start(OBJECTIVES[objective], corpus, tmp_path)
    recipe = tiny(corpus, objective, f"model.init={start}", "pretrain.epochs=1", "pretrain.weight_decay=0", *fields)
    run(recipe, tmp_path / "run", pretrain_only=True)
    return (load_file(folder / "model.safetensors") for folder in (start, tmp_path / "run" / "pretrained"))


def block_of(name):
    """The number of the block that a weight of a Hugging Face folder belongs to; None for what is in no block."""
    found = re.search(r"(?:layer|h)\.(\d+)\.", name)
    return None if found is None else int(found[1])


@pytest.mark.parametrize("objective", ["masked", pytest.param("next_token", marks=pytest.mark.slow)])
def test_frozen_layers_stay_and_adapters_are_merged(objective, corpus, tmp_path):
    fields = ("pretrain.frozen_layers=1", "pretrain.lora_rank=3")
    before, after = trained(objective, corpus, tmp_path, *fields)
    assert set(before) == set(after)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    for name in changed:
        assert block_of(name) == 1, name
        assert re.search(r"(query|key|value|attention\.output\.dense|attn\.c_attn|attn\.c_proj)\.weight$", name), name
        matrix = (after[name] - before[name]).astype("float64")
        parts = np.split(matrix, matrix.shape[1] // 16, axis=1) if matrix.shape[0] == 16 else [matrix]
        for part in parts:
            assert np.linalg.matrix_rank(part, tol=1e-6) <= 3, name


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["masked", "replaced", "next_token"])
def test_lower_layers_learn_more_slowly(objective, corpus, tmp_path):
    """By a decay of 0.01 a layer the lower block moves far less than the upper one, and the embeddings hardly."""
    before, after = trained(objective, corpus, tmp_path, "pretrain.layer_decay=0.01")
    moved = {}
    for name in before:
        if name.endswith("weight") and before[name].ndim == 2:
            moved.setdefault(block_of(name), []).append(np.abs(after[name] - before[name]).max())
    assert max(moved[None]) < 0.1 * max(moved[0])
    assert max(moved[0]) < 0.1 * max(moved[1])


def test_more_than_the_model_has_is_named(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"pretrain\.frozen_layers must be at most 1 with these weights. Received: 2"):
        run(tiny(corpus, "masked", "pretrain.frozen_layers=2"), tmp_path / "run", pretrain_only=True)


@pytest.mark.parametrize("field", ["frozen_layers=1", "lora_rank=2", "layer_decay=0.5"])
@pytest.mark.parametrize("objective", [name for name, kind in OBJECTIVES.items() if kind == "encoder_decoder"])
def test_encoder_decoders_are_refused(objective, field):
    with pytest.raises(ValueError, match=f"for encoders and decoders alone.*objective={objective}"):
        Recipe().override(f"pretrain.objective={objective}", f"pretrain.{field}")
