"""The number of parameters of each part of a model, without building it."""

import dataclasses

from keras_transformer.models import EncoderConfig, EncoderDecoderConfig, TransformerConfig, count_parameters


def by_part(config: TransformerConfig | EncoderDecoderConfig, outputs: int = 2) -> dict[str, int]:
    """Counts the parameters of the model that is trained.

    Args:
        config: What the model is; an encoder gets the head of `models.TextClassifier`.
        outputs: Number of outputs of that head. Default 2.

    Returns:
        Dict from part to number; the sum is `count_params()` of the model.

    Example:
        ```python
        from keras_transformer import models
        from keras_transformer.plan.parameters import by_part

        parts = by_part(models.preset("bert-base"))
        assert parts["encoder blocks"] == 12 * 7_087_872 and parts["token embeddings"] == 30522 * 768
        ```
    """
    if isinstance(config, EncoderDecoderConfig):
        encoder, decoder = _of_one(config.encoder, "encoder"), _of_one(config.decoder, "decoder")
        parts = {
            "token embeddings": encoder.pop("token embeddings") + decoder.pop("token embeddings"),
            **{name: count for name, count in encoder.items() if name != "other"},
            **{name: count for name, count in decoder.items() if name != "other"},
            "other": encoder["other"] + decoder["other"],
        }
        if config.share_embeddings:
            parts["token embeddings"] //= 2
        return parts
    kind = "encoder" if isinstance(config, EncoderConfig) else "decoder"
    head = {"head": (config.hidden_dim + 1) * outputs} if kind == "encoder" else {}
    return _of_one(config, kind) | head


def _of_one(config: TransformerConfig, kind: str) -> dict[str, int]:
    blocks = count_parameters(config) - _without_blocks(config)
    parts = {
        "token embeddings": config.vocabulary_size * (config.embedding_dim or config.hidden_dim),
        f"{kind} blocks": blocks,
    }
    if not getattr(config, "tie_embeddings", True):
        parts["logits"] = config.vocabulary_size * config.hidden_dim
    return parts | {"other": count_parameters(config) - sum(parts.values())}


def _without_blocks(config: TransformerConfig) -> int:
    one, two = (
        count_parameters(dataclasses.replace(config, num_layers=n, share_blocks=False, stochastic_depth=0.0))
        for n in (1, 2)
    )
    return 2 * one - two
