"""What calibration concludes from seconds that are known."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from keras_transformer import plan
from keras_transformer.plan import calibration, reference_step, timing
from keras_transformer.plan.stages import stages

ROOT = Path(__file__).resolve().parent.parent.parent
CARD = plan.Machine("card", 1e11, 3e11, 1e10, block_seconds=0.001, step_seconds=0.002)


def test_rates_are_found_in_the_seconds_of_products(monkeypatch):
    def seconds(product, dtype, clock):
        rate, size = (2e11, 4) if dtype == "float32" else (5e11, 2)
        return product.flops / rate + product.values * size / 3e10

    monkeypatch.setattr(calibration, "_product_seconds", seconds)
    found = calibration._products(None)
    assert found["float32_flops"] == pytest.approx(2e11)
    assert found["bfloat16_flops"] == pytest.approx(5e11)
    assert found["product_bandwidth"] == pytest.approx(3e10)


def test_noise_gives_no_negative_rate(monkeypatch):
    """Products that take the longer the fewer bytes they have: no bandwidth can explain that."""
    monkeypatch.setattr(
        calibration, "_product_seconds", lambda product, dtype, clock: product.flops / 1e11 * (1e7 / product.values)
    )
    assert all(rate > 0 for rate in calibration._products(None).values())


def test_overheads_are_a_line_through_two_small_models():
    seconds = iter([0.012, 0.020])
    found = reference_step.overheads(lambda call: next(seconds))
    assert found["block_seconds"] == pytest.approx(0.002)
    assert found["step_seconds"] == pytest.approx(0.010)
    assert found["library"] > 10**8


def test_step_factors_make_the_reference_right():
    factors = reference_step.factors(CARD, lambda call: 3.0)
    config, batch = reference_step._REFERENCE, reference_step._BATCH
    count = sum(plan.by_part(config).values())
    machine = plan.Machine(**vars(CARD) | {"step_factor": factors})
    for dtype in ("float32", "bfloat16"):
        time = timing.step_time(stages(config, batch), count, machine, dtype, recompute=False)
        assert time.total == pytest.approx(3.0)


def test_the_step_of_the_reference_trains():
    small = reference_step._small(1)
    step = reference_step.training_step(small, plan.Batch(4, 8), "float32")
    losses = [float(step()) for _ in range(3)]
    assert len(set(losses)) == 3


@pytest.mark.slow
def test_a_machine_is_measured_and_kept(tmp_path):
    """The benchmark at tiny sizes: calibrates, trains, predicts, and goes on where it stopped."""
    output, machine = tmp_path / "check.json", tmp_path / "machine.json"
    command = [sys.executable, ROOT / "benchmarks" / "plan_check.py", "--smoke", f"--output={output}"]
    command += [f"--save_machine={machine}", "--name=here", "--cases=minilm/8x256/bfloat16,encoder-decoder/*"]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    result = json.loads(output.read_text())
    assert len(result["summary"]) == 2
    for entry in result["summary"].values():
        ratio = entry["predicted"]["megabytes"] / entry["measured"]["megabytes"]
        assert entry["predicted_to_measured"]["memory"] == pytest.approx(ratio, abs=1e-3)
    found = plan.load(machine)
    assert found.float32_flops > 1e9
    assert found.memory_bandwidth > 1e8
    assert set(found.step_factor) == {"float32", "bfloat16"}
    again = subprocess.run(command, capture_output=True, text=True)
    assert "round 1" not in again.stdout
    assert json.loads(output.read_text()) == result
