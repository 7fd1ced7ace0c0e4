"""The frozen, nested description of a model."""

import dataclasses

from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.layers.parts import Part, check_choice, check_positive, check_rate
from keras_transformer.ops.masks import MASK_FILL

POSITIONS = ("learned", "sincos")


@dataclasses.dataclass(frozen=True)
class EncoderConfig(Part):
    """Sizes and parts of a `TransformerEncoder`; the defaults are those of MiniLM-L6 with BERT's vocabulary.

    Args:
        vocabulary_size: Number of tokens.
        hidden_dim: Width of the hidden states.
        num_layers: Number of encoder blocks.
        max_length: Number of positions, in tokens.
        num_segments: Number of segments; 0 for none.
        position: "learned" or "sincos".
        norm_first: False for post-norm (BERT), True for pre-norm with a final norm.
        dropout: Dropout rate of the embeddings and of both sublayers' outputs, in [0, 1).
        pooler: Whether a dense layer with tanh on the first token gives `pooled_output`.
        attention: Attention of each block.
        feed_forward: Feed-forward network of each block.
        norm: Every norm.
        initializer_range: Standard deviation of the truncated normal that initialises tables and kernels.
        mask_fill: Bias of a masked key in the attention scores.

    Raises:
        ValueError: For a value out of range, or heads that do not divide `hidden_dim`.
    """

    vocabulary_size: int = 30522
    hidden_dim: int = 384
    num_layers: int = 6
    max_length: int = 512
    num_segments: int = 2
    position: str = "learned"
    norm_first: bool = False
    dropout: float = 0.1
    pooler: bool = False
    attention: AttentionConfig = dataclasses.field(default_factory=AttentionConfig)
    feed_forward: FeedForwardConfig = dataclasses.field(
        default_factory=lambda: FeedForwardConfig(intermediate_dim=1536)
    )
    norm: NormConfig = dataclasses.field(default_factory=NormConfig)
    initializer_range: float = 0.02
    mask_fill: float = MASK_FILL

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "hidden_dim", "num_layers", "max_length"):
            check_positive(name, getattr(self, name))
        check_choice("position", self.position, POSITIONS)
        check_rate("dropout", self.dropout)
        if self.attention.head_dim is None and self.hidden_dim % self.attention.num_heads:
            raise ValueError(
                f"attention.num_heads must divide hidden_dim, or attention.head_dim must be given. "
                f"Received: hidden_dim={self.hidden_dim}, num_heads={self.attention.num_heads}"
            )
