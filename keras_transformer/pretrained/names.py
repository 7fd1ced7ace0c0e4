"""One table of every weight of a BERT encoder: our name, Hugging Face's, keras-nlp's."""

import dataclasses
from typing import Any

import numpy as np

from keras_transformer.models import EncoderConfig, TransformerEncoder

# (ours, Hugging Face's, keras-nlp's: layer of BertBackbone and dataset in it)
_EMBEDDINGS = (
    ("embeddings.tokens.table", "embeddings.word_embeddings.weight", "token_embedding/0"),
    ("positions.table", "embeddings.position_embeddings.weight", "position_embedding/0"),
    ("embeddings.segment_table", "embeddings.token_type_embeddings.weight", "segment_embedding/0"),
    ("embeddings.norm.gamma", "embeddings.LayerNorm.weight", "embeddings_layer_norm/0"),
    ("embeddings.norm.beta", "embeddings.LayerNorm.bias", "embeddings_layer_norm/1"),
)
_BLOCK = (
    ("attention.query", "attention.self.query", "_self_attention_layer/query_dense"),
    ("attention.key", "attention.self.key", "_self_attention_layer/key_dense"),
    ("attention.value", "attention.self.value", "_self_attention_layer/value_dense"),
    ("attention.output_projection", "attention.output.dense", "_self_attention_layer/output_dense"),
    ("attention_norm", "attention.output.LayerNorm", "_self_attention_layer_norm"),
    ("feed_forward.intermediate", "intermediate.dense", "_feedforward_intermediate_dense"),
    ("feed_forward.output_projection", "output.dense", "_feedforward_output_dense"),
    ("feed_forward_norm", "output.LayerNorm", "_feedforward_layer_norm"),
)
POOLER = "pooler.dense.weight"


@dataclasses.dataclass(frozen=True)
class Weight:
    """One weight under its three names.

    Args:
        name: Path of the variable from the encoder, such as `blocks.0.attention.query.kernel`.
        huggingface: Name in a Hugging Face checkpoint, without the prefix `bert.`.
        keras_hub: Layer of keras-nlp's `BertBackbone`, sublayers, and number of the variable.
    """

    name: str
    huggingface: str
    keras_hub: str

    @property
    def is_kernel(self) -> bool:
        """Whether it is a matrix of a dense layer, which PyTorch stores as (out, in) and we as (in, out)."""
        return self.name.endswith(".kernel")

    def variable(self, encoder: TransformerEncoder) -> Any:
        """Returns the Keras variable of `encoder`."""
        node: Any = encoder
        for part in self.name.split("."):
            node = node[int(part)] if part.isdigit() else getattr(node, part)
        return node

    def shape(self, encoder: TransformerEncoder) -> tuple[int, ...]:
        """Returns the shape of the variable of `encoder`."""
        return tuple(self.variable(encoder).shape)


def encoder_weights(config: EncoderConfig) -> list[Weight]:
    """Lists the weights of a BERT encoder, in the order in which they are used.

    Args:
        config: The encoder's config; its number of blocks, its segments and its pooler decide.

    Returns:
        List of `Weight`.
    """
    weights = [
        Weight(ours, theirs, keras_hub)
        for ours, theirs, keras_hub in _EMBEDDINGS
        if config.num_segments or "segment" not in ours
    ]
    for i in range(config.num_layers):
        for ours, theirs, path in _BLOCK:
            kernel, bias = ("gamma", "beta") if ours.endswith("norm") else ("kernel", "bias")
            for index, (name, torch_name) in enumerate(((kernel, "weight"), (bias, "bias"))):
                weights.append(
                    Weight(
                        f"blocks.{i}.{ours}.{name}",
                        f"encoder.layer.{i}.{theirs}.{torch_name}",
                        f"transformer_layer_{i}/{path}/{index}",
                    )
                )
    if config.pooler:
        weights += [
            Weight("pooler.kernel", POOLER, "pooled_dense/0"),
            Weight("pooler.bias", "pooler.dense.bias", "pooled_dense/1"),
        ]
    return weights


def to_torch_layout(weight: Weight, value: np.ndarray) -> np.ndarray:
    """Returns a kernel transposed, anything else as it is; the same function serves both directions."""
    return np.ascontiguousarray(value.T) if weight.is_kernel else value
