"""Checkpoint files: whole or not there, readable by others, and safe to fall back from."""

import errno
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from keras_transformer.training import CheckpointStore
from keras_transformer.training import files as files_module

TENSORS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "counter": np.array(7, np.int64),
    "seed": np.array([1, 2**32 - 1], np.uint32),
    "flag": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float32),
}


def test_everything_comes_back_as_it_was(tmp_path):
    store = CheckpointStore(tmp_path)
    path = store.save(12, TENSORS, {"epoch": 1, "history": [{"loss": 0.25}]})
    checkpoint = store.load(12)
    assert checkpoint.step == 12
    assert checkpoint.state == {"epoch": 1, "history": [{"loss": 0.25}]}
    assert list(checkpoint.tensors) == list(TENSORS)
    # The official reader of the format is the independent judge of the file.
    official = load_file(path)
    for name, expected in TENSORS.items():
        for got in (checkpoint.tensors[name], official[name]):
            assert got.dtype == expected.dtype
            assert got.shape == expected.shape
            np.testing.assert_array_equal(got, expected)


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in (1, 2, 3, 4, 5):
        store.save(step, TENSORS, {}, best_step=2 if step > 1 else 1)
    assert store.steps() == [2, 4, 5]
    store.save(6, TENSORS, {}, best_step=6)
    assert store.steps() == [5, 6]
    assert sorted(os.listdir(store.folder)) == ["step-00000005.safetensors", "step-00000006.safetensors"]


@pytest.mark.parametrize("damage", ["nothing left", "header cut", "data cut", "one bit", "another file"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog, damage):
    store = CheckpointStore(tmp_path)
    store.save(1, TENSORS, {"epoch": 0})
    path = store.save(2, TENSORS, {"epoch": 1})
    content = bytearray(path.read_bytes())
    if damage == "nothing left":
        content = b""
    elif damage == "header cut":
        content = content[:40]
    elif damage == "data cut":
        content = content[:-3]
    elif damage == "one bit":
        content[-1] ^= 1
    else:
        content = b"\x80\x04\x95 this is a pickle, not a checkpoint"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        checkpoint = store.load_latest()
    assert checkpoint.step == 1
    assert checkpoint.state == {"epoch": 0}
    assert f"{path} is truncated or damaged" in caplog.text
    with pytest.raises(ValueError, match="truncated or damaged"):
        store.load(2)


def test_no_checkpoint_at_all(tmp_path):
    store = CheckpointStore(tmp_path / "nothing")
    assert store.load_latest() is None
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        store.load(1)


def test_a_kill_while_writing_leaves_the_checkpoint_before(tmp_path):
    """In a process of its own, killed with half of the file on disk."""
    code = f"""
import numpy as np
from keras_transformer.training.checkpoints import CheckpointStore
store = CheckpointStore({str(tmp_path)!r})
for step in (1, 2, 3):
    store.save(step, {{str(i): np.full(1000, step, "float32") for i in range(8)}}, {{"epoch": step}})
"""
    environment = os.environ | {"KERAS_TRANSFORMER_KILL_AT": "checkpoint:3"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=120)
    assert process.returncode == -signal.SIGKILL
    store = CheckpointStore(tmp_path)
    left_over = [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]
    assert len(left_over) == 1
    assert 8 < (tmp_path / left_over[0]).stat().st_size < store.path(2).stat().st_size
    assert store.load_latest().state == {"epoch": 2}
    store.save(3, TENSORS, {})
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]


def test_a_full_disk_is_named_and_nothing_half_written_stays(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)
    store.save(1, TENSORS, {})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files_module.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on the disk while writing .*same command again") as error:
        store.save(2, TENSORS, {})
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["step-00000001.safetensors"]


def test_the_kernels_own_full_disk(tmp_path):
    """Writing to /dev/full fails with the real error of a full disk, when the file is flushed."""

    def write(file):
        os.dup2(os.open("/dev/full", os.O_WRONLY), file.fileno())
        file.write(b"x" * 100_000)

    with pytest.raises(OSError, match="No space left on the disk") as error:
        files_module.write_atomically(tmp_path / "x", write)
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []
