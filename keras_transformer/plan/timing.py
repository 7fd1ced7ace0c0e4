"""How long a training step takes: the sum of its products and passes on a machine."""

import dataclasses
from collections.abc import Sequence

from keras_transformer.plan.machine import Machine
from keras_transformer.plan.work import Stage


@dataclasses.dataclass(frozen=True)
class Time:
    """Seconds of a training step on one machine, by part.

    Args:
        products: Matrix products, forwards and backwards.
        passes: Passes over values between them.
        recompute: What is computed a second time.
        update: Clipping and the optimizer.
        overhead: What operations cost however small they are.
        exchange: Sum of the gradients over the machines.
    """

    products: float
    passes: float
    recompute: float
    update: float
    overhead: float
    exchange: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Returns the seconds by part."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def step_time(
    stages: Sequence[Stage],
    parameters: int,
    machine: Machine,
    product_dtype: str,
    recompute: bool,
    updates: bool = True,
) -> Time:
    """Sums up a training step.

    Args:
        stages: The forward pass.
        parameters: Number of parameters.
        machine: The machine.
        product_dtype: "float32" or "bfloat16".
        recompute: Whether blocks are computed a second time.
        updates: Whether the optimizer is AdamW; plain gradient descent costs a sixth of it. Default True.

    Returns:
        `Time`, without an exchange.
    """
    low = product_dtype == "bfloat16"
    factor = machine.step_factor.get(product_dtype, 1.0)
    products = passes = again = 0.0
    for stage in stages:
        forward, backward, forward_passes, backward_passes = _stage_seconds(stage, machine, product_dtype, low)
        products += stage.times * (forward + backward)
        passes += stage.times * (forward_passes + backward_passes)
        if recompute and stage.boundary:
            again += stage.times * (forward + forward_passes)
    update = machine.pass_seconds("update", parameters) * (1 if updates else 1 / 6)
    blocks = sum(stage.times for stage in stages if stage.boundary)
    overhead = machine.step_seconds + machine.block_seconds * blocks
    return Time(factor * products, factor * passes, factor * again, update, overhead)


def _stage_seconds(stage: Stage, machine: Machine, dtype: str, low: bool) -> tuple[float, float, float, float]:
    forward = backward = forward_passes = backward_passes = 0.0
    for product in stage.work.products:
        forward += machine.product_seconds(product.flops, product.values, dtype)
        backward += sum(machine.product_seconds(p.flops, p.values, dtype) for p in product.gradients())
    for one in stage.work.passes:
        if one.kind == "cast" and not low:
            continue
        forward_passes += machine.pass_seconds(one.kind, one.values, one.low and low)
        if one.gradient:
            backward_passes += machine.pass_seconds(one.kind, one.values, one.low and low, gradient=True)
    return forward, backward, forward_passes, backward_passes
