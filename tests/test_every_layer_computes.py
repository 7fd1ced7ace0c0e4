"""The sweep's second half: every public Layer and Model computes the same on every path and in every precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.cases import CASES
from tests.cases.calls import arrays, built, call, is_float, training_options
from tests.helpers import floats


class Step:
    """A training step of one case up to the gradients, with dropout that draws the same at every call."""

    def __init__(self, case):
        keras.utils.set_random_seed(3)
        self.case = case
        self.layer = built(case)
        self.weights = {weight.path: weight for weight in self.layer.trainable_weights}
        self.inputs = {name: tf.constant(value) for name, value in case.inputs().items()}
        self._options = training_options(self.layer)
        self._factors = [
            floats(*output.shape, seed=i) if is_float(output) else None
            for i, output in enumerate(call(self.layer, self.inputs))
        ]
        self._states = [(v, np.array(v)) for v in self.layer.variables if "int" in str(v.dtype)]
        self.expected = self._run(self.inputs)
        self.graph = tf.function(self._run, input_signature=[self._specs()], autograph=False)
        # The graph above once more, inside: tracing takes longer than compiling.
        self.xla = tf.function(lambda inputs: self.graph(inputs), jit_compile=True, autograph=False)

    def _specs(self) -> dict:
        """Batch and length are unknown; widths of floats are known, as they are inside a model."""
        return {
            name: tf.TensorSpec(
                [1 if value.shape[0] == 1 else None, *([None] if value.shape.rank > 1 else []), *value.shape[2:]]
                if value.dtype != tf.float32 or value.shape.rank == 3
                else value.shape,
                value.dtype,
            )
            for name, value in self.inputs.items()
        }

    def _run(self, inputs):
        for generator, state in self._states:
            generator.assign(state)
        sources = self.weights | {name: value for name, value in inputs.items() if value.dtype == tf.float32}
        with tf.GradientTape() as tape:
            tape.watch([value for name, value in sources.items() if name in inputs])
            outputs = call(self.layer, inputs, **self._options)
            pairs = zip(outputs, self._factors, strict=True)
            loss = sum(tf.reduce_sum(tf.cast(output, "float64") * f) for output, f in pairs if f is not None)
        gradients = tape.gradient(loss, sources, unconnected_gradients="zero") if sources else {}
        return {
            "outputs": [tf.cast(output, tf.float32) for output in outputs],
            "loss": loss,
            "gradients": {name: tf.convert_to_tensor(gradient) for name, gradient in gradients.items()},
        }


@pytest.fixture(params=CASES, ids=str, scope="module")
def step(request):
    return Step(request.param)


def assert_equal_results(results, expected, tolerance=1e-5):
    for a, b in zip(keras.tree.flatten(results), keras.tree.flatten(expected), strict=True):
        a, b = np.array(a), np.array(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))


def test_eager_graph_and_xla_give_the_same_values_and_gradients(step):
    """In training, with the same dropout. Nothing is left out: every layer and model compiles."""
    assert_equal_results(step.graph(step.inputs), step.expected)
    assert_equal_results(step.xla(step.inputs), step.expected)


def test_gradients_reach_every_weight(step):
    gradients = {path: np.array(step.expected["gradients"][path]) for path in step.weights}
    largest = max((np.abs(gradient).max() for gradient in gradients.values()), default=0)
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all(), path
        alive = np.abs(gradient).max() > 1e-5 * largest
        assert alive != path.endswith(step.case.dead or ("\0",)), f"gradient of {path} is 0: {not alive}"


def test_gradients_agree_with_finite_differences(step):
    """For every weight and every input: a step to both sides, half along the gradient, half in a random direction."""
    for name, gradient in step.expected["gradients"].items():
        gradient = np.array(gradient, "float64")
        direction = floats(*gradient.shape).astype("float64")
        direction /= np.linalg.norm(direction)
        direction += gradient / max(np.linalg.norm(gradient), 1e-9)
        values = []
        for size in (5e-3, -5e-3):
            moved = (size * direction).astype("float32")
            if name in step.inputs:
                values.append(step.graph(step.inputs | {name: step.inputs[name] + moved})["loss"])
            else:
                before = np.array(step.weights[name])
                step.weights[name].assign(before + moved)
                values.append(step.graph(step.inputs)["loss"])
                step.weights[name].assign(before)
        slope = float(values[0] - values[1]) / 1e-2
        assert slope == pytest.approx((gradient * direction).sum(), rel=0.01, abs=2e-3), name


@pytest.mark.parametrize(("policy", "share"), [("mixed_bfloat16", 1), ("mixed_float16", 1 / 4)])
def test_half_precision_gives_the_values_of_float32(step, policy, share):
    case, inputs = step.case, step.inputs
    expected = arrays(call(step.layer, inputs))
    keras.config.set_dtype_policy(policy)
    layer = built(case)
    layer.set_weights(step.layer.get_weights())
    assert all(w.dtype == "float32" for w in layer.trainable_weights)
    outputs = call(layer, inputs)
    float32 = case.float32 if isinstance(case.float32, tuple) else [case.float32] * len(outputs)
    for a, output, stays in zip(expected, outputs, float32, strict=True):
        dtype = keras.backend.standardize_dtype(output.dtype)
        assert dtype == ("float32" if stays else policy.removeprefix("mixed_")) or "int" in dtype
        (b,) = arrays([output])
        assert np.isfinite(b).all()
        assert np.abs(a - b).max() <= share * case.tolerance * max(1.0, np.abs(a).max())


def padded_longer(case, inputs, mask_name, extra):
    """The same sequences with `extra` more positions of padding, filled with what must not be read."""
    longer = dict(inputs)
    for name in case.masks[mask_name]:
        value = inputs[name]
        shape = (value.shape[0], extra, *value.shape[2:])
        fill = np.zeros(shape, value.dtype) if name == mask_name else np.ones(shape, value.dtype)
        longer[name] = np.concatenate([value, fill], axis=1)
    return longer


def test_padding_does_not_change_the_answer(step):
    case, layer, inputs = step.case, step.layer, step.case.inputs()
    masks = {name for name in inputs if name.endswith("padding_mask") and "example_ids" not in inputs}
    assert masks == set(case.masks)
    expected = arrays(call(layer, inputs))
    for name in masks:
        for extra in (1, 5):
            for a, b in zip(expected, arrays(call(layer, padded_longer(case, inputs, name, extra))), strict=True):
                b = b[tuple(slice(size) for size in a.shape)]
                for mask in (inputs[other].astype(bool) for other in masks):
                    if a.shape[:2] == mask.shape:  # outputs of padding itself may be anything
                        a, b = a[mask], b[mask]
                        break
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_row_of_padding_only_is_finite_and_disturbs_no_other(step):
    case, layer = step.case, step.layer
    expected = arrays(call(layer, case.inputs()))
    for name in case.masks:
        inputs = case.inputs()
        inputs[name] = inputs[name].copy()
        inputs[name][1] = 0
        for a, b in zip(expected, arrays(call(layer, inputs)), strict=True):
            assert np.isfinite(b).all()
            if not case.mixes_rows:
                np.testing.assert_allclose(np.delete(a, 1, 0), np.delete(b, 1, 0), rtol=1e-5, atol=1e-5)


SCHEMES = [case for case in CASES if hasattr(case.cls, "role") and set(case.inputs()) == {"token_ids"}]
# The axes of a scheme's result along which the tokens stand.
TOKEN_AXES = {"embedding": (1,), "rotation": (2,), "attention_bias": (2, 3), "relative_keys": (1, 2)}


def test_every_position_scheme_is_tested_below():
    with_role = {case.cls for case in CASES if hasattr(case.cls, "role")}
    assert len(with_role) > 5
    assert {case.cls for case in SCHEMES} == with_role


@pytest.mark.parametrize("case", SCHEMES, ids=str)
@pytest.mark.parametrize("order", [[4, 0, 5, 2, 1, 3], [1, 4]], ids=["permuted", "apart"])
def test_given_positions_give_what_stands_there_in_order(case, order):
    scheme, inputs = built(case), case.inputs()
    in_order = arrays(call(scheme, inputs))[-1]
    axes = TOKEN_AXES[scheme.role]
    expected, unmoved = in_order, in_order
    for axis in axes:
        expected, unmoved = np.take(expected, order, axis), np.take(unmoved, range(len(order)), axis)
    given = {"token_ids": inputs["token_ids"][:, : len(order)], "position_ids": np.array([order], "int32")}
    got = arrays(call(scheme, given))[-1]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert np.abs(got - unmoved).max() > 1e-3
    if len(axes) == 2:
        keys = arrays(call(scheme, given | {"key_positions": np.arange(6, dtype="int32")[None]}))[-1]
        np.testing.assert_allclose(keys, np.take(in_order, order, axes[0]), atol=1e-6)
