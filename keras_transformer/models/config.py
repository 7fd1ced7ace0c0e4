"""The frozen, nested descriptions of models."""

import dataclasses

from keras_transformer.layers import AttentionConfig, FeedForwardConfig, NormConfig
from keras_transformer.layers.block import RESIDUALS
from keras_transformer.layers.parts import Part, check_choice, check_positive, check_rate
from keras_transformer.ops import rotary_frequencies
from keras_transformer.ops.masks import MASK_FILL

SCHEMES = ("learned", "sincos", "rotary", "relative_bias", "alibi", "relative_keys", "none")


@dataclasses.dataclass(frozen=True)
class PositionConfig(Part):
    """How a model knows the order of tokens.

    Args:
        scheme: "learned" or "sincos" vectors added to the embeddings; "rotary" (RoFormer, Llama); "relative_bias" (T5);
            "alibi"; "relative_keys" (Shaw et al.); or "none".
        theta: Base of the frequencies of "rotary".
        scaling: Of "rotary", for texts longer than in training: "none", "linear" or "ntk".
        factor: Of `scaling`: how many times longer.
        rotary_dim: Number of features of a head that are turned; None means all.
        num_buckets: Number of buckets of "relative_bias".
        max_distance: Distance from which on all are alike, of "relative_bias" and "relative_keys".

    Raises:
        ValueError: For an unknown scheme or a value out of range.
    """

    scheme: str = "learned"
    theta: float = 10000.0
    scaling: str = "none"
    factor: float = 1.0
    rotary_dim: int | None = None
    num_buckets: int = 32
    max_distance: int = 128

    def __post_init__(self) -> None:
        check_choice("position.scheme", self.scheme, SCHEMES)
        rotary_frequencies(self.rotary_dim or 2, self.theta, self.scaling, self.factor)
        check_positive("position.num_buckets", self.num_buckets)
        check_positive("position.max_distance", self.max_distance)


