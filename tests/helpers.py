"""Shared parts of the tests: one case for every public Layer and Model, tiny models and tiny inputs."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np

HIDDEN = 16
BATCH, LENGTH = 3, 6


def our_modules() -> list:
    """Imports and returns every module of the package, export included (command-line entries not)."""
    import keras_transformer
    import keras_transformer.export

    names = ["keras_transformer"]
    for package in (keras_transformer, keras_transformer.export):
        names.append(package.__name__)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                names.append(module.name)
    return [importlib.import_module(name) for name in sorted(set(names))]


def our_classes(*bases: type) -> list[type]:
    """All public classes that are defined in the package and derive from one of `bases`."""
    found = {}
    for module in our_modules():
        for name, value in vars(module).items():
            ours = inspect.isclass(value) and value.__module__.split(".")[0] == "keras_transformer"
            if ours and issubclass(value, bases) and not name.startswith("_"):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return [found[name] for name in sorted(found)]


def class_named(name: str) -> type:
    """The class with this full name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@dataclasses.dataclass(frozen=True)
class Case:
    """How to build and call one Layer or Model.

    Args:
        cls: Full name of the class.
        name: What is special about this case.
        arguments: Returns the constructor's arguments (a function, as some are models themselves).
        inputs: Returns the arguments of a call by name, as arrays; for a Model, its dict of inputs.
        parameters: Number of trainable parameters, counted by hand.
        padded: Names of the inputs whose second axis is the length that `padding_mask` speaks of.
        dead: Ends of the paths of weights whose gradient is 0 by construction.
        float32: True if the output is float32 under every dtype policy.
        tolerance: Largest difference between bfloat16 and float32 outputs, relative to the largest output.
    """

    cls: str
    name: str
    arguments: Callable[[], dict[str, Any]]
    inputs: Callable[[], dict[str, np.ndarray]]
    parameters: int
    padded: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    float32: bool = False
    tolerance: float = 0.03

    def build(self):
        """Constructs the layer or model."""
        return class_named(self.cls)(**self.arguments())

    def __str__(self) -> str:
        return f"{self.cls.rpartition('.')[2]}-{self.name}"


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal float32 values."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def integers(high: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Uniform int32 values in [0, high)."""
    return np.random.default_rng(seed).integers(0, high, shape).astype("int32")


def padding_mask(*lengths: int, length: int = LENGTH) -> np.ndarray:
    """Int32 mask with one row for each of `lengths`."""
    return (np.arange(length)[None] < np.array(lengths)[:, None]).astype("int32")


VOCABULARY = 30


def text_inputs() -> dict[str, np.ndarray]:
    """A batch of three padded sequences with two segments."""
    mask = padding_mask(LENGTH, 4, 1)
    return {
        "token_ids": (1 + integers(VOCABULARY - 1, BATCH, LENGTH)) * mask,
        "segment_ids": integers(2, BATCH, LENGTH, seed=1) * mask,
        "padding_mask": mask,
    }


def tiny_config(**changes):
    """An `EncoderConfig` that builds in no time, without dropout; weights large enough to matter."""
    from keras_transformer.layers import AttentionConfig, FeedForwardConfig
    from keras_transformer.models import EncoderConfig

    values = {
        "vocabulary_size": VOCABULARY,
        "hidden_dim": HIDDEN,
        "num_layers": 2,
        "max_length": 12,
        "dropout": 0.0,
        "attention": AttentionConfig(num_heads=4, dropout=0.0),
        "feed_forward": FeedForwardConfig(intermediate_dim=24),
        "initializer_range": 0.2,
    }
    return EncoderConfig(**values | changes)


def tiny_classifier(**changes):
    """A `TextClassifier` of two classes over `tiny_config`, without dropout."""
    from keras_transformer.models import TextClassifier

    return TextClassifier(tiny_encoder(**changes), num_outputs=2, dropout=0.0)


def tiny_encoder(**changes):
    """A `TransformerEncoder` over `tiny_config`."""
    from keras_transformer.models import TransformerEncoder

    return TransformerEncoder(tiny_config(**changes))


# Parameters by hand. A dense layer has inputs * outputs + outputs, a norm 2 * width.
_ATTENTION = 4 * (HIDDEN * HIDDEN + HIDDEN)
_FEED_FORWARD = HIDDEN * 24 + 24 + 24 * HIDDEN + HIDDEN
_BLOCK = _ATTENTION + _FEED_FORWARD + 2 * 2 * HIDDEN
_EMBEDDINGS = (VOCABULARY + 2) * HIDDEN
_POSITIONS = 12 * HIDDEN
_ENCODER = _EMBEDDINGS + _POSITIONS + 2 * HIDDEN + 2 * _BLOCK
# The softmax does not see a constant added to every score, so a bias of the keys has no effect.
_KEY_BIAS = ("key/bias",)
_TEXT = ("token_ids", "segment_ids", "padding_mask")
_LAYERS = "keras_transformer.layers"
_MODELS = "keras_transformer.models"


