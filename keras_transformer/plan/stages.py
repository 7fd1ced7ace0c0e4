"""A model as a row of stages: embeddings, blocks, and what follows them up to the loss."""

import dataclasses

from keras_transformer.layers.parts import check_positive
from keras_transformer.models import DecoderConfig, EncoderConfig, EncoderDecoderConfig, TransformerConfig
from keras_transformer.models.tasks import POOLING
from keras_transformer.plan.blocks import block, projection
from keras_transformer.plan.work import Kept, Pass, Product, Stage, Work

AnyConfig = TransformerConfig | EncoderDecoderConfig


@dataclasses.dataclass(frozen=True)
class Batch:
    """What one machine computes in a step.

    Args:
        examples: Number of texts.
        length: Tokens in each, padding included.
        target_length: Tokens that the decoder of an encoder-decoder predicts for each; None means `length`.

    Raises:
        ValueError: For a number that is not above 0.

    Example:
        ```python
        from keras_transformer.plan import Batch

        assert Batch(16, 128).tokens == 2048
        ```
    """

    examples: int
    length: int
    target_length: int | None = None

    def __post_init__(self) -> None:
        check_positive("batch", self.examples)
        check_positive("length", self.length)
        if self.target_length is not None:
            check_positive("target_length", self.target_length)

    @property
    def tokens(self) -> int:
        """Tokens that are read; those that a decoder predicts for an encoder not counted."""
        return self.examples * self.length

    @property
    def target_tokens(self) -> int:
        """Tokens that the decoder of an encoder-decoder reads."""
        return self.examples * (self.target_length or self.length)


def stages(config: AnyConfig, batch: Batch, outputs: int = 2, pooling: str = "mean") -> list[Stage]:
    """Returns the stages of a training step's forward pass, in order.

    An encoder gets the head of `models.TextClassifier`; a decoder gives logits at every place.

    Args:
        config: What the model is.
        batch: What it computes.
        outputs: Number of outputs of an encoder's head. Default 2.
        pooling: "mean" or "first", of an encoder's head; with "first" the last block is computed for that token only.
            Default "mean".

    Returns:
        List of `Stage`.

    Raises:
        ValueError: For a text that is longer than the model has positions.

    Example:
        ```python
        from keras_transformer import models
        from keras_transformer.plan import Batch
        from keras_transformer.plan.stages import stages

        names = [stage.name for stage in stages(models.preset("gpt2-small"), Batch(1, 64))]
        assert names == ["embeddings", "decoder blocks", "final norm", "logits"]
        ```
    """
    if isinstance(config, EncoderDecoderConfig):
        _check_length(config.encoder, batch.length)
        _check_length(config.decoder, batch.target_length or batch.length)
        encoder = _body(config.encoder, batch.examples, batch.length, None, "encoder ")
        decoder = _body(config.decoder, batch.examples, batch.target_length or batch.length, batch.length, "decoder ")
        return [*encoder, *decoder, _logits(config.decoder, batch.target_tokens)]
    _check_length(config, batch.length)
    if pooling not in POOLING:
        raise ValueError(f"pooling must be one of {', '.join(POOLING)}. Received: {pooling!r}")
    trims = isinstance(config, EncoderConfig) and pooling == "first"
    body = _body(config, batch.examples, batch.length, None, trims=trims)
    if isinstance(config, EncoderConfig):
        return [*body, _classifier(config, batch, outputs, pooling)]
    return [*body, _logits(config, batch.tokens)]


def _check_length(config: TransformerConfig, length: int) -> None:
    if length > config.max_length and config.position.scheme in ("learned", "sincos"):
        raise ValueError(
            f"The model has {config.max_length} positions: take a length up to that, or a larger max_length. "
            f"Received: length={length}"
        )


def _body(
    config: TransformerConfig,
    examples: int,
    length: int,
    encoder_length: int | None,
    prefix: str = "",
    trims: bool = False,
) -> list[Stage]:
    tokens = examples * length
    kind = "decoder" if isinstance(config, DecoderConfig) else "encoder"
    one = block(config, examples, length, encoder_length)
    sublayers = 3 if getattr(config, "cross_attention", False) else 2
    found = [
        Stage(f"{prefix}embeddings", _embeddings(config, tokens)),
        Stage(f"{kind} blocks", one, config.num_layers - trims, tokens * config.hidden_dim, sublayers),
    ]
    if trims:
        last = block(config, examples, length, queries=1)
        found.append(Stage("last block", last, 1, tokens * config.hidden_dim, sublayers))
        tokens = examples
    found = [stage for stage in found if stage.times]
    if config.normalises_output:
        values = tokens * config.hidden_dim
        work = Work((), (Pass("norm", values),), (Kept("inputs of norms", values),))
        found.append(Stage(f"{prefix}final norm", work))
    return found


def _embeddings(config: TransformerConfig, tokens: int) -> Work:
    width = config.embedding_dim or config.hidden_dim
    values = tokens * width
    passes, kept, parts = [Pass("move", values)], [], []
    added = (getattr(config, "num_segments", 0) > 0) + (config.position.scheme in ("learned", "sincos"))
    added += config.scale_embeddings
    if added:
        passes.append(Pass("add", added * values))
    if config.normalises_embeddings:
        passes.append(Pass("norm", values))
        kept.append(Kept("inputs of norms", values))
    if config.dropout:
        passes.append(Pass("dropout", values))
    if config.embedding_dim is not None:
        parts.append(projection(tokens, width, config.hidden_dim, "linear", True))
        kept.append(Kept("inputs of products", values, True))
    # The gradient of a table comes row by row and is then added into a tensor of the table's size.
    return Work.sum([Work((), tuple(passes), tuple(kept)), *parts])


def _classifier(config: EncoderConfig, batch: Batch, outputs: int, pooling: str) -> Stage:
    hidden = config.hidden_dim
    check_positive("outputs", outputs)
    products = [Product(1, batch.examples, hidden, outputs)]
    if pooling == "first":
        if config.pooler:
            products.append(Product(1, batch.examples, hidden, hidden))
        return Stage("head", Work(tuple(products)))
    values = batch.tokens * hidden
    return Stage("head", Work(tuple(products), (Pass("add", 2 * values),), ()))


def _logits(config: DecoderConfig, tokens: int) -> Stage:
    values = tokens * config.vocabulary_size
    product = Product(1, tokens, config.hidden_dim, config.vocabulary_size)
    passes = (
        Pass("cast", config.hidden_dim * config.vocabulary_size + values, True),
        Pass("cross_entropy", values),
    )
    kept = (
        Kept("inputs of products", tokens * config.hidden_dim, True),
        Kept("kernels", config.hidden_dim * config.vocabulary_size, True, copy=True),
        Kept("logits", values),
    )
    # The loss gives the gradient along with its value; it is scaled in place.
    return Stage("logits", Work((product,), passes, kept, ((Kept("gradients of logits", values),),)))
