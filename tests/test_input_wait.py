"""The benchmark on waiting for input sees a pipeline that is too slow."""

import time

import pytest

from tests.test_benchmarks import run

import input_wait  # isort: skip  # tests.test_benchmarks puts its folder on the path


def test_a_slow_pipeline_is_seen_by_the_profiler(tmp_path):
    import numpy as np
    import tensorflow as tf

    def slow(i):
        time.sleep(0.05)
        return np.int64(i)

    dataset = tf.data.Dataset.range(6).map(lambda i: tf.numpy_function(slow, [i], tf.int64))
    iterator = iter(dataset)
    take = tf.function(lambda iterator: next(iterator))
    take(iterator)
    tf.profiler.experimental.start(str(tmp_path))
    for _ in range(5):
        take(iterator)
    tf.profiler.experimental.stop()
    seconds, count = input_wait.waiting(tmp_path)
    assert count == 5
    assert seconds == pytest.approx(5 * 0.05, rel=0.5)


@pytest.mark.slow
def test_every_case_shows_all_of_its_batches(tmp_path):
    shown, result = run("input_wait.py", tmp_path / "wait.json")
    assert set(result["summary"]) == set(input_wait.CASES)
    for case, (entry,) in result["rounds"].items():
        measured = entry["ours"]
        assert measured["steps"] == 4
        assert 0 < measured["seconds_waiting"] < measured["seconds"], case
    assert "of the time is spent waiting for input" in shown
