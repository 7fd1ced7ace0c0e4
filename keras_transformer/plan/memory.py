"""How much memory a training step needs, by part, at the moment when it needs most."""

import dataclasses
from collections.abc import Mapping, Sequence

from keras_transformer.plan.work import FLOAT, LOW, Stage

# Fitted to the peaks of processes (`benchmarks/plan_check.py` names them); the model of a check is never among them.
UPDATE_TENSORS = 3
"""Tensors of the size of the largest weight that the update has at one time, besides gradients and moments."""
HELD_GRADIENTS = 2
"""What the update of the step before has cut out of the allocator's memory and activations do not fit into, counted in
all gradients; in the update itself one of the two is the clipped gradients."""
GRAPH_BYTES, GRAPH_BYTES_PER_SUBLAYER, GRAPH_BYTES_PER_RECOMPUTED = 43_000_000, 11_000_000, 6_500_000
"""Of the compiled step: at least; for each attention and feed-forward network; more for each block of `recompute`."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training step.

    Args:
        library: TensorFlow, Keras and this package, before there is a model.
        graph: The compiled step: graphs in Python and in TensorFlow, and compiled kernels.
        weights: Parameters, float32.
        optimizer: State of the optimizer.
        gradients: Gradients that are there at the peak.
        activations: What the forward pass keeps for the backward pass, as far as it is there at the peak.
        working: What is needed for a moment only, and what the allocator holds without use.
        moment: "backward" or "update": when the peak is.
    """

    library: int
    graph: int
    weights: int
    optimizer: int
    gradients: int
    activations: int
    working: int
    moment: str

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts().values())

    @property
    def training(self) -> int:
        """All but the library: what the choice of model and batch decides."""
        return self.total - self.library

    def parts(self) -> dict[str, int]:
        """Returns the bytes by part."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "moment"}


def kept_bytes(stage: Stage, product_bytes: int, recompute: bool) -> int:
    """Returns the bytes that a stage keeps from its forward to its backward pass."""
    if recompute and stage.boundary:
        return stage.times * stage.boundary * FLOAT
    return stage.times * stage.work.kept_bytes(product_bytes)


def peak(
    stages: Sequence[Stage],
    parameters: Mapping[str, int],
    product_dtype: str,
    recompute: bool,
    optimizer_slots: int = 2,
    library: int = 0,
) -> Memory:
    """Finds the moment of a training step that needs most memory.

    The step is followed from the loss backwards: what a stage kept goes, the gradients of its weights come. Then all
    weights are updated.

    Args:
        stages: The forward pass.
        parameters: Number of parameters by part; those of a stage have its name.
        product_dtype: "float32" or "bfloat16".
        recompute: Whether blocks keep their input only.
        optimizer_slots: Float32 values of the optimizer for each parameter. Default 2, of AdamW.
        library: Bytes of the process without a model.

    Returns:
        `Memory`.
    """
    product_bytes = LOW if product_dtype == "bfloat16" else FLOAT
    count = sum(parameters.values())
    kept = sum(kept_bytes(stage, product_bytes, recompute) for stage in stages)
    held = HELD_GRADIENTS * FLOAT * count
    gradients = 0
    moments = []
    for stage in reversed(stages):
        again = stage.work.kept_bytes(product_bytes) if recompute and stage.boundary else 0
        working = again + stage.work.transient_bytes(product_bytes)
        share = FLOAT * parameters.get(stage.name, 0) // stage.times
        each = kept_bytes(stage, product_bytes, recompute) // stage.times
        for _ in range(stage.times):
            moments.append((gradients, kept, working + max(0, held - gradients), "backward"))
            gradients += share
            kept -= each
    tables = (parameters.get("token embeddings", 0), parameters.get("logits", 0))
    largest = FLOAT * max(*tables, *(_largest_kernel(stage) for stage in stages))
    gradients = FLOAT * count
    moments.append((gradients, 0, held - gradients + UPDATE_TENSORS * largest, "update"))
    gradients, activations, working, moment = max(moments, key=lambda entry: sum(entry[:3]))
    return Memory(
        library=library,
        graph=graph_bytes(stages, recompute),
        weights=FLOAT * count,
        optimizer=FLOAT * optimizer_slots * count,
        gradients=gradients,
        activations=activations,
        working=working,
        moment=moment,
    )


def graph_bytes(stages: Sequence[Stage], recompute: bool) -> int:
    """Returns the bytes of the compiled step.

    Args:
        stages: The forward pass.
        recompute: Whether blocks keep their input only.
    """
    blocks = [stage for stage in stages if stage.boundary]
    each = GRAPH_BYTES_PER_RECOMPUTED if recompute else 0
    return GRAPH_BYTES + sum(stage.times * (stage.sublayers * GRAPH_BYTES_PER_SUBLAYER + each) for stage in blocks)


def _largest_kernel(stage: Stage) -> int:
    return max((kept.values for kept in stage.work.kept if kept.copy), default=0)
