"""The plan of a training: parameters, arithmetic, memory, time and cost."""

import dataclasses
import math
from typing import Any

from keras_transformer.models import EncoderDecoderConfig, preset
from keras_transformer.plan import memory as memory_of
from keras_transformer.plan.machine import Machine, load
from keras_transformer.plan.memory import Memory
from keras_transformer.plan.parameters import by_part
from keras_transformer.plan.scaling import Optimum, compute_optimal
from keras_transformer.plan.stages import AnyConfig, Batch, stages
from keras_transformer.plan.timing import Time, step_time

OPTIMIZER_SLOTS = {"adamw": 2, "sgd": 0}
_INDEX = 8  # bytes of the row number of an embedding's gradient


@dataclasses.dataclass(frozen=True)
class Flops:
    """Floating-point operations of the matrix products of a step on one machine; element-wise work is not counted.

    Args:
        forward: Forward pass.
        backward: Gradients, of both factors of each product.
        recompute: What is computed a second time.
    """

    forward: int
    backward: int
    recompute: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.forward + self.backward + self.recompute


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training will need.

    Args:
        parameters: Number of parameters by part.
        batch: What a machine computes in a step.
        product_dtype: "float32" or "bfloat16".
        recompute: Whether blocks are computed a second time.
        flops: Arithmetic of a step on one machine.
        memory: Of each machine, as planned.
        memory_kept: Without `recompute`.
        memory_recomputed: With it.
        machine: The machine.
        machines: Number of machines.
        time: Seconds of a step.
        exchanged: Bytes that each machine sends in a step to sum the gradients.
        tokens: Tokens of the whole training, or None if unknown.
        optimum: Compute-optimal size for the arithmetic of the whole training, or None if unknown.
    """

    parameters: dict[str, int]
    batch: Batch
    product_dtype: str
    recompute: bool
    flops: Flops
    memory: Memory
    memory_kept: Memory
    memory_recomputed: Memory
    machine: Machine
    machines: int
    time: Time
    exchanged: int
    tokens: int | None = None
    optimum: Optimum | None = None

    @property
    def total_parameters(self) -> int:
        """Number of parameters."""
        return sum(self.parameters.values())

    @property
    def exchange_share(self) -> float:
        """Share of a step in which gradients are summed over the machines."""
        return self.time.exchange / self.time.total

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all machines."""
        return self.machines * self.batch.tokens / self.time.total

    @property
    def steps(self) -> int | None:
        """Number of steps of the whole training."""
        return None if self.tokens is None else math.ceil(self.tokens / (self.machines * self.batch.tokens))

    @property
    def hours(self) -> float | None:
        """Hours of the whole training."""
        return None if self.steps is None else self.steps * self.time.total / 3600

    @property
    def cost(self) -> float | None:
        """Price of the whole training."""
        if self.hours is None or self.machine.price is None:
            return None
        return self.hours * self.machines * self.machine.price

    @property
    def fits(self) -> bool | None:
        """Whether the memory of a machine is enough; None if it is unknown."""
        return None if self.machine.memory is None else self.memory.total <= self.machine.memory

    def to_dict(self) -> dict[str, Any]:
        """Returns all figures, for JSON."""
        names = ("total_parameters", "exchange_share", "tokens_per_second", "steps", "hours", "cost", "fits")
        values = dataclasses.asdict(self) | {name: getattr(self, name) for name in names}
        for name in ("memory", "memory_kept", "memory_recomputed", "time", "flops"):
            values[name]["total"] = getattr(self, name).total
        return values


