"""What a machine can do, measured by `calibration.calibrate` or written by hand into a JSON file."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from keras_transformer import _files

PASSES: dict[str, tuple[int, int]] = {
    "bias": (2, 3),
    "activation": (2, 3),
    "norm": (2, 3),
    "softmax": (2, 3),
    "dropout": (2, 2),
    "add": (3, 2),
    "move": (2, 2),
    "cast": (2, 2),
    "cross_entropy": (3, 2),
    "update": (12, 0),
}
"""Kinds of passes over values, and how many values each reads and writes for one of its result: forwards, backwards.
An update reads and writes weights, gradients and moments several times."""

_FOLDER = pathlib.Path(__file__).resolve().parent / "machines"


@dataclasses.dataclass(frozen=True)
class Machine:
    """One machine of those that train together.

    Args:
        name: What people call it.
        float32_flops: Floating-point operations per second of products of large matrices in float32.
        bfloat16_flops: The same in bfloat16.
        memory_bandwidth: Bytes per second that are read and written by a pass over values.
        memory: Bytes of memory, or None if unknown.
        product_bandwidth: Bytes per second of a product's factors and result: what makes products with a short side
            slow. None means `memory_bandwidth`.
        passes: Measured seconds for a value, by kind (see `PASSES`), as pairs of forwards and backwards; the kind with
            "_bfloat16" behind it for values in bfloat16. Kinds that are missing follow from `memory_bandwidth`.
        block_seconds: Seconds of a training step that each block costs however small it is. Default 0.
        step_seconds: Seconds that a step costs however small it is. Default 0.
        step_factor: What a measured step of another model took, over what its parts sum up to: less than 1 where parts
            run side by side. By dtype of products. Default 1.
        library: Bytes of a process that has loaded TensorFlow, Keras and this package. Default 1e9.
        network: Bytes per second between machines, in each direction; None if unknown.
        price: Price of an hour; None if unknown.

    Raises:
        ValueError: For a number out of range or an unknown kind of pass.

    Example:
        ```python
        from keras_transformer.plan import Machine

        machine = Machine("card", float32_flops=30e12, bfloat16_flops=400e12, memory_bandwidth=2e12, memory=80 * 10**9)
        assert machine.pass_seconds("add", 10**9) == 3 * 4 * 10**9 / 2e12
        ```
    """

    name: str
    float32_flops: float
    bfloat16_flops: float
    memory_bandwidth: float
    memory: int | None = None
    product_bandwidth: float | None = None
    passes: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    block_seconds: float = 0.0
    step_seconds: float = 0.0
    step_factor: Mapping[str, float] = dataclasses.field(default_factory=dict)
    library: int = 10**9
    network: float | None = None
    price: float | None = None

    def __post_init__(self) -> None:
        for field in ("float32_flops", "bfloat16_flops", "memory_bandwidth"):
            _check(field, getattr(self, field), above=True)
        for field in ("memory", "product_bandwidth", "network"):
            if getattr(self, field) is not None:
                _check(field, getattr(self, field), above=True)
        for field in ("block_seconds", "step_seconds", "library"):
            _check(field, getattr(self, field))
        if self.price is not None:
            _check("price", self.price)
        for kind, seconds in self.passes.items():
            if kind.removesuffix("_bfloat16") not in PASSES or len(seconds) != 2:
                raise ValueError(
                    f"passes must be pairs of seconds by kind ({', '.join(PASSES)}). Received: {kind!r}: {seconds!r}"
                )
            for value in seconds:
                _check(f"passes.{kind}", value)
        for dtype, factor in self.step_factor.items():
            if dtype not in ("float32", "bfloat16"):
                raise ValueError(f"step_factor has the keys float32 and bfloat16. Received: {dtype!r}")
            _check(f"step_factor.{dtype}", factor, above=True)

    @property
    def faster_dtype(self) -> str:
        """The dtype in which products take less time."""
        return "bfloat16" if self.bfloat16_flops > self.float32_flops else "float32"

    def pass_seconds(self, kind: str, values: int, low: bool = False, gradient: bool = False) -> float:
        """Returns the seconds of a pass.

        Args:
            kind: A key of `PASSES`.
            values: Number of values of its result.
            low: Whether they are bfloat16. Default False.
            gradient: Whether the backward pass is meant. Default False.
        """
        measured = self.passes.get(f"{kind}_bfloat16" if low else kind) or self.passes.get(kind)
        if measured is not None:
            return measured[gradient] * values
        return PASSES[kind][gradient] * values * (2 if low else 4) / self.memory_bandwidth

    def product_seconds(self, flops: int, values: int, dtype: str) -> float:
        """Returns the seconds of products: those of the arithmetic and those of the values that come and go."""
        rate = self.bfloat16_flops if dtype == "bfloat16" else self.float32_flops
        size = 2 if dtype == "bfloat16" else 4
        return flops / rate + values * size / (self.product_bandwidth or self.memory_bandwidth)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the JSON file that `load` reads."""
        values = dataclasses.asdict(self)
        _files.write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


def _check(name: str, value: Any, above: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or (above and value == 0):
        raise ValueError(f"{name} must be {'above 0' if above else 'at least 0'}. Received: {value!r}")


def names() -> list[str]:
    """Returns the names of the machines that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def load(name: str | os.PathLike) -> Machine:
    """Reads a machine.

    Args:
        name: One of `names()`, or the path of a JSON file with fields of `Machine`.

    Returns:
        `Machine`.

    Raises:
        ValueError: For an unknown name, or a file that does not describe a machine.

    Example:
        ```python
        from keras_transformer.plan import machine

        print(machine.load(machine.names()[0]).float32_flops)
        ```
    """
    path = pathlib.Path(name)
    if str(name) in names():
        path = _FOLDER / f"{name}.json"
    elif not path.is_file():
        raise ValueError(
            f"The machine must be 'here', one of {', '.join(names())}, or a JSON file. Received: {str(name)!r}"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    fields = {field.name for field in dataclasses.fields(Machine)}
    required = {"name", "float32_flops", "bfloat16_flops", "memory_bandwidth"}
    if not isinstance(values, dict) or not required <= set(values) or not set(values) <= fields:
        given = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise ValueError(
            f"{path} must hold {', '.join(sorted(required))}, and may hold {', '.join(sorted(fields - required))}. "
            f"Received: {given}"
        )
    for key in ("passes", "step_factor"):
        if not isinstance(values.get(key, {}), dict):
            raise ValueError(f"{path}: {key} must be an object. Received: {values[key]!r}")
    if not all(isinstance(pair, list) for pair in values.get("passes", {}).values()):
        raise ValueError(f"{path}: passes must be pairs of seconds. Received: {values['passes']!r}")
    return Machine(**values | {"passes": {key: tuple(pair) for key, pair in values.get("passes", {}).items()}})