@dataclasses.dataclass(frozen=True)
class TransformerConfig(Part):
    """What encoders and decoders have in common; the sizes are those of MiniLM-L6 with BERT's vocabulary.

    Args:
        vocabulary_size: Number of tokens.
        hidden_dim: Width of the hidden states.
        num_layers: Number of blocks.
        max_length: Number of positions, in tokens.
        position: `PositionConfig`; the name of a scheme stands for its defaults.
        residual: "post_norm" (2017, BERT), "pre_norm" or "parallel"; see `layers.EncoderBlock`.
        dropout: Dropout rate of the embeddings and of every sublayer's output, in [0, 1).
        stochastic_depth: Share of the examples for which the last block's sublayers are left out in training, in
            [0, 1); it grows linearly from 0 over the blocks (Huang et al., arXiv 1603.09382).
        attention: Attention of each block.
        feed_forward: Feed-forward network of each block.
        norm: Every norm.
        embedding_dim: Width of the embedding tables, if another than `hidden_dim` (ALBERT, ELECTRA); None for the same.
        scale_embeddings: Whether token embeddings are multiplied by the root of their width (2017).
        embedding_norm: Whether the embeddings are normalised; None means with "post_norm".
        final_norm: Whether the last hidden states are normalised; None means unless "post_norm".
        share_blocks: Whether one block is applied `num_layers` times (ALBERT, arXiv 1909.11942).
        window: Number of neighbours that a token sees, itself included; None for all.
        recompute: Whether training computes each block a second time for the gradient instead of keeping what is inside
            it (gradient checkpointing, Chen et al., arXiv 1604.06174): less memory, more time, the same result.
        initializer_range: Standard deviation of the truncated normal that initialises tables and kernels.
        mask_fill: Bias of a masked key in the attention scores.

    Raises:
        ValueError: For a value out of range, or heads that do not divide `hidden_dim`.
    """

    vocabulary_size: int = 30522
    hidden_dim: int = 384
    num_layers: int = 6
    max_length: int = 512
    position: PositionConfig = dataclasses.field(default_factory=PositionConfig)
    residual: str = "post_norm"
    dropout: float = 0.1
    stochastic_depth: float = 0.0
    attention: AttentionConfig = dataclasses.field(default_factory=AttentionConfig)
    feed_forward: FeedForwardConfig = dataclasses.field(
        default_factory=lambda: FeedForwardConfig(intermediate_dim=1536)
    )
    norm: NormConfig = dataclasses.field(default_factory=NormConfig)
    embedding_dim: int | None = None
    scale_embeddings: bool = False
    embedding_norm: bool | None = None
    final_norm: bool | None = None
    share_blocks: bool = False
    window: int | None = None
    recompute: bool = False
    initializer_range: float = 0.02
    mask_fill: float = MASK_FILL

    def __post_init__(self) -> None:
        if isinstance(self.position, str):
            object.__setattr__(self, "position", PositionConfig(self.position))
        for name in ("vocabulary_size", "hidden_dim", "num_layers", "max_length"):
            check_positive(name, getattr(self, name))
        for name in ("embedding_dim", "window"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        check_choice("residual", self.residual, RESIDUALS)
        check_rate("dropout", self.dropout)
        check_rate("stochastic_depth", self.stochastic_depth)
        if self.share_blocks and self.stochastic_depth:
            raise ValueError(
                "One block for all layers cannot have a stochastic depth that grows over them. "
                f"Received: share_blocks=True, stochastic_depth={self.stochastic_depth}"
            )
        width = self.attention.head_width(self.hidden_dim)
        if self.position.scheme == "rotary":
            rotated = self.position.rotary_dim or width
            if rotated % 2 or rotated > width:
                raise ValueError(
                    "Rotary positions turn an even number of features, at most the width of a head. "
                    f"Received: rotary_dim={rotated}, width of a head={width}"
                )

    @property
    def normalises_embeddings(self) -> bool:
        """Whether the embeddings are normalised."""
        return self.residual == "post_norm" if self.embedding_norm is None else self.embedding_norm

    @property
    def normalises_output(self) -> bool:
        """Whether the last hidden states are normalised."""
        return self.residual != "post_norm" if self.final_norm is None else self.final_norm


@dataclasses.dataclass(frozen=True)
class EncoderConfig(TransformerConfig):
    """Sizes and parts of a `TransformerEncoder`; see `TransformerConfig` for all the others.

    Args:
        num_segments: Number of segments; 0 for none.
        pooler: Whether a dense layer with tanh on the first token gives `pooled_output`.
    """

    num_segments: int = 2
    pooler: bool = False


@dataclasses.dataclass(frozen=True)
class DecoderConfig(TransformerConfig):
    """Sizes and parts of a `TransformerDecoder`; see `TransformerConfig` for all the others.

    Args:
        tie_embeddings: Whether logits come from the table of the token embeddings; else from a kernel of their own.
        cross_attention: Whether blocks attend to an encoder; `TransformerEncoderDecoder` needs it.
        scale_logits: Whether logits are divided by the root of `hidden_dim` (the first T5, arXiv 1910.10683).
    """

    tie_embeddings: bool = True
    cross_attention: bool = False
    scale_logits: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tie_embeddings and self.embedding_dim is not None:
            raise ValueError(
                "Logits from the embedding table need hidden states of its width: tie_embeddings=False, or no "
                f"embedding_dim. Received: embedding_dim={self.embedding_dim}, hidden_dim={self.hidden_dim}"
            )
        if self.cross_attention and self.residual == "parallel":
            raise ValueError(
                "Cross-attention has no place in a parallel block. "
                f"Received: cross_attention=True, residual={self.residual!r}"
            )


@dataclasses.dataclass(frozen=True)
class EncoderDecoderConfig(Part):
    """Sizes and parts of a `TransformerEncoderDecoder`.

    Args:
        encoder: The encoder, usually without segments.
        decoder: The decoder, with cross-attention.
        share_embeddings: Whether both read one table of token embeddings.

    Raises:
        ValueError: If the parts do not fit each other.
    """

    encoder: EncoderConfig = dataclasses.field(default_factory=lambda: EncoderConfig(num_segments=0))
    decoder: DecoderConfig = dataclasses.field(default_factory=lambda: DecoderConfig(cross_attention=True))
    share_embeddings: bool = True

    def __post_init__(self) -> None:
        if not self.decoder.cross_attention:
            raise ValueError("decoder.cross_attention must be True. Received: False")
        if self.share_embeddings:
            for name in ("vocabulary_size", "hidden_dim", "embedding_dim", "scale_embeddings"):
                ours, theirs = getattr(self.encoder, name), getattr(self.decoder, name)
                if ours != theirs:
                    raise ValueError(
                        f"Encoder and decoder share token embeddings, so {name} must be the same. "
                        f"Received: {ours!r} and {theirs!r}"
                    )
