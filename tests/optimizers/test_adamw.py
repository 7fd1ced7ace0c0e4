import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.losses import for_kind
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.optimizers import AdamW, LinearWarmupDecay, create

SHAPES = {"table": (20, 4), "block/kernel": (4, 6), "block/query_bias": (6,), "norm/gamma": (4,), "head/kernel": (6, 2)}
DEPTHS = {"table": 0, "block/kernel": 1, "block/query_bias": 1, "norm/gamma": 2, "head/kernel": 2}
DECAYED = {"table": True, "block/kernel": True, "block/query_bias": False, "norm/gamma": False, "head/kernel": True}
STEPS = 50


def _variables(seed=0):
    rng = np.random.default_rng(seed)
    variables = []
    for path, shape in SHAPES.items():
        *scope, name = path.split("/")
        with keras.name_scope(scope[0]) if scope else keras.name_scope("x"):
            variable = keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
        variable._path = path
        variables.append(variable)
    return variables


def _gradients(seed=1):
    """Returns for each step one gradient per variable; the table's has rows that stand twice."""
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        scale = 10.0 ** rng.uniform(-5, 0)  # from far below epsilon's reach to clipped
        dense = {path: (scale * rng.normal(size=shape)).astype("float32") for path, shape in SHAPES.items()}
        rows, ids = dense["table"][:9], rng.integers(0, 6 if step < 25 else 20, 9)
        dense["table"] = np.zeros(SHAPES["table"], "float32")
        np.add.at(dense["table"], ids, rows)
        slices = tf.IndexedSlices(tf.constant(rows), tf.constant(ids), tf.constant(SHAPES["table"]))
        yield dense, [slices] + [tf.constant(dense[path]) for path in list(SHAPES)[1:]]


def _reference(values, schedule, weight_decay, layer_decay, clip_norm, epsilon):
    """AdamW of the paper in float64, a variable at a time."""
    values = {path: v.astype("float64") for path, v in values.items()}
    moments = {path: (np.zeros(v.shape), np.zeros(v.shape)) for path, v in values.items()}
    for step, (gradients, _) in enumerate(_gradients()):
        norm = np.sqrt(sum((g.astype("float64") ** 2).sum() for g in gradients.values()))
        for path, gradient in gradients.items():
            g = gradient.astype("float64") * min(1.0, clip_norm / norm)
            m, v = moments[path]
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            moments[path] = m, v
            rate = schedule(step) * layer_decay ** (2 - DEPTHS[path])
            m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            decay = weight_decay * values[path] if DECAYED[path] else 0.0
            values[path] = values[path] - rate * (m_hat / (np.sqrt(v_hat) + epsilon) + decay)
    return values


@pytest.mark.parametrize("compiled", [False, True])
def test_equals_a_float64_reference_over_fifty_steps(compiled):
    variables = _variables()
    start = {v.path: v.numpy() for v in variables}
    schedule = LinearWarmupDecay(1e-2, total_steps=STEPS, warmup_steps=5)
    optimizer = AdamW(schedule, weight_decay=0.3, layer_decay=0.7, depths=DEPTHS, global_clipnorm=0.5)
    optimizer.build(variables)
    apply = lambda gradients: optimizer.apply(gradients, variables)  # noqa: E731
    apply = tf.function(apply) if compiled else apply
    norms = []
    for _, gradients in _gradients():
        apply(gradients)
        norms.append(float(optimizer.gradient_norm))
    rate = lambda step: 1e-2 * ((step + 1) / 6 if step < 5 else 1 - (step - 5) / 45)  # noqa: E731
    expected = _reference(start, rate, weight_decay=0.3, layer_decay=0.7, clip_norm=0.5, epsilon=1e-6)
    for variable in variables:
        moved = np.abs(expected[variable.path] - start[variable.path]).max()
        np.testing.assert_allclose(variable.numpy(), expected[variable.path], atol=1e-5 * moved, rtol=1e-6)
    exact = [np.sqrt(sum((g.astype("float64") ** 2).sum() for g in dense.values())) for dense, _ in _gradients()]
    np.testing.assert_allclose(norms, exact, rtol=1e-6)
    assert min(norms) < 0.5 < max(norms), "the steps must cover both sides of the bound"