def _part(kind: str, **values):
    """A frozen configuration of `keras_transformer.layers`."""
    return getattr(importlib.import_module(_LAYERS), kind)(**values)


def _block_arguments(**changes):
    return {
        "hidden_dim": HIDDEN,
        "attention": _part("AttentionConfig", num_heads=4, dropout=0.0),
        "feed_forward": _part("FeedForwardConfig", intermediate_dim=24, activation="gelu"),
        "norm": _part("NormConfig", epsilon=1e-6),
        "initializer_range": 0.2,
    } | changes


def _mask_bias(fill: float = -30000.0) -> np.ndarray:
    return np.where(padding_mask(LENGTH, 4, 1)[:, None, None] > 0, 0.0, fill).astype("float32")


CASES = [
    Case(
        f"{_LAYERS}.dense.Dense",
        "gelu",
        lambda: {"units": 5, "activation": "gelu", "initializer_range": 0.3},
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN)},
        parameters=HIDDEN * 5 + 5,
    ),
    Case(
        f"{_LAYERS}.dense.Dense",
        "no bias, rank 2",
        lambda: {"units": 5, "activation": "linear", "use_bias": False, "initializer_range": 0.3},
        lambda: {"x": floats(BATCH, HIDDEN)},
        parameters=HIDDEN * 5,
    ),
    Case(
        f"{_LAYERS}.dropout.Dropout",
        "rate and seed",
        lambda: {"rate": 0.25, "seed": 7},
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN)},
        parameters=0,
    ),
    Case(
        f"{_LAYERS}.normalization.LayerNorm",
        "epsilon",
        lambda: {"epsilon": 1e-5},
        lambda: {"x": 3 + 2 * floats(BATCH, LENGTH, HIDDEN)},
        parameters=2 * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.padding.PaddingBias",
        "fill value",
        lambda: {"fill_value": -30.0},
        lambda: {"padding_mask": padding_mask(LENGTH, 4, 1)},
        parameters=0,
        padded=("padding_mask",),
    ),
    Case(
        f"{_LAYERS}.pooling.MeanPooling",
        "padded",
        dict,
        lambda: {"sequence": floats(BATCH, LENGTH, HIDDEN), "padding_mask": padding_mask(LENGTH, 4, 1)},
        parameters=0,
        padded=("sequence", "padding_mask"),
    ),
    Case(
        f"{_LAYERS}.pooling.FirstTokenPooling",
        "padded",
        dict,
        lambda: {"sequence": floats(BATCH, LENGTH, HIDDEN), "padding_mask": padding_mask(LENGTH, 4, 1)},
        parameters=0,
        padded=("sequence", "padding_mask"),
    ),
    Case(
        f"{_LAYERS}.embeddings.LearnedPositions",
        "in order",
        lambda: {"max_length": LENGTH, "hidden_dim": HIDDEN, "initializer_range": 0.3},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=LENGTH * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.embeddings.LearnedPositions",
        "given",
        lambda: {"max_length": 12, "hidden_dim": HIDDEN, "initializer_range": 0.3},
        lambda: {
            "token_ids": integers(VOCABULARY, BATCH, LENGTH),
            "position_ids": integers(12, BATCH, LENGTH, seed=2),
        },
        parameters=12 * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.embeddings.SinCosPositions",
        "in order",
        lambda: {"max_length": 12, "hidden_dim": HIDDEN},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=0,
    ),
    Case(
        f"{_LAYERS}.embeddings.SinCosPositions",
        "given",
        lambda: {"max_length": 12, "hidden_dim": HIDDEN},
        lambda: {
            "token_ids": integers(VOCABULARY, BATCH, LENGTH),
            "position_ids": integers(12, BATCH, LENGTH, seed=2),
        },
        parameters=0,
    ),
    Case(
        f"{_LAYERS}.embeddings.TransformerEmbedding",
        "segments, norm, positions",
        lambda: {
            "vocabulary_size": VOCABULARY,
            "hidden_dim": HIDDEN,
            "num_segments": 3,
            "norm": _part("NormConfig", epsilon=1e-6),
            "dropout": 0.1,
            "initializer_range": 0.3,
        },
        lambda: {
            "token_ids": integers(VOCABULARY, BATCH, LENGTH),
            "segment_ids": integers(3, BATCH, LENGTH, seed=1),
            "positions": floats(1, LENGTH, HIDDEN),
        },
        parameters=(VOCABULARY + 3) * HIDDEN + 2 * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.embeddings.TransformerEmbedding",
        "tokens only",
        lambda: {"vocabulary_size": VOCABULARY, "hidden_dim": HIDDEN, "num_segments": 0},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=VOCABULARY * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.attention.MultiHeadAttention",
        "masked self-attention",
        lambda: {"hidden_dim": HIDDEN, "num_heads": 4, "dropout": 0.1, "initializer_range": 0.3},
        lambda: {"query": floats(BATCH, LENGTH, HIDDEN), "attention_bias": _mask_bias()},
        parameters=_ATTENTION,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_LAYERS}.attention.MultiHeadAttention",
        "cross-attention of another width",
        lambda: {"hidden_dim": HIDDEN, "num_heads": 2, "head_dim": 5, "initializer_range": 0.3},
        lambda: {"query": floats(BATCH, LENGTH, HIDDEN), "key_value": floats(BATCH, 4, 12, seed=1)},
        parameters=(HIDDEN * 10 + 10) + 2 * (12 * 10 + 10) + (10 * HIDDEN + HIDDEN),
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_LAYERS}.feed_forward.FeedForward",
        "silu",
        lambda: {"hidden_dim": HIDDEN, "intermediate_dim": 24, "activation": "silu", "initializer_range": 0.3},
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN)},
        parameters=_FEED_FORWARD,
    ),
    Case(
        f"{_LAYERS}.encoder.EncoderBlock",
        "post-norm",
        lambda: _block_arguments(dropout=0.1),
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN), "attention_bias": _mask_bias()},
        parameters=_BLOCK,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_LAYERS}.encoder.EncoderBlock",
        "pre-norm",
        lambda: _block_arguments(norm_first=True),
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN)},
        parameters=_BLOCK,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_MODELS}.encoder.TransformerEncoder",
        "post-norm",
        lambda: {"config": tiny_config()},
        text_inputs,
        parameters=_ENCODER,
        padded=_TEXT,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_MODELS}.encoder.TransformerEncoder",
        "pre-norm, sincos, pooler, no segments",
        lambda: {
            "config": tiny_config(norm_first=True, position="sincos", pooler=True, num_segments=0),
            "name": "other",
        },
        text_inputs,
        parameters=VOCABULARY * HIDDEN + 2 * _BLOCK + 2 * HIDDEN + (HIDDEN * HIDDEN + HIDDEN),
        padded=_TEXT,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_MODELS}.tasks.TextClassifier",
        "one of three labels, mean",
        lambda: {"encoder": tiny_encoder(), "num_outputs": 3, "dropout": 0.2},
        text_inputs,
        parameters=_ENCODER + 3 * HIDDEN + 3,
        padded=_TEXT,
        dead=_KEY_BIAS,
        float32=True,
    ),
    Case(
        f"{_MODELS}.tasks.TextClassifier",
        "many labels, first token, pooler",
        lambda: {
            "encoder": tiny_encoder(pooler=True, norm_first=True),
            "num_outputs": 4,
            "kind": "multi_label",
            "pooling": "first",
            "name": "tags",
        },
        text_inputs,
        parameters=_EMBEDDINGS + _POSITIONS + 2 * HIDDEN + 2 * _BLOCK + (HIDDEN * HIDDEN + HIDDEN) + 4 * HIDDEN + 4,
        padded=_TEXT,
        dead=_KEY_BIAS,
        float32=True,
    ),
    Case(
        f"{_MODELS}.tasks.TextClassifier",
        "regression",
        lambda: {"encoder": tiny_encoder(position="sincos"), "num_outputs": 1, "kind": "regression"},
        text_inputs,
        parameters=_ENCODER - _POSITIONS + HIDDEN + 1,
        padded=_TEXT,
        dead=_KEY_BIAS,
        float32=True,
    ),
    Case(
        "keras_transformer.training.distributed.DistributedModel",
        "around a classifier",
        lambda: {"model": tiny_classifier(), "examples_per_step": 8.0, "output": "logits"},
        text_inputs,
        parameters=_ENCODER + 2 * HIDDEN + 2,
        padded=_TEXT,
        dead=_KEY_BIAS,
        float32=True,
    ),
]


# Everything else that a model file may hold: class and constructor arguments.
OBJECTS = {
    "keras_transformer.losses.classification.ClassificationLoss": {
        "kind": "multi_label",
        "label_smoothing": 0.2,
        "reduction": "sum",
        "name": "tags",
    },
    "keras_transformer.losses.classification.RegressionLoss": {"reduction": None, "name": "stars"},
    "keras_transformer.optimizers.adamw.AdamW": {
        "learning_rate": 0.5,
        "weight_decay": 0.25,
        "beta_1": 0.5,
        "beta_2": 0.75,
        "epsilon": 0.125,
        "layer_decay": 0.5,
        "depths": {"embeddings/token_table": 0, "head/kernel": 3},
        "undecayed": ["bias"],
        "global_clipnorm": 2.0,
        "name": "adam",
    },
    "keras_transformer.optimizers.schedules.LinearWarmupDecay": {
        "peak_learning_rate": 0.5,
        "total_steps": 10,
        "warmup_steps": 3,
        "final_fraction": 0.25,
    },
}
