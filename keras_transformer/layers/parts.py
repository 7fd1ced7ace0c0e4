"""Frozen descriptions of the parts of a block, from which each block builds its own layers."""

import dataclasses
import difflib
from typing import Any, Self

from keras_transformer.ops import ACTIVATIONS


class Part:
    """Base of the frozen configuration dataclasses: to a dict and back, with unknown keys refused."""

    def to_dict(self) -> dict[str, Any]:
        """Returns a nested dict of plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: "dict[str, Any] | Self") -> Self:
        """Builds the part from a nested dict; an instance is returned as it is.

        Raises:
            ValueError: For an unknown key.
        """
        if isinstance(values, cls):
            return values
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key in values:
            if key not in fields:
                close = difflib.get_close_matches(key, fields, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"{cls.__name__} has no field {key!r}.{hint} Known fields: {', '.join(fields)}.")
        nested = {
            name: field.type.from_dict(values[name])
            for name, field in fields.items()
            if isinstance(values.get(name), dict) and isinstance(field.type, type) and issubclass(field.type, Part)
        }
        return cls(**{**values, **nested})


@dataclasses.dataclass(frozen=True)
class AttentionConfig(Part):
    """Multi-head attention.

    Args:
        num_heads: Number of heads; must divide the hidden dimension unless `head_dim` is given.
        head_dim: Width of a head; None means hidden_dim / num_heads.
        dropout: Dropout rate on the attention weights during training, in [0, 1).
        num_key_value_heads: Number of heads of keys and values, a divisor of `num_heads`: 1 for multi-query, more for
            grouped-query attention; None means `num_heads`.
        use_bias: Whether the projections have a bias.
        scaled: Whether scores are divided by the root of the head's width; T5 does not.
    """

    num_heads: int = 12
    head_dim: int | None = None
    dropout: float = 0.1
    num_key_value_heads: int | None = None
    use_bias: bool = True
    scaled: bool = True

    def __post_init__(self) -> None:
        check_positive("num_heads", self.num_heads)
        if self.head_dim is not None:
            check_positive("head_dim", self.head_dim)
        check_rate("attention dropout", self.dropout)
        if self.num_key_value_heads is not None:
            check_positive("num_key_value_heads", self.num_key_value_heads)
            if self.num_heads % self.num_key_value_heads:
                raise ValueError(
                    "num_key_value_heads must divide num_heads. "
                    f"Received: num_heads={self.num_heads}, num_key_value_heads={self.num_key_value_heads}"
                )

    def head_width(self, hidden_dim: int) -> int:
        """Returns the width of a head.

        Raises:
            ValueError: If the heads do not divide `hidden_dim`.
        """
        if self.head_dim is None and hidden_dim % self.num_heads:
            raise ValueError(
                "num_heads must divide hidden_dim, or head_dim must be given. "
                f"Received: hidden_dim={hidden_dim}, num_heads={self.num_heads}"
            )
        return self.head_dim or hidden_dim // self.num_heads


@dataclasses.dataclass(frozen=True)
class FeedForwardConfig(Part):
    """Position-wise feed-forward network.

    Args:
        intermediate_dim: Width of the inner layer.
        activation: Name of the inner activation, one of `ops.ACTIVATIONS`.
        gated: Whether a second inner projection, without activation, is multiplied in (Shazeer, arXiv 2002.05202).
        use_bias: Whether the projections have a bias.
        dropout: Dropout rate on the inner layer, in [0, 1).
    """

    intermediate_dim: int = 3072
    activation: str = "gelu"
    gated: bool = False
    use_bias: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_positive("intermediate_dim", self.intermediate_dim)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_rate("feed-forward dropout", self.dropout)


@dataclasses.dataclass(frozen=True)
class NormConfig(Part):
    """Normalisation.

    Args:
        epsilon: Added to the variance, or to the mean square.
        kind: "layer_norm" or "rms_norm".
    """

    epsilon: float = 1e-12
    kind: str = "layer_norm"

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"epsilon must be above 0. Received: {self.epsilon!r}")
        check_choice("norm kind", self.kind, ("layer_norm", "rms_norm"))


def check_positive(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an integer above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer above 0. Received: {value!r}")


def check_rate(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a rate in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1. Received: {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}. Received: {value!r}")