def test_equals_torch_with_parameter_groups():
    variables = _variables()
    parameters = {v.path: torch.nn.Parameter(torch.tensor(v.numpy())) for v in variables}
    groups = [
        {"params": [p], "lr": 1e-2 * 0.8 ** (2 - DEPTHS[path]), "weight_decay": 0.1 if DECAYED[path] else 0.0}
        for path, p in parameters.items()
    ]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    optimizer = AdamW(1e-2, weight_decay=0.1, beta_2=0.98, layer_decay=0.8, depths=DEPTHS, global_clipnorm=1.0)
    for dense, gradients in _gradients():
        for path, parameter in parameters.items():
            parameter.grad = torch.tensor(dense[path])
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        reference.step()
        optimizer.apply(gradients, variables)
    for variable in variables:
        np.testing.assert_allclose(variable.numpy(), parameters[variable.path].detach().numpy(), rtol=2e-5, atol=2e-6)


def test_equals_keras_where_both_mean_the_same():
    ours, theirs = _variables(), _variables()
    optimizer = AdamW(1e-2, weight_decay=0.1, epsilon=1e-12, undecayed=("bias",), clipnorm=0.3)
    reference = keras.optimizers.AdamW(1e-2, weight_decay=0.1, epsilon=1e-12, clipnorm=0.3)
    reference.exclude_from_weight_decay(var_names=["bias"])
    for dense, _ in _gradients():
        gradients = [tf.constant(g) for g in dense.values()]
        optimizer.apply(gradients, ours)
        reference.apply(gradients, theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


def test_norms_and_biases_are_not_decayed():
    variables = _variables()
    start = [v.numpy() for v in variables]
    AdamW(0.1, weight_decay=0.5).apply([tf.zeros_like(v.value) for v in variables], variables)
    for variable, before in zip(variables, start, strict=True):
        factor = 0.95 if DECAYED[variable.path] else 1.0
        np.testing.assert_allclose(variable.numpy(), before * factor, rtol=1e-6)


def test_accumulated_gradients_count_once_and_rows_that_stand_twice_too():
    variables, others = _variables(), _variables()
    accumulating = AdamW(1e-2, global_clipnorm=0.1, gradient_accumulation_steps=2)
    plain = AdamW(1e-2, global_clipnorm=0.1)
    steps = list(_gradients())[:6]
    for _, gradients in steps:
        accumulating.apply(gradients, variables)
    for (first, _), (second, _) in zip(steps[::2], steps[1::2], strict=True):
        plain.apply([tf.constant((first[p] + second[p]) / 2) for p in SHAPES], others)
    for a, b in zip(variables, others, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_survives_json_and_continues_from_its_state(tmp_path):
    variables = _variables()
    optimizer = AdamW(
        LinearWarmupDecay(1e-2, STEPS, 5), weight_decay=0.2, layer_decay=0.9, depths=DEPTHS, global_clipnorm=1.0
    )
    steps = list(_gradients())
    for _, gradients in steps[:10]:
        optimizer.apply(gradients, variables)
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(optimizer))))
    assert isinstance(again, AdamW)
    assert again.get_config() == optimizer.get_config()
    copies = _variables()
    for copy, variable in zip(copies, variables, strict=True):
        copy.assign(variable)
    again.build(copies)
    store = {}
    optimizer.save_own_variables(store)
    again.load_own_variables(store)
    for _, gradients in steps[10:20]:
        optimizer.apply(gradients, variables)
        again.apply(gradients, copies)
    for a, b in zip(variables, copies, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_saved_classifier_goes_on_with_its_optimizer(tmp_path):
    config = EncoderConfig(
        vocabulary_size=20,
        hidden_dim=8,
        num_layers=2,
        max_length=8,
        dropout=0.0,
        attention=AttentionConfig(num_heads=2, dropout=0.0),
        feed_forward=FeedForwardConfig(intermediate_dim=16),
    )
    model = TextClassifier(TransformerEncoder(config), num_outputs=2, dropout=0.0)
    model.compile(create(model, 1e-2, 20, layer_decay=0.5, clip_norm=0.1), loss=for_kind("single_label", 0.1))
    ids = np.random.default_rng(0).integers(1, 20, (8, 6)).astype("int32")
    inputs = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
    model.fit(inputs, ids[:, 0] % 2, epochs=3, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        one.fit(inputs, ids[:, 0] % 2, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(model.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_depths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"1 variables without a depth \['norm/gamma'\], 1 depths without .*'other'"):
        AdamW(1e-3, layer_decay=0.9, depths={p: 0 for p in SHAPES if p != "norm/gamma"} | {"other": 1}).build(
            _variables()
        )
    with pytest.raises(ValueError, match="variable_depths"):
        AdamW(1e-3, layer_decay=0.9)


@pytest.mark.parametrize(
    "arguments",
    [
        {"layer_decay": 0.0},
        {"layer_decay": 1.1},
        {"weight_decay": -0.1},
        {"global_clipnorm": 0.0},
        {"amsgrad": True},
        {"beta_1": 1.0},
        {"beta_2": -0.1},
    ],
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="Received: "):
        AdamW(1e-3, **arguments)


def test_create_warms_up_over_a_fraction_of_the_steps():
    optimizer = create(keras.Sequential(), 2e-5, total_steps=250, clip_norm=None, weight_decay=0.05)
    assert optimizer.get_config()["learning_rate"]["config"] == {
        "peak_learning_rate": 2e-5,
        "total_steps": 250,
        "warmup_steps": 25,
        "final_fraction": 0.0,
    }
    assert (optimizer.weight_decay, optimizer.global_clipnorm, optimizer.epsilon) == (0.05, None, 1e-6)
    with pytest.raises(ValueError, match="warmup_fraction"):
        create(keras.Sequential(), 2e-5, total_steps=250, warmup_fraction=1.0)


STEPS_ON_ANY_BACKEND = """
import keras
import numpy as np
from keras_transformer import losses
from keras_transformer.optimizers import AdamW, LinearWarmupDecay

rng = np.random.default_rng(0)
kernel = keras.Variable(rng.normal(size=(4, 3)).astype("float32"), name="kernel")
optimizer = AdamW(LinearWarmupDecay(1e-2, 10, 2), weight_decay=0.1, global_clipnorm=0.5)
for _ in range(5):
    optimizer.apply([keras.ops.convert_to_tensor(rng.normal(size=(4, 3)).astype("float32"))], [kernel])
logits = keras.ops.convert_to_tensor(rng.normal(size=(6, 3)).astype("float32"))
loss = losses.for_kind("single_label", label_smoothing=0.1)(np.arange(6) % 3, logits)
result = [np.asarray(keras.ops.convert_to_numpy(x)).tolist() for x in (kernel, loss)]
"""


def test_another_backend_needs_no_tensorflow_and_gives_the_same():
    report = "import json, sys; print(json.dumps([keras.backend.backend(), 'tensorflow' in sys.modules, result]))"
    done = subprocess.run(
        [sys.executable, "-c", STEPS_ON_ANY_BACKEND + report],
        env=os.environ | {"KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    backend, uses_tensorflow, (kernel, loss) = json.loads(done.stdout.splitlines()[-1])
    assert (backend, uses_tensorflow) == ("torch", False)
    here = {}
    exec(STEPS_ON_ANY_BACKEND, here)
    np.testing.assert_allclose(kernel, here["result"][0], rtol=1e-5)
    np.testing.assert_allclose(loss, here["result"][1], rtol=1e-5)
