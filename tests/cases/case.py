"""What the sweep knows of a Layer or Model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.helpers import HIDDEN

# Parameters by hand. A dense layer has inputs * outputs + outputs, a norm 2 * width.
ATTENTION = 4 * (HIDDEN * HIDDEN + HIDDEN)
FEED_FORWARD = HIDDEN * 24 + 24 + 24 * HIDDEN + HIDDEN
BLOCK = ATTENTION + FEED_FORWARD + 2 * 2 * HIDDEN
# The softmax does not see a constant added to every score, so a bias of the keys has no effect.
KEY_BIAS = ("key/bias",)


@dataclasses.dataclass(frozen=True)
class Case:
    """How to build and call one Layer or Model.

    Args:
        cls: The class.
        name: What is special about this case.
        arguments: Returns the constructor's arguments (a function, as some are models themselves).
        inputs: Returns the arguments of a call by name, as arrays; for a Model, its dict of inputs.
        parameters: Number of trainable parameters, counted by hand.
        padded: Names of the inputs whose second axis is the length that `padding_mask` speaks of; or, for each of
            several masks, such names.
        dead: Ends of the paths of weights whose gradient is 0 by construction.
        float32: Whether the output is float32 under every dtype policy; for several outputs, of each.
        tolerance: Largest difference between bfloat16 and float32 outputs, relative to the largest output.
        mixes_rows: Whether a row of the output depends on the other rows of its batch, by its meaning.
    """

    cls: type
    name: str
    arguments: Callable[[], dict[str, Any]]
    inputs: Callable[[], dict[str, np.ndarray]]
    parameters: int = 0
    padded: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    dead: tuple[str, ...] = ()
    float32: bool | tuple[bool, ...] = False
    tolerance: float = 0.03
    mixes_rows: bool = False

    @property
    def masks(self) -> dict[str, tuple[str, ...]]:
        """For each padding mask the inputs that it speaks of."""
        if isinstance(self.padded, dict):
            return self.padded
        return {"padding_mask": self.padded} if self.padded else {}

    def build(self):
        """Constructs the layer or model."""
        return self.cls(**self.arguments())

    def __str__(self) -> str:
        return f"{self.cls.__name__}-{self.name}"
