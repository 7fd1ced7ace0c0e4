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
        padded: Names of the inputs whose second axis is the length that `padding_mask` speaks of; or, for each of
            several masks, such names.
        dead: Ends of the paths of weights whose gradient is 0 by construction.
        float32: Whether the output is float32 under every dtype policy; for several outputs, of each.
        tolerance: Largest difference between bfloat16 and float32 outputs, relative to the largest output.
    """

    cls: str
    name: str
    arguments: Callable[[], dict[str, Any]]
    inputs: Callable[[], dict[str, np.ndarray]]
    parameters: int
    padded: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    dead: tuple[str, ...] = ()
    float32: bool | tuple[bool, ...] = False
    tolerance: float = 0.03

    @property
    def masks(self) -> dict[str, tuple[str, ...]]:
        """For each padding mask the inputs that it speaks of."""
        if isinstance(self.padded, dict):
            return self.padded
        return {"padding_mask": self.padded} if self.padded else {}

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


def tiny_decoder_config(**changes):
    """A `DecoderConfig` of the sizes of `tiny_config`."""
    from keras_transformer.models import DecoderConfig

    values = {k: v for k, v in vars(tiny_config()).items() if k not in ("num_segments", "pooler")}
    return DecoderConfig(**values | changes)


def tiny_encoder_decoder_config(share_embeddings: bool = True, **changes):
    """An `EncoderDecoderConfig` of the sizes of `tiny_config`."""
    from keras_transformer.models import EncoderDecoderConfig

    return EncoderDecoderConfig(
        tiny_config(num_segments=0, **changes), tiny_decoder_config(cross_attention=True, **changes), share_embeddings
    )


def decoder_inputs() -> dict[str, np.ndarray]:
    """A batch of three padded sequences."""
    return {name: value for name, value in text_inputs().items() if name != "segment_ids"}


def encoder_decoder_inputs() -> dict[str, np.ndarray]:
    """A batch of three padded pairs of sequences."""
    inputs = {f"decoder_{name}": value for name, value in decoder_inputs().items()}
    mask = padding_mask(5, 3, 2, length=5)
    return inputs | {
        "encoder_token_ids": (1 + integers(VOCABULARY - 1, BATCH, 5, seed=5)) * mask,
        "encoder_padding_mask": mask,
    }


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
_BOTH_SIDES = {f"{side}_padding_mask": (f"{side}_token_ids", f"{side}_padding_mask") for side in ("encoder", "decoder")}
_LAYERS = "keras_transformer.layers"
_MODELS = "keras_transformer.models"


def _part(config: str, /, **values):
    """A frozen configuration of `keras_transformer.layers`."""
    return getattr(importlib.import_module(_LAYERS), config)(**values)


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


def _causal_bias() -> np.ndarray:
    return np.where(np.tri(LENGTH)[None, None] > 0, 0.0, -30000.0).astype("float32")


def _rotation(dim: int) -> np.ndarray:
    angles = np.arange(LENGTH)[:, None] * 100.0 ** -(np.arange(0, dim, 2) / dim)
    return np.concatenate([np.cos(angles), np.sin(angles)], -1)[None, None].astype("float32")


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
        f"{_LAYERS}.masking.AttentionMask",
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
        f"{_LAYERS}.positions.LearnedPositions",
        "in order",
        lambda: {"max_length": LENGTH, "hidden_dim": HIDDEN, "initializer_range": 0.3},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=LENGTH * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.positions.LearnedPositions",
        "given",
        lambda: {"max_length": 12, "hidden_dim": HIDDEN, "initializer_range": 0.3},
        lambda: {
            "token_ids": integers(VOCABULARY, BATCH, LENGTH),
            "position_ids": integers(12, BATCH, LENGTH, seed=2),
        },
        parameters=12 * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.positions.SinCosPositions",
        "in order",
        lambda: {"max_length": 12, "hidden_dim": HIDDEN},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=0,
    ),
    Case(
        f"{_LAYERS}.positions.SinCosPositions",
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
        lambda: _block_arguments(residual="pre_norm"),
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN)},
        parameters=_BLOCK,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_LAYERS}.masking.AttentionMask",
        "causal, window, examples in a row",
        lambda: {"causal": True, "window": 3, "fill_value": -30.0},
        lambda: {
            "padding_mask": padding_mask(LENGTH, 4, 1),
            "example_ids": np.array([[1, 1, 1, 2, 2, 2], [1, 2, 2, 2, 0, 0], [1, 0, 0, 0, 0, 0]], "int32"),
        },
        parameters=0,
    ),
    Case(
        f"{_LAYERS}.normalization.RMSNorm",
        "epsilon",
        lambda: {"epsilon": 1e-5},
        lambda: {"x": 3 + 2 * floats(BATCH, LENGTH, HIDDEN)},
        parameters=HIDDEN,
    ),
    Case(
        f"{_LAYERS}.dropout.StochasticDepth",
        "rate and seed",
        lambda: {"rate": 0.25, "seed": 7},
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN)},
        parameters=0,
    ),
    Case(
        f"{_LAYERS}.pooling.MaxPooling",
        "padded",
        dict,
        lambda: {"sequence": floats(BATCH, LENGTH, HIDDEN), "padding_mask": padding_mask(LENGTH, 4, 1)},
        parameters=0,
        padded=("sequence", "padding_mask"),
    ),
    Case(
        f"{_LAYERS}.pooling.AttentionPooling",
        "padded",
        lambda: {"initializer_range": 0.3},
        lambda: {"sequence": floats(BATCH, LENGTH, HIDDEN), "padding_mask": padding_mask(LENGTH, 4, 2)},
        parameters=HIDDEN,
        padded=("sequence", "padding_mask"),
    ),
    Case(
        f"{_LAYERS}.positions.RotaryPositions",
        "stretched",
        lambda: {"dim": 4, "theta": 500.0, "scaling": "linear", "factor": 2.0},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=0,
        float32=True,
    ),
    Case(
        f"{_LAYERS}.positions.RotaryPositions",
        "given",
        lambda: {"dim": 4, "scaling": "ntk", "factor": 4.0},
        lambda: {
            "token_ids": integers(VOCABULARY, BATCH, LENGTH),
            "position_ids": integers(1000, BATCH, LENGTH, seed=2),
        },
        parameters=0,
        float32=True,
    ),
    Case(
        f"{_LAYERS}.relative.RelativeBias",
        "causal, in order",
        lambda: {
            "num_heads": 4,
            "bidirectional": False,
            "num_buckets": 8,
            "max_distance": 16,
            "initializer_range": 0.3,
        },
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=8 * 4,
        float32=True,
    ),
    Case(
        f"{_LAYERS}.relative.RelativeBias",
        "both sides, given",
        lambda: {"num_heads": 4, "initializer_range": 0.3},
        lambda: {
            "token_ids": integers(VOCABULARY, BATCH, LENGTH),
            "position_ids": integers(500, BATCH, LENGTH, seed=2),
            "key_positions": integers(500, BATCH, 4, seed=3),
        },
        parameters=32 * 4,
        float32=True,
    ),
    Case(
        f"{_LAYERS}.relative.ALiBi",
        "six heads",
        lambda: {"num_heads": 6},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=0,
        float32=True,
    ),
    Case(
        f"{_LAYERS}.relative.RelativeKeys",
        "near",
        lambda: {"head_dim": 4, "max_distance": 2, "initializer_range": 0.3},
        lambda: {"token_ids": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=5 * 4,
    ),
    Case(
        f"{_LAYERS}.embeddings.TokenEmbedding",
        "scaled",
        lambda: {"vocabulary_size": VOCABULARY, "dim": HIDDEN, "scaled": True, "initializer_range": 0.3},
        lambda: {"inputs": integers(VOCABULARY, BATCH, LENGTH)},
        parameters=VOCABULARY * HIDDEN,
    ),
    Case(
        f"{_LAYERS}.embeddings.TransformerEmbedding",
        "factorised",
        lambda: {
            "vocabulary_size": VOCABULARY,
            "hidden_dim": HIDDEN,
            "norm": _part("NormConfig", epsilon=1e-6, kind="rms_norm"),
            "embedding_dim": 8,
            "scaled": True,
            "initializer_range": 0.3,
        },
        lambda: {
            "token_ids": integers(VOCABULARY, BATCH, LENGTH),
            "segment_ids": integers(2, BATCH, LENGTH, seed=1),
            "positions": floats(1, LENGTH, 8),
        },
        parameters=(VOCABULARY + 2) * 8 + 8 + 8 * HIDDEN + HIDDEN,
    ),
    Case(
        f"{_LAYERS}.attention.MultiHeadAttention",
        "grouped queries, rotation, distances",
        lambda: {
            "hidden_dim": HIDDEN,
            "num_heads": 4,
            "num_key_value_heads": 2,
            "use_bias": False,
            "scaled": False,
            "initializer_range": 0.3,
        },
        lambda: {"query": floats(BATCH, LENGTH, HIDDEN), "rotation": _rotation(4)},
        parameters=2 * HIDDEN * HIDDEN + 2 * HIDDEN * 8,
    ),
    Case(
        f"{_LAYERS}.feed_forward.FeedForward",
        "gated",
        lambda: {
            "hidden_dim": HIDDEN,
            "intermediate_dim": 24,
            "activation": "gelu_tanh",
            "gated": True,
            "use_bias": False,
            "dropout": 0.1,
            "initializer_range": 0.3,
        },
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN)},
        parameters=3 * HIDDEN * 24,
    ),
    Case(
        f"{_LAYERS}.encoder.EncoderBlock",
        "parallel, root mean square",
        lambda: _block_arguments(
            residual="parallel", stochastic_depth=0.2, norm=_part("NormConfig", epsilon=1e-6, kind="rms_norm")
        ),
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN), "attention_bias": _mask_bias()},
        parameters=_BLOCK - 2 * HIDDEN,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_LAYERS}.decoder.DecoderBlock",
        "alone, grouped queries",
        lambda: _block_arguments(
            residual="pre_norm", attention=_part("AttentionConfig", num_heads=4, dropout=0.1, num_key_value_heads=1)
        ),
        lambda: {"x": floats(BATCH, LENGTH, HIDDEN), "attention_bias": _causal_bias(), "rotation": _rotation(4)},
        parameters=_BLOCK - 2 * (HIDDEN * 12 + 12),
    ),
    Case(
        f"{_LAYERS}.decoder.DecoderBlock",
        "behind an encoder",
        lambda: _block_arguments(cross_attention=True, dropout=0.1),
        lambda: {
            "x": floats(BATCH, LENGTH, HIDDEN),
            "attention_bias": _causal_bias(),
            "encoder_output": floats(BATCH, 4, HIDDEN, seed=1),
        },
        parameters=_BLOCK + _ATTENTION + 2 * HIDDEN,
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
            "config": tiny_config(residual="pre_norm", position="sincos", pooler=True, num_segments=0),
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
            "encoder": tiny_encoder(pooler=True, residual="pre_norm"),
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
        f"{_MODELS}.encoder.TransformerEncoder",
        "relative keys, window, factorised, stochastic depth",
        lambda: {
            "config": tiny_config(position="relative_keys", window=3, embedding_dim=8, stochastic_depth=0.5),
        },
        text_inputs,
        parameters=(VOCABULARY + 2) * 8 + 2 * 8 + 8 * HIDDEN + HIDDEN + 2 * _BLOCK + (2 * 128 + 1) * 4,
        padded=_TEXT,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_MODELS}.decoder.TransformerDecoder",
        "as GPT-2",
        lambda: {"config": tiny_decoder_config(residual="pre_norm")},
        decoder_inputs,
        parameters=VOCABULARY * HIDDEN + _POSITIONS + 2 * _BLOCK + 2 * HIDDEN,
        padded=("token_ids", "padding_mask"),
        dead=_KEY_BIAS,
        float32=(True, False),
    ),
    Case(
        f"{_MODELS}.decoder.TransformerDecoder",
        "as Llama",
        lambda: {
            "config": tiny_decoder_config(
                residual="pre_norm",
                position="rotary",
                norm=_part("NormConfig", epsilon=1e-6, kind="rms_norm"),
                attention=_part("AttentionConfig", num_heads=4, dropout=0.0, num_key_value_heads=2, use_bias=False),
                feed_forward=_part(
                    "FeedForwardConfig", intermediate_dim=24, activation="silu", gated=True, use_bias=False
                ),
                tie_embeddings=False,
            ),
            "name": "llama",
        },
        decoder_inputs,
        parameters=2 * VOCABULARY * HIDDEN
        + 2 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * 8 + 3 * HIDDEN * 24 + 2 * HIDDEN)
        + HIDDEN,
        padded=("token_ids", "padding_mask"),
        float32=(True, False),
    ),
    Case(
        f"{_MODELS}.decoder.TransformerDecoder",
        "behind an encoder, ALiBi",
        lambda: {"config": tiny_decoder_config(position="alibi", cross_attention=True)},
        lambda: (
            decoder_inputs()
            | {
                "encoder_output": floats(BATCH, 5, HIDDEN, seed=4),
                "encoder_padding_mask": padding_mask(5, 3, 2, length=5),
            }
        ),
        parameters=VOCABULARY * HIDDEN + 2 * HIDDEN + 2 * (_BLOCK + _ATTENTION + 2 * HIDDEN),
        padded={
            "padding_mask": ("token_ids", "padding_mask"),
            "encoder_padding_mask": ("encoder_output", "encoder_padding_mask"),
        },
        dead=_KEY_BIAS,
        float32=(True, False),
    ),
    Case(
        f"{_MODELS}.encoder.TransformerEncoder",
        "one block for all layers, as ALBERT",
        lambda: {"config": tiny_config(share_blocks=True, num_layers=3, embedding_dim=8)},
        text_inputs,
        parameters=(VOCABULARY + 2) * 8 + 12 * 8 + 2 * 8 + 8 * HIDDEN + HIDDEN + _BLOCK,
        padded=_TEXT,
        dead=_KEY_BIAS,
    ),
    Case(
        f"{_MODELS}.decoder.TransformerDecoder",
        "scaled logits, as the first T5",
        lambda: {"config": tiny_decoder_config(scale_logits=True, position="none", residual="pre_norm")},
        decoder_inputs,
        parameters=VOCABULARY * HIDDEN + 2 * _BLOCK + 2 * HIDDEN,
        padded=("token_ids", "padding_mask"),
        dead=_KEY_BIAS,
        float32=(True, False),
    ),
    Case(
        f"{_MODELS}.encoder_decoder.TransformerEncoderDecoder",
        "shared embeddings, as T5",
        lambda: {"config": tiny_encoder_decoder_config(position="relative_bias", residual="pre_norm")},
        encoder_decoder_inputs,
        parameters=VOCABULARY * HIDDEN + 4 * _BLOCK + 2 * (_ATTENTION + 2 * HIDDEN) + 2 * 2 * HIDDEN + 2 * 32 * 4,
        padded=_BOTH_SIDES,
        dead=_KEY_BIAS,
        float32=(False, True, False),
    ),
    Case(
        f"{_MODELS}.encoder_decoder.TransformerEncoderDecoder",
        "two tables, as in 2017",
        lambda: {
            "config": tiny_encoder_decoder_config(share_embeddings=False, position="sincos", scale_embeddings=True),
        },
        encoder_decoder_inputs,
        parameters=2 * (VOCABULARY * HIDDEN + 2 * HIDDEN) + 4 * _BLOCK + 2 * (_ATTENTION + 2 * HIDDEN),
        padded=_BOTH_SIDES,
        dead=_KEY_BIAS,
        float32=(False, True, False),
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
        "depths": {"embeddings/tokens/table": 0, "head/kernel": 3},
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
