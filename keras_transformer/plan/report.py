"""A plan as a table for the terminal."""

from keras_transformer.plan.planning import Plan
from keras_transformer.plan.scaling import Optimum

_WIDTH = 24


def table(plan: Plan) -> str:
    """Returns the lines that a person reads.

    Args:
        plan: From `training`.

    Example:
        ```python
        from keras_transformer import plan
        from keras_transformer.plan.report import table

        machine = plan.Machine("card", float32_flops=30e12, bfloat16_flops=400e12, memory_bandwidth=2e12)
        assert "22,566,146" in table(plan.training(plan.find("minilm"), batch=16, length=128, machine=machine))
        ```
    """
    lines = [*_parameters(plan), "", *_flops(plan), "", *_memory(plan), "", *_time(plan)]
    if plan.tokens is not None:
        lines += ["", *_whole(plan)]
    return "\n".join(lines)


def optimum(found: Optimum) -> list[str]:
    """Returns the lines about a compute-optimal size."""
    return [
        "Compute-optimal (20 tokens for each parameter, Hoffmann et al., arXiv 2203.15556)",
        _line("parameters", quantity(found.parameters)),
        _line("tokens", quantity(found.tokens)),
        _line("FLOPs", f"{found.flops:.3g}"),
        _line("loss", f"{found.loss:.2f}  nats per token by their fit, of a language model on their text"),
    ]


def quantity(value: float) -> str:
    """Returns a number with three digits and its unit: 22.7 million."""
    for size, unit in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if value >= size:
            return f"{value / size:.3g}{unit}" if value < 999.5 * size else f"{value / size:,.0f}{unit}"
    return f"{value:.3g}"


def _line(name: str, *columns: str) -> str:
    return f"  {name:{_WIDTH}s}" + "".join(f"{column:>18s}" if len(columns) > 1 else column for column in columns)


def _parameters(plan: Plan) -> list[str]:
    total = plan.total_parameters
    lines = [f"Parameters: {total:,}"]
    lines += [_line(name, f"{count:,}", f"{count / total:.1%}") for name, count in plan.parameters.items() if count]
    return lines


def _flops(plan: Plan) -> list[str]:
    shape = f"{plan.batch.examples} x {plan.batch.length} tokens"
    if plan.batch.target_length is not None:
        shape += f", {plan.batch.target_length} predicted for each"
    flops = plan.flops
    lines = [f"FLOPs of a step ({shape} on each machine; matrix products only): {flops.total:.4g}"]
    for name in ("forward", "backward", "recompute"):
        if getattr(flops, name):
            lines.append(_line(name, f"{getattr(flops, name):.4g}"))
    return lines


def _memory(plan: Plan) -> list[str]:
    kept, again = plan.memory_kept, plan.memory_recomputed
    lines = [
        "Memory at the peak of a step, MB" + (" (planned: with recompute)" if plan.recompute else ""),
        _line("", "without recompute", "with recompute"),
    ]
    for name in kept.parts():
        lines.append(_line(name, *(f"{memory.parts()[name] / 1e6:,.0f}" for memory in (kept, again))))
    lines.append(_line("total", *(f"{memory.total / 1e6:,.0f}" for memory in (kept, again))))
    lines.append(_line("peak during the", kept.moment, again.moment))
    if plan.fits is not None:
        verdict = "fits" if plan.fits else "does NOT fit"
        lines.append(f"  It {verdict} into the {plan.machine.memory / 1e6:,.0f} MB of {plan.machine.name}.")
    return lines


def _time(plan: Plan) -> list[str]:
    time = plan.time
    lines = [
        f"Time of a step on {plan.machines} x {plan.machine.name}, products in {plan.product_dtype}: {time.total:.4g} s"
    ]
    for name, seconds in time.parts().items():
        if seconds:
            lines.append(_line(name, f"{seconds:.4g} s", f"{seconds / time.total:.1%}"))
    if plan.machines > 1:
        lines.append(
            f"  {plan.exchanged / 1e6:,.1f} MB leave each machine in a step to sum the gradients: "
            f"{plan.exchange_share:.1%} of its time."
        )
    share = plan.flops.total / time.total / _rate(plan)
    lines.append(f"  {plan.tokens_per_second:,.0f} tokens/s; {share:.0%} of the machine's rate of large products")
    return lines


def _rate(plan: Plan) -> float:
    return plan.machine.bfloat16_flops if plan.product_dtype == "bfloat16" else plan.machine.float32_flops


def _whole(plan: Plan) -> list[str]:
    lines = [f"The whole training: {quantity(plan.tokens)} tokens, {plan.steps:,} steps, {duration(plan.hours)}"]
    if plan.cost is not None:
        lines.append(
            _line("cost", f"{plan.cost:,.2f}  ({plan.machines} x {plan.hours:,.2f} h x {plan.machine.price:g})")
        )
    spent = (plan.flops.forward + plan.flops.backward) * plan.tokens / plan.batch.tokens
    lines.append(_line("FLOPs", f"{spent:.3g}"))
    lines.append(_line("tokens per parameter", f"{plan.tokens / plan.total_parameters:.3g}"))
    if plan.optimum is not None:
        lines += ["", *optimum(plan.optimum)]
    return lines


def duration(hours: float) -> str:
    """Returns hours in the unit that people would take."""
    if hours < 1 / 60:
        return f"{3600 * hours:.3g} s"
    if hours < 2:
        return f"{60 * hours:.3g} min"
    return f"{hours:,.1f} h" if hours < 72 else f"{hours / 24:,.1f} days"