def training(
    config: AnyConfig | str,
    batch: int,
    length: int,
    machine: Machine | str,
    *,
    target_length: int | None = None,
    machines: int = 1,
    product_dtype: str = "auto",
    recompute: bool | None = None,
    optimizer: str = "adamw",
    outputs: int = 2,
    pooling: str = "mean",
    tokens: int | None = None,
) -> Plan:
    """Plans a training as the recipes run it: float32 weights, AdamW with clipping, element-wise work compiled.

    Args:
        config: `EncoderConfig` (which gets the head of a classifier), `DecoderConfig`, `EncoderDecoderConfig`, or the
            name of a preset.
        batch: Number of texts in a step of one machine.
        length: Tokens in each, padding included.
        machine: `Machine`, the name of one that comes with the package, or a JSON file.
        target_length: Tokens that the decoder of an encoder-decoder predicts; None means `length`.
        machines: Number of machines. Default 1.
        product_dtype: "float32", "bfloat16", or "auto" (default) for what is faster on the machine.
        recompute: Whether blocks are computed a second time; None means what the config says.
        optimizer: "adamw" (default) or "sgd".
        outputs: Number of outputs of a classifier. Default 2.
        pooling: "mean" (default) or "first", of a classifier.
        tokens: Tokens of the whole training, those of an encoder-decoder's targets not counted; None if unknown.

    Returns:
        `Plan`.

    Raises:
        ValueError: For a value out of range.

    Example:
        ```python
        from keras_transformer import plan

        machine = plan.Machine("card", float32_flops=30e12, bfloat16_flops=400e12, memory_bandwidth=2e12)
        planned = plan.training("bert-base", batch=32, length=512, machine=machine, tokens=10**9)
        assert planned.total_parameters == 109_483_778
        print(planned.memory.total, planned.time.total, planned.hours)
        ```
    """
    config = preset(config) if isinstance(config, str) else config
    machine = machine if isinstance(machine, Machine) else load(machine)
    _check_count("machines", machines)
    if tokens is not None:
        _check_count("tokens", tokens)
    if product_dtype not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"product_dtype must be auto, float32 or bfloat16. Received: {product_dtype!r}")
    if optimizer not in OPTIMIZER_SLOTS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZER_SLOTS)}. Received: {optimizer!r}")
    if machines > 1 and machine.network is None:
        raise ValueError(
            f"Several machines need the bandwidth of the network between them. Received: machines={machines}, "
            "network=None"
        )
    dtype = machine.faster_dtype if product_dtype == "auto" else product_dtype
    side = config.encoder if isinstance(config, EncoderDecoderConfig) else config
    recompute = side.recompute if recompute is None else recompute
    shape = Batch(batch, length, target_length)
    parts = stages(config, shape, outputs, pooling)
    parameters = by_part(config, outputs)
    count = sum(parameters.values())
    forward = sum(stage.times * stage.work.flops for stage in parts)
    again = sum(stage.times * stage.work.flops for stage in parts if stage.boundary)
    flops = Flops(forward, 2 * forward, again if recompute else 0)
    kept, recomputed = (
        memory_of.peak(parts, parameters, dtype, again, OPTIMIZER_SLOTS[optimizer], machine.library)
        for again in (False, True)
    )
    time = step_time(parts, count, machine, dtype, recompute, optimizer == "adamw")
    exchanged = _exchanged(config, shape, parameters, machines)
    if machines > 1:
        time = dataclasses.replace(time, exchange=exchanged / machine.network)
    steps = None if tokens is None else tokens / shape.tokens
    return Plan(
        parameters=parameters,
        batch=shape,
        product_dtype=dtype,
        recompute=recompute,
        flops=flops,
        memory=recomputed if recompute else kept,
        memory_kept=kept,
        memory_recomputed=recomputed,
        machine=machine,
        machines=machines,
        time=time,
        exchanged=exchanged,
        tokens=tokens,
        optimum=None if steps is None else compute_optimal(flops=steps * (flops.forward + flops.backward)),
    )


def _exchanged(config: AnyConfig, batch: Batch, parameters: dict[str, int], machines: int) -> int:
    """Returns the bytes that a machine sends in a step.

    The gradients go around a ring, 2 (n - 1) / n times their size (Patarasuk and Yuan, 2009). That of a table that is
    only read comes as rows, one for each token, which all machines send to all others.
    """
    if machines == 1:
        return 0
    dense, rows = sum(parameters.values()), 0
    decoder = config.decoder if isinstance(config, EncoderDecoderConfig) else config
    if not getattr(decoder, "tie_embeddings", False):
        table = parameters["token embeddings"]
        width = decoder.embedding_dim or decoder.hidden_dim
        tokens = batch.tokens + (batch.target_tokens if isinstance(config, EncoderDecoderConfig) else 0)
        dense, rows = dense - table, tokens * (4 * width + _INDEX)
    return int(2 * (machines - 1) / machines * 4 * dense + (machines - 1) * rows)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an integer above 0. Received: {value!r}")
