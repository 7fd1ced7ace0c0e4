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
            if name in values and isinstance(field.type, type) and issubclass(field.type, Part)
        }
        return cls(**{**values, **nested})


@dataclasses.dataclass(frozen=True)
class AttentionConfig(Part):
    """Multi-head attention.

    Args:
        num_heads: Number of heads; must divide the hidden dimension unless `head_dim` is given.
        head_dim: Width of a head; None means hidden_dim / num_heads.
        dropout: Dropout rate on the attention weights during training, in [0, 1).
    """

    num_heads: int = 12
    head_dim: int | None = None
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_positive("num_heads", self.num_heads)
        if self.head_dim is not None:
            check_positive("head_dim", self.head_dim)
        check_rate("attention dropout", self.dropout)


@dataclasses.dataclass(frozen=True)
class FeedForwardConfig(Part):
    """Position-wise feed-forward network.

    Args:
        intermediate_dim: Width of the inner layer.
        activation: Name of the inner activation, one of `ops.ACTIVATIONS`.
    """

    intermediate_dim: int = 3072
    activation: str = "gelu"

    def __post_init__(self) -> None:
        check_positive("intermediate_dim", self.intermediate_dim)
        check_choice("activation", self.activation, ACTIVATIONS)


@dataclasses.dataclass(frozen=True)
class NormConfig(Part):
    """Layer normalisation.

    Args:
        epsilon: Added to the variance.
    """

    epsilon: float = 1e-12

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"epsilon must be above 0. Received: {self.epsilon!r}")


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
