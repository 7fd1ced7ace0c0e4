"""A config in another size."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_transformer.models.config import EncoderDecoderConfig, PositionConfig, TransformerConfig

_OF_ATTENTION = {"attention_dropout": "dropout"} | {n: n for n in ("num_heads", "num_key_value_heads", "head_dim")}


def resized(config: TransformerConfig | EncoderDecoderConfig, sizes: Mapping[str, Any]) -> Any:
    """Returns a config with other sizes; the feed-forward network stays as many times as wide as the model.

    Args:
        config: Config of an encoder, a decoder, or both, of which both sides are changed.
        sizes: What is other: fields of the config such as `vocabulary_size`, `hidden_dim`, `num_layers`, `max_length`
            or `dropout`; `num_heads`, `num_key_value_heads`, `head_dim` and `attention_dropout` of the
            attention; `intermediate_dim` of the
            feed-forward network; `position`, the name of a scheme.

    Returns:
        Config of the same class.

    Raises:
        ValueError: If the sizes do not fit each other.

    Example:
        ```python
        from keras_transformer.models import preset, resized

        small = resized(preset("bert-base"), {"hidden_dim": 96, "num_heads": 4})
        assert (small.feed_forward.intermediate_dim, small.num_layers) == (384, 12)
        ```
    """
    if isinstance(config, EncoderDecoderConfig):
        sides = {side: resized(getattr(config, side), sizes) for side in ("encoder", "decoder")}
        return dataclasses.replace(config, **sides)
    sizes = dict(sizes)
    changes: dict[str, Any] = {}
    heads = {field: sizes.pop(name) for name, field in _OF_ATTENTION.items() if name in sizes}
    if heads:
        changes["attention"] = dataclasses.replace(config.attention, **heads)
    if "intermediate_dim" in sizes or "hidden_dim" in sizes:
        times = config.feed_forward.intermediate_dim / config.hidden_dim
        inner = sizes.pop("intermediate_dim", None) or int(times * sizes["hidden_dim"])
        changes["feed_forward"] = dataclasses.replace(config.feed_forward, intermediate_dim=inner)
    if "position" in sizes:
        changes["position"] = PositionConfig(sizes.pop("position"))
    return dataclasses.replace(config, **changes, **sizes)
