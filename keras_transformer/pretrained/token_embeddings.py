"""The table of token embeddings of a model, given vectors from outside."""

from typing import Any

import numpy as np


def set_token_embeddings(model: Any, table: np.ndarray, rows: np.ndarray, trainable: bool = True) -> None:
    """Puts vectors into the token table of an encoder or a decoder; the other rows keep their values.

    Call it before `compile`.

    Args:
        model: Built `TransformerEncoder`, `TransformerDecoder`, or a model with an `encoder`, such as `TextClassifier`.
        table: Float array of shape (tokens, dim), such as the `matrix` of a `TokenTable`.
        rows: Boolean array of shape (tokens,): which rows are put in.
        trainable: Whether the table is trained. False freezes all of it, rows without a vector too, and in a decoder
            that has its logits from it also those. Default True, which changes nothing.

    Raises:
        ValueError: If the shapes do not fit the table of the model, a value is not finite, or there is no such table or
            more than one.

    Example:
        ```python
        import numpy as np
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig, TransformerEncoder
        from keras_transformer.pretrained import set_token_embeddings

        encoder = TransformerEncoder(
            EncoderConfig(
                vocabulary_size=6, hidden_dim=8, num_layers=1,
                attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=16),
            )
        )
        set_token_embeddings(encoder, np.ones((6, 8)), np.arange(6) == 3, trainable=False)
        values = np.array(encoder.embeddings.tokens.table)
        assert (values[3] == 1).all() and (values[2] != 1).all()
        ```
    """
    tokens = _token_embedding(model)
    table, rows = np.asarray(table), np.asarray(rows)
    expected = tuple(tokens.table.shape)
    if table.shape != expected or rows.shape != expected[:1] or rows.dtype != bool:
        raise ValueError(
            f"table must be of shape {expected}, that of the model, and rows boolean of shape {expected[:1]}. "
            f"Received: {table.shape}, and {rows.dtype} of shape {rows.shape}"
        )
    if not np.isfinite(table[rows]).all():
        raise ValueError("The values of the chosen rows must be finite. Received: some that are not")
    tokens.table.assign(np.where(rows[:, None], table, np.array(tokens.table)).astype("float32"))
    if not trainable:
        tokens.trainable = False


def _token_embedding(model: Any) -> Any:
    """Returns the layer with the token table of a model."""
    sides = [getattr(model, name) for name in ("encoder", "decoder") if getattr(model, name, None) is not None]
    embeddings = [getattr(side, "embeddings", None) for side in sides or [model]]
    found = {id(getattr(part, "tokens", None)): getattr(part, "tokens", None) for part in embeddings}
    if len(found) > 1:
        raise ValueError(
            "Encoder and decoder have tables of their own: pass model.encoder and model.decoder one after the other. "
            f"Received: {type(model).__name__} named {getattr(model, 'name', None)!r}"
        )
    (tokens,) = found.values()
    if tokens is None or not tokens.built:
        raise ValueError(
            "There must be a built encoder or decoder with token embeddings. "
            f"Received: {type(model).__name__} named {getattr(model, 'name', None)!r}"
        )
    return tokens
