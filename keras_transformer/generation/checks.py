"""Checks of single values, for errors that name the argument and what was received."""

import math
import numbers
from typing import Any


def check_integer(name: str, value: Any, minimum: int) -> None:
    """Raises ValueError unless `value` is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}. Received: {value!r}")


def check_number(name: str, value: Any, above: float | None = None, at_most: float | None = None) -> None:
    """Raises ValueError unless `value` is a finite number in (above, at_most]; None means no such bound."""
    good = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not good or (above is not None and value <= above) or (at_most is not None and value > at_most):
        bounds = [f"above {above}"] * (above is not None) + [f"at most {at_most}"] * (at_most is not None)
        raise ValueError(f"{name} must be a finite number {' and '.join(bounds)}".rstrip() + f". Received: {value!r}")
