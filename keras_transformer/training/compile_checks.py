"""What `DistributedModel.compile` refuses: parts that Keras or TensorFlow get wrong on several replicas."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_transformer.optimizers import AdamW


def on_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the replicas of a strategy are spread over several processes."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def check_accumulation(accumulation_steps: Any, steps_per_execution: int) -> None:
    """Refuses a number of batches that make no update.

    Args:
        accumulation_steps: Number of batches whose gradients make one update.
        steps_per_execution: Number of steps in one call.

    Raises:
        ValueError: If it is no whole number of at least 1, or calls of several steps would hide the batches.
    """
    if isinstance(accumulation_steps, bool) or not isinstance(accumulation_steps, int) or accumulation_steps < 1:
        raise ValueError(f"accumulation_steps must be an integer of at least 1. Received: {accumulation_steps!r}")
    if accumulation_steps > 1 and steps_per_execution > 1:
        raise ValueError(
            "With accumulation_steps, batches are taken one at a time: use steps_per_execution=1. "
            f"Received: accumulation_steps={accumulation_steps}, steps_per_execution={steps_per_execution}"
        )


def check_replicated(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    jit_compile: bool,
    steps_per_execution: int,
) -> None:
    """Refuses what does not work on several replicas.

    Args:
        strategy: `tf.distribute.Strategy`.
        model: The model that is trained.
        optimizer: What trains it.
        jit_compile: Whether XLA compiles the step.
        steps_per_execution: Number of steps in one call.

    Raises:
        ValueError: Naming what to use instead.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    clips = any(getattr(optimizer, n, None) for n in ("clipnorm", "clipvalue", "global_clipnorm"))
    if clips and not isinstance(optimizer, AdamW):
        raise ValueError(
            "This optimizer clips on each replica before the gradients are summed, so the bound depends on the "
            f"number of replicas. Use keras_transformer.optimizers.AdamW. Received: {type(optimizer).__name__}"
        )
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise ValueError(
            "Gradient accumulation by the optimizer does not work on several replicas with Keras 3. Use "
            "DistributedModel.compile(accumulation_steps=...). "
            f"Received: gradient_accumulation_steps={optimizer.gradient_accumulation_steps}"
        )
    if jit_compile:
        raise ValueError("XLA does not work on several replicas. Received: jit_compile=True")
    if steps_per_execution > 1 and on_several_workers(strategy):
        raise ValueError(f"Several workers do one step at a time. Received: steps_per_execution={steps_per_execution}")
    # Private to TensorFlow 2.21, hence the default; other ways of summing than collectives are fine.
    summing = type(getattr(strategy.extended, "_cross_device_ops", None)).__name__
    if steps_per_execution > 1 and summing == "CollectiveAllReduce":
        raise ValueError(
            "TensorFlow's collectives fail inside a loop of steps. Use steps_per_execution=1, or a strategy with "
            "cross_device_ops=tf.distribute.ReductionToOneDevice(). "
            f"Received: steps_per_execution={steps_per_execution}"
        )
    float16 = any(layer.dtype_policy.name == "mixed_float16" for layer in model._flatten_layers())
    if float16:
        raise ValueError("Loss scaling is wrong on several replicas. Use mixed_bfloat16. Received: mixed_float16")


def check_scope(strategy: tf.distribute.Strategy, variables: Iterable[Any]) -> None:
    """Refuses variables that the strategy did not create.

    Args:
        strategy: `tf.distribute.Strategy`.
        variables: Keras variables.

    Raises:
        ValueError: Naming one of them.
    """
    outside = [v.path for v in variables if not strategy.extended.variable_created_in_scope(v.value)]
    if outside:
        raise ValueError(
            "Build the model, the optimizer and the metrics inside `with strategy.scope():`. "
            f"Received: {len(outside)} variables made outside it, such as {outside[0]!r}"
        )
