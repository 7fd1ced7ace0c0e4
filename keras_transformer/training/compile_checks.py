"""What `DistributedModel.compile` refuses: parts that Keras or TensorFlow get wrong on several replicas."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_transformer.optimizers import AdamW


def on_several_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the replicas of a strategy are spread over several processes."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    return strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)


def check_losses(loss: Any, outputs: Iterable[str]) -> dict[str, keras.losses.Loss]:
    """Returns the loss of each output.

    Args:
        loss: `keras.losses.Loss`, or a mapping of them by output.
        outputs: Names of the outputs that `examples_per_step` knows.

    Raises:
        ValueError: If one is no loss, or losses and outputs differ.
    """
    outputs = list(outputs)
    losses = dict(loss) if isinstance(loss, Mapping) else dict.fromkeys(outputs, loss)
    for one in losses.values():
        if not isinstance(one, keras.losses.Loss):
            raise ValueError(f"loss must be a keras.losses.Loss. Received: {one!r}")
    if set(losses) != set(outputs) or (len(outputs) > 1 and not isinstance(loss, Mapping)):
        raise ValueError(
            "There must be one loss for each output of examples_per_step. "
            f"Received: losses of {', '.join(losses)}, examples_per_step of {', '.join(outputs)}"
        )
    return losses


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
