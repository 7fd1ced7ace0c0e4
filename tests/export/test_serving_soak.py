"""The soak benchmark, for seconds instead of minutes: it must notice what it looks for."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import serving_soak

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_short_soak_reports_both_modes(served, tmp_path):
    command = [
        *(sys.executable, str(ROOT / "benchmarks" / "serving_soak.py"), "--minutes=0.1", "--clients=8"),
        f"--model_base_path={served('single_label').folder / 'saved_model'}",
        f"--output={tmp_path / 'soak.json'}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    report = json.loads((tmp_path / "soak.json").read_text())
    assert json.loads(result.stdout) == report
    assert report["clients"] == 8
    assert "not the TensorFlow Serving binary" in report["server"]
    assert set(report["modes"]) == {"alone", "batching"}
    for found in report["modes"].values():
        assert found["errors"] == {}
        assert found["requests"] > 8
        assert found["largest_difference"] < 1e-4
        assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
        assert found["memory"]["start_mb"] > 100
    # Seconds are too short for a verdict on memory; the status follows what the report says.
    flat = all(found["memory"]["flat"] for found in report["modes"].values())
    assert result.returncode == (0 if flat else 1), result.stderr[-2000:]


class Answering:
    """A client that mixes up the answers of every second request."""

    def __init__(self, logits):
        self.logits, self.count = logits, 0

    def predict(self, texts, signature):
        self.count += 1
        if self.count % 4 == 0:
            raise TimeoutError("late")
        rows = np.array([self.logits[int(text)] for text in texts])
        return {"logits": rows[::-1] if self.count % 2 else rows}


@pytest.fixture
def watch(monkeypatch):
    logits = np.arange(10.0)[:, None]
    memory = iter(range(1000, 100_000, 20))
    monkeypatch.setattr(serving_soak, "resident_megabytes", lambda pid: float(next(memory)))
    return serving_soak.Watch(Answering(logits), [str(i) for i in range(10)], logits, pid=0)


def test_mixed_up_answers_errors_and_growth_are_noticed(watch):
    watch.run(clients=2, seconds=1.0)
    report = watch.report()
    assert report["errors"]["an answer that belongs to another text"] > 0
    assert report["errors"]["TimeoutError: late"] > 0
    assert report["largest_difference"] >= 1
    assert not report["memory"]["flat"]
    assert report["memory"]["growth"] > 0.03


def test_memory_that_settles_is_flat(watch):
    """It grows in the first minute and stays."""
    watch.memory = [(second, 500.0 + min(second, 50) * 10 + second % 3) for second in range(601)]
    watch.seconds, watch.latencies = 600.0, [(0.010, 1)] * 99 + [(0.5, 4)]
    report = watch.report()
    assert report["memory"]["flat"]
    assert report["memory"]["start_mb"] == 500
    assert report["memory"]["end_mb"] == pytest.approx(1001, abs=1)
    assert report["latency_ms"]["p50"] == 10
    assert report["latency_ms"]["p100"] == 500
    assert report["texts_per_second"] == pytest.approx(103 / 600, abs=0.01)
