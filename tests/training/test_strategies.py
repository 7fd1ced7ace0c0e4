import subprocess
import sys

import pytest
import tensorflow as tf

from keras_transformer.training import strategies


def test_one_device_leaves_the_choice_to_tensorflow():
    assert strategies.create() is tf.distribute.get_strategy()
    assert not tf.distribute.has_strategy()


@pytest.mark.parametrize("name", ["CPU:0", "cpu:0", "/CPU:0", "/device:CPU:0"])
def test_one_device_takes_a_device_by_any_spelling(name):
    strategy = strategies.create("one_device", devices=name)
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert strategy.extended.worker_devices[0].endswith("CPU:0")


def test_mirrored_without_gpus_uses_every_logical_cpu():
    strategy = strategies.create("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices(kind))
    assert strategies.create("mirrored", devices=["CPU:0"]).num_replicas_in_sync == 1


def test_what_cannot_be_had_is_refused_in_one_sentence_or_two(monkeypatch):
    with pytest.raises(ValueError, match=r"one of one_device, mirrored, multi_worker, tpu\. Received: 'horovod'"):
        strategies.create("horovod")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"--local_workers=2 sets it.*Received: no TF_CONFIG"):
        strategies.create("multi_worker")
    with pytest.raises(ValueError, match=r"This machine has the devices .*CPU:0.*Received: GPU:7"):
        strategies.create("mirrored", devices=["CPU:0", "GPU:7"])
    with pytest.raises(ValueError, match=r"Every device can be used once\. Received: CPU:0, CPU:0"):
        strategies.create("one_device", devices=["CPU:0", "/cpu:0"])


def test_the_cpu_is_split_before_tensorflow_starts_or_not_at_all():
    tf.constant(1) + 1
    present = len(tf.config.list_logical_devices("CPU"))
    assert strategies.create("mirrored", devices=["CPU:0"], logical_cpus=present).num_replicas_in_sync == 1
    with pytest.raises(ValueError, match=rf"before TensorFlow runs.*Received: logical_cpus={present + 1}"):
        strategies.create("mirrored", logical_cpus=present + 1)
    with pytest.raises(ValueError, match=r"logical_cpus must be an integer of at least 1. Received: 0"):
        strategies.create("mirrored", logical_cpus=0)


def test_a_tpu_that_is_not_there_is_one_clear_error():
    # In a process of its own: looking for a TPU clears TensorFlow's state.
    program = """
from keras_transformer.training import strategies
for devices in (None, "tpu-that-is-not-there"):
    try:
        strategies.create("tpu", devices=devices)
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "No TPU can be reached from this machine. Use strategy 'one_device' or 'mirrored'. "
        f"Received: 'tpu', devices={devices}"
        for devices in ("None", "['tpu-that-is-not-there']")
    ]
