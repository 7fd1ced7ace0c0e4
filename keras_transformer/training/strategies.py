"""Where a training runs: one device, several of one machine, several machines, or a TPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_transformer.training.rendezvous import Task, meet, own_task

NAMES = ("one_device", "mirrored", "multi_worker", "tpu")


def create(
    name: str = "one_device",
    devices: Sequence[str] | str | None = None,
    logical_cpus: int | None = None,
    *,
    wait: float = 300.0,
    about: Mapping[str, Any] | None = None,
) -> tf.distribute.Strategy:
    """Returns the `tf.distribute.Strategy` of a name; build the model under its `scope()`.

    Args:
        name: "one_device" (default): TensorFlow's own choice, or the device given. "mirrored": a copy of the model on
            each GPU, or where there is none on each logical CPU. "multi_worker": a copy of the model in each of the
            processes that TF_CONFIG names, on all of their GPUs or on their CPU. "tpu": the TPU that
            `TPUClusterResolver` finds.
        devices: Names such as "GPU:0", or one of them; for "tpu" the name or address of the TPU. Default: all.
        logical_cpus: Split the CPU into this many devices, to try "mirrored" without GPUs; at least 1, and before
            TensorFlow runs its first operation. Default: leave the CPU as it is.
        wait: Seconds that "multi_worker" waits for the other workers. Default 300.
        about: JSON values that must be equal for all workers of "multi_worker". Default: nothing is compared.

    Returns:
        The strategy.

    Raises:
        ValueError: For an unknown name, a device that is not there, a CPU that can no longer be split, a TF_CONFIG
            that is missing or wrong, workers that differ, or "tpu" on a machine that reaches no TPU.
        TimeoutError: If a worker does not come in time.
        OSError: If this worker's port is in use.

    Example:
        ```python
        from keras_transformer.training import strategies

        strategy = strategies.create("one_device")
        assert strategy.num_replicas_in_sync == 1
        ```
    """
    if name not in NAMES:
        raise ValueError(f"strategy must be one of {', '.join(NAMES)}. Received: {name!r}")
    if logical_cpus is not None:
        _split_cpu(logical_cpus)
    devices = [devices] if isinstance(devices, str) else list(devices or ())
    if name == "tpu":
        return _tpu(devices)
    if name == "multi_worker":
        return _multi_worker(own_task(), devices, about or {}, wait)
    devices = _check_devices(devices)
    if name == "one_device":
        if len(devices) > 1:
            raise ValueError(f"Strategy 'one_device' takes one device; 'mirrored' takes several. Received: {devices}")
        return tf.distribute.OneDeviceStrategy(devices[0]) if devices else tf.distribute.get_strategy()
    devices = devices or _logical_devices("GPU") or _logical_devices("CPU")
    # TensorFlow 2.21's collectives fail inside a loop of steps (`steps_per_execution`); CPUs do not need them.
    on_cpu = all(device.startswith("CPU") for device in devices)
    reduction = tf.distribute.ReductionToOneDevice() if on_cpu else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def _multi_worker(task: Task, devices: list[str], about: Mapping[str, Any], wait: float) -> tf.distribute.Strategy:
    """Meets the other workers, then lets TensorFlow connect to them."""
    if devices:
        raise ValueError(f"Strategy 'multi_worker' takes every device of a worker. Received: {', '.join(devices)}")
    meet(task, about, wait)
    return tf.distribute.MultiWorkerMirroredStrategy()


def _logical_devices(kind: str | None = None) -> list[str]:
    """Returns names such as "CPU:0"."""
    return [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices(kind)]


def _check_devices(devices: list[str]) -> list[str]:
    """Returns the names in one spelling, or fails for one that is not there."""
    devices = [device.upper().lstrip("/").removeprefix("DEVICE:") for device in devices]
    present = _logical_devices()
    missing = [device for device in devices if device not in present]
    if missing:
        raise ValueError(f"This machine has the devices {', '.join(present)}. Received: {', '.join(missing)}")
    if len(set(devices)) != len(devices):
        raise ValueError(f"Every device can be used once. Received: {', '.join(devices)}")
    return devices


def _split_cpu(count: int) -> None:
    """Makes the CPU look like `count` devices."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"logical_cpus must be an integer of at least 1. Received: {count!r}")
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        if len(_logical_devices("CPU")) == count:
            return
        raise ValueError(
            "The CPU can only be split before TensorFlow runs its first operation; it has "
            f"{len(_logical_devices('CPU'))} logical devices now. Received: logical_cpus={count}"
        ) from error


def _tpu(names: list[str]) -> tf.distribute.Strategy:
    """Connects to a TPU: the one named, the one of the environment, or the one of this machine."""
    if len(names) > 1:
        raise ValueError(f"Strategy 'tpu' takes one name or address. Received: {names}")
    # Without a name the resolver reads TPU_NAME; "local" is the TPU of a Cloud TPU machine.
    for name in names or ["", "local"]:
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
        except (ValueError, OSError, tf.errors.OpError) as error:
            cause = error
    raise ValueError(
        "No TPU can be reached from this machine. Use strategy 'one_device' or 'mirrored'. "
        f"Received: 'tpu', devices={names or None}"
    ) from cause
