import json

import keras
import numpy as np
import pytest

from keras_transformer.optimizers import LinearWarmupDecay


def test_rises_to_the_peak_then_falls_to_the_final_fraction():
    schedule = LinearWarmupDecay(0.8, total_steps=12, warmup_steps=3, final_fraction=0.1)
    rates = [float(schedule(step)) for step in range(15)]
    rising = [0.2, 0.4, 0.6, 0.8]
    falling = [0.8 * (1 - 0.9 * k / 9) for k in range(1, 10)]
    np.testing.assert_allclose(rates, rising + falling + [0.08, 0.08], rtol=1e-6)


def test_without_warmup_starts_at_the_peak():
    schedule = LinearWarmupDecay(1e-3, total_steps=4)
    np.testing.assert_allclose([float(schedule(s)) for s in range(5)], np.array([4, 3, 2, 1, 0]) * 2.5e-4, atol=1e-12)


def test_no_update_of_a_training_is_wasted_on_rate_zero():
    schedule = LinearWarmupDecay(1.0, total_steps=50, warmup_steps=5)
    assert min(float(schedule(step)) for step in range(50)) > 0


def test_is_the_learning_rate_of_an_optimizer():
    variable = keras.Variable([0.0])
    optimizer = keras.optimizers.SGD(LinearWarmupDecay(1.0, total_steps=4, warmup_steps=1))
    for _ in range(4):
        optimizer.apply([keras.ops.ones(1)], [variable])
    np.testing.assert_allclose(variable.numpy(), [-(1 / 2 + 1 + 2 / 3 + 1 / 3)], rtol=1e-6)


def test_survives_json():
    schedule = LinearWarmupDecay(0.8, 12, 3, 0.1)
    text = json.dumps(keras.optimizers.schedules.serialize(schedule))
    again = keras.optimizers.schedules.deserialize(json.loads(text))
    assert isinstance(again, LinearWarmupDecay)
    assert again.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    "arguments",
    [
        {"peak_learning_rate": 0.0},
        {"peak_learning_rate": float("nan")},
        {"total_steps": 0},
        {"total_steps": 2.5},
        {"warmup_steps": -1},
        {"warmup_steps": 10},
        {"final_fraction": 1.5},
    ],
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=r"Received: "):
        LinearWarmupDecay(**{"peak_learning_rate": 1e-3, "total_steps": 10} | arguments)
