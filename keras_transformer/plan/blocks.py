"""The work of a block: attention, feed-forward network, norms and residual sums, as `layers` computes them in training.

The element-wise parts are taken as compiled (`ops.compiled_elementwise`, the default of every recipe): a bias with its
activation is one pass that keeps its input, dropout keeps nothing, a norm its input, the softmax its result.
"""

from keras_transformer.models import DecoderConfig, TransformerConfig
from keras_transformer.plan.work import Kept, Pass, Product, Work

# Values that an activation without a bias keeps, for each one of its own: it is not compiled then (`ops.dense`).
_KEPT_BY_PLAIN = {"linear": 0, "relu": 1, "gelu": 3, "gelu_tanh": 4, "silu": 1, "tanh": 1}


def block(
    config: TransformerConfig,
    examples: int,
    length: int,
    encoder_length: int | None = None,
    queries: int | None = None,
) -> Work:
    """Returns the forward work of one block.

    Args:
        config: Encoder or decoder.
        examples: Number of rows of the batch.
        length: Tokens in each.
        encoder_length: Tokens of the encoder's output, for a block with cross-attention; None without.
        queries: Tokens of each row for which the block is computed, which attend to all; None means all.

    Returns:
        `Work` of the block.

    Example:
        ```python
        from keras_transformer import models
        from keras_transformer.plan.blocks import block

        work = block(models.preset("bert-base"), examples=2, length=128)
        parameters = 4 * 768 * 768 + 2 * 768 * 3072
        assert work.flops == 2 * 2 * 128 * parameters + 2 * 2 * 2 * 128 * 128 * 768
        ```
    """
    tokens = examples * (queries or length)
    parts = [_attention(config, examples, queries or length, length)]
    if isinstance(config, DecoderConfig) and config.cross_attention:
        parts.append(_attention(config, examples, length, encoder_length or length, crossing=True))
    parts.append(_feed_forward(config, tokens))
    return Work.sum([*parts, *(_residual(config, tokens) for _ in parts)])


def projection(rows: int, inner: int, columns: int, activation: str, biased: bool) -> Work:
    """Returns the work of a dense layer, without what its input keeps.

    Args:
        rows: Number of tokens.
        inner: Width of the input.
        columns: Width of the result.
        activation: One of `ops.ACTIVATIONS`.
        biased: Whether it has a bias.
    """
    values = rows * columns
    passes = [Pass("cast", inner * columns, True)]
    kept = [Kept("kernels", inner * columns, True, copy=True)]
    if biased:
        passes.append(Pass("bias" if activation in ("linear", "relu") else "activation", values, True))
        kept.append(Kept("products before their bias", values, True))
    elif activation != "linear":
        passes.append(Pass("activation", values))
        kept.append(Kept("inside activations", _KEPT_BY_PLAIN[activation] * values))
    return Work((Product(1, rows, inner, columns),), tuple(passes), tuple(kept))


def _attention(config: TransformerConfig, examples: int, length: int, key_length: int, crossing: bool = False) -> Work:
    attention, hidden = config.attention, config.hidden_dim
    width = attention.head_width(hidden)
    heads, key_heads = attention.num_heads, attention.num_key_value_heads or attention.num_heads
    tokens, key_tokens = examples * length, examples * key_length
    q, k = tokens * heads * width, key_tokens * key_heads * width
    scores = examples * heads * length * key_length
    groups, rows = examples * key_heads, heads // key_heads * length
    sides = [
        (tokens, hidden, heads * width),
        (key_tokens, hidden, key_heads * width),
        (key_tokens, hidden, key_heads * width),
        (tokens, heads * width, hidden),
    ]
    parts = [projection(*side, "linear", attention.use_bias) for side in sides]
    products = [Product(groups, rows, width, key_length), Product(groups, rows, key_length, width)]
    passes = [
        Pass("cast", tokens * hidden, True),
        Pass("move", q + 2 * k),
        Pass("add", q),  # scaled
        Pass("cast", q + 2 * k, True),
        Pass("add", scores, True, gradient=False),  # the mask
        Pass("softmax", scores, True),
        Pass("add", q),  # rows that may attend to nothing
        Pass("move", q),
    ]
    kept = [
        Kept("inputs of products", tokens * hidden, True),
        Kept("queries, keys and values", q + 2 * k, True),
        Kept("attention weights", scores, True),
        Kept("inputs of products", q, True),
    ]
    if attention.dropout:
        passes.append(Pass("dropout", scores, True, gradient=False))  # backwards it is part of the softmax's
        kept.append(Kept("attention weights", scores, True))
    if not crossing:
        if length != key_length:
            kept.append(Kept("inputs of products", key_tokens * hidden, True))
        scheme = config.position
        if scheme.scheme == "rotary":
            passes.append(Pass("add", 3 * (q + k)))
        elif scheme.scheme == "relative_keys":
            distances = 2 * scheme.max_distance + 1
            # A product that `products_in` leaves in float32, and the rows that it picks from the result.
            products.append(Product(1, tokens * heads, width, distances))
            passes += [Pass("move", scores), Pass("add", 2 * scores)]
            kept.append(Kept("scores by distance", scores))  # the rows to pick, as integers
        elif scheme.scheme in ("relative_bias", "alibi"):
            passes.append(Pass("add", scores))
    # The gradient of the softmax is worked out in float32.
    gradients = (Kept("gradients of scores", 2 * scores, True), Kept("the same in float32", 2 * scores, copy=True))
    own = Work(tuple(products), tuple(passes), tuple(kept), (gradients,))
    return Work.sum([own, *parts])


def _feed_forward(config: TransformerConfig, tokens: int) -> Work:
    feed_forward, hidden = config.feed_forward, config.hidden_dim
    inner, biased = feed_forward.intermediate_dim, feed_forward.use_bias
    values = tokens * inner
    parts = [
        projection(tokens, hidden, inner, feed_forward.activation, biased),
        projection(tokens, inner, hidden, "linear", biased),
    ]
    passes = [Pass("cast", tokens * hidden, True), Pass("cast", values, True)]
    kept = [Kept("inputs of products", tokens * hidden, True), Kept("inputs of products", values, True)]
    if feed_forward.gated:
        parts.append(projection(tokens, hidden, inner, "linear", biased))
        passes.append(Pass("add", values))
        kept.append(Kept("gates", 2 * values))
    if feed_forward.dropout:
        passes.append(Pass("dropout", values))
    own = Work((), tuple(passes), tuple(kept), ((Kept("gradients of the inner layer", 2 * values),),))
    return Work.sum([own, *parts])


def _residual(config: TransformerConfig, tokens: int) -> Work:
    """A sublayer's dropout, sum and norm; the norm keeps its input: the sum, or where the norm comes first `x`."""
    values = tokens * config.hidden_dim
    passes = [Pass("add", values), Pass("norm", values)]
    if config.dropout:
        passes.append(Pass("dropout", values))
    if config.stochastic_depth:
        passes.append(Pass("add", values))
    return Work((), tuple(passes), (Kept("inputs of norms", values),))
