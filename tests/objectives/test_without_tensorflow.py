"""Objectives and their models under JAX, on a machine without TensorFlow: the same batches, and the same outputs."""

import numpy as np
import pytest

from keras_transformer import objectives
from tests.objectives.corpora import backbone, markov, specials
from tests.test_imports import HIDE, run_python

NAMES = ("masked", "replaced", "contrastive", "prefix")


@pytest.mark.slow
def test_jax_computes_the_same_and_takes_a_step(tmp_path):
    store = markov(30, seed=0)
    for name in NAMES:
        objective = objectives.create(name, store, specials(), row_length=24, seed=3)
        model = objective.create_model(backbone(objective.model_kind))
        model.save(tmp_path / f"{name}.keras")
        inputs, _, _ = objective.batch(1, [4, 0, 7])
        outputs = {f"out_{key}": np.array(value) for key, value in model(inputs).items() if key != "replaced"}
        np.savez(tmp_path / f"{name}.npz", **inputs, **outputs)
    code = (
        HIDE.format(names={"tensorflow", "tensorflow_text", "tensorflow_datasets"})
        + f"""
import sys
import keras, numpy as np
sys.path.insert(0, {str(tmp_path)!r})
import keras_transformer.models
from keras_transformer import objectives
from keras_transformer.corpus import TokenStore

random = np.random.default_rng(0)
for name in {NAMES!r}:
    kept = dict(np.load({str(tmp_path)!r} + f"/{{name}}.npz"))
    inputs = {{key: value for key, value in kept.items() if not key.startswith("out_")}}
    model = keras.saving.load_model({str(tmp_path)!r} + f"/{{name}}.keras")
    outputs = model(inputs)
    for key, value in kept.items():
        if key.startswith("out_"):  # what is drawn for replaced tokens is another thing under JAX
            np.testing.assert_allclose(outputs[key[4:]], value, rtol=1e-4, atol=2e-4, err_msg=name)

store = TokenStore.of([[random.integers(10, 70, 9).tolist() for _ in range(4)] for _ in range(30)], 90)
maskable = np.arange(90) >= 10
of = objectives.Specials(90, 0, [2], [3], 4, sentinel_ids=range(89, 69, -1), maskable=maskable)
for name in {NAMES!r}:
    objective = objectives.create(name, store, of, row_length=24)
    inputs, labels, weights = objective.batch(0, range(6))
    model = keras.saving.load_model({str(tmp_path)!r} + f"/{{name}}.keras")
    outputs = objective.outputs()
    model.compile("adam", {{key: type(output.loss)() for key, output in outputs.items()}})
    before = [np.array(weight) for weight in model.trainable_variables]
    model.train_on_batch(inputs, labels, sample_weight=weights)
    after = [np.array(weight) for weight in model.trainable_variables]
    moved = np.mean([(a != b).any() for a, b in zip(before, after)])
    assert moved > 0.9 and all(np.isfinite(a).all() for a in after), (name, moved)
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
"""
    )
    run_python(code, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
