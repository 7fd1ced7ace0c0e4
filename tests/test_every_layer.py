"""The sweep: what holds for every public Layer and Model, found by walking the modules. There is no skip list."""

import dataclasses
import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import CASES, OBJECTS, class_named, floats, our_classes

FROM_KERAS = {"name", "dtype", "trainable"}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


def call(layer, inputs, **options):
    """Calls a layer with arguments by name, a model with a dict; returns the flat list of outputs."""
    result = layer(inputs, **options) if isinstance(layer, keras.Model) else layer(**inputs, **options)
    return keras.tree.flatten(result)


def arrays(outputs):
    return [keras.ops.convert_to_numpy(keras.ops.cast(output, "float32")) for output in outputs]


def trains(layer):
    """The option for layers that know training."""
    return "training" in inspect.signature(layer.call).parameters or isinstance(layer, keras.Model)


def built(case):
    layer = case.build()
    call(layer, case.inputs())
    return layer


def plain_attributes(layer, names):
    """The public attributes that hold a constructor argument as a plain value or a frozen dataclass."""
    values = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    plain = (str, int, float, bool, tuple, type(None))
    return {n: v for n, v in values.items() if isinstance(v, plain) or dataclasses.is_dataclass(v)}


def as_model(case, layer):
    """A functional model around a layer; a model as it is."""
    if isinstance(layer, keras.Model):
        return layer
    inputs = symbolic_inputs(case)
    return keras.Model(inputs, layer(**inputs))


def symbolic_inputs(case):
    return {
        name: keras.Input(value.shape[1:], dtype=value.dtype, name=name, batch_size=value.shape[0])
        for name, value in case.inputs().items()
    }


def test_every_public_layer_and_model_has_a_case():
    with_case = {case.cls for case in CASES}
    classes = {f"{cls.__module__}.{cls.__qualname__}" for cls in our_classes(keras.layers.Layer)}
    assert len(classes) > 10
    assert classes - with_case == set(), f"add a case to tests/helpers.py for {sorted(classes - with_case)}"
    assert with_case - classes == set(), f"no such class any more: {sorted(with_case - classes)}"


def test_config_goes_through_json_and_back(case):
    layer = case.build()
    config = layer.get_config()
    copy = type(layer).from_config(json.loads(json.dumps(config)))
    assert type(copy) is type(layer)
    assert json.loads(json.dumps(copy.get_config())) == json.loads(json.dumps(config))
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)} - {"self"}
    assert names <= set(config), f"get_config drops {sorted(names - set(config))}"
    assert plain_attributes(copy, names) == plain_attributes(layer, names)
    assert names - FROM_KERAS == set() or plain_attributes(layer, names), "no public attribute for any argument"


def test_arguments_of_the_case_reach_the_config(case):
    """A config that reports a default instead of what was given is as bad as one that drops it."""
    arguments = case.arguments()
    config = case.build().get_config()
    for name, value in arguments.items():
        if dataclasses.is_dataclass(value):
            value = dataclasses.asdict(value)
        elif isinstance(value, keras.layers.Layer):
            assert config[name] in (value.get_config(), keras.saving.serialize_keras_object(value)), name
            continue
        assert config[name] == value, name


def test_class_is_registered_and_deserializes(case):
    layer = case.build()
    assert keras.saving.get_registered_name(type(layer)) == f"keras_transformer>{type(layer).__name__}"
    data = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert type(keras.saving.deserialize_keras_object(data)) is type(layer)


def test_weights_are_those_counted_by_hand_and_all_created_by_build(case):
    layer = case.build()
    model = as_model(case, layer)
    paths = [weight.path for weight in layer.weights]
    assert sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights) == case.parameters
    call(layer, case.inputs())
    assert [weight.path for weight in layer.weights] == paths
    assert len(set(paths)) == len(paths), "two weights have the same path"
    assert model.built


def test_eager_equals_graph_with_unknown_lengths(case):
    layer = built(case)
    inputs = case.inputs()
    expected = arrays(call(layer, inputs))
    # The batch and the length are unknown; widths of floats are known, as they are inside a model.
    specs = {
        name: tf.TensorSpec(
            [1 if value.shape[0] == 1 else None, *([None] if value.ndim > 1 else []), *value.shape[2:]]
            if value.dtype != np.float32 or value.ndim == 3
            else value.shape,
            value.dtype,
        )
        for name, value in inputs.items()
    }
    graph = tf.function(lambda inputs: call(layer, inputs), input_signature=[specs])
    for a, b in zip(expected, arrays(graph({n: tf.constant(v) for n, v in inputs.items()})), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_saved_file_gives_the_same_outputs(case, tmp_path):
    layer = built(case)
    rng = np.random.default_rng(3)
    layer.set_weights(  # not the initial values, so that a weight that is not saved is seen
        [w + rng.normal(size=w.shape).astype(w.dtype) * 0.1 if w.dtype.kind == "f" else w for w in layer.get_weights()]
    )
    model = as_model(case, layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    inputs = case.inputs()
    for a, b in zip(arrays(call(model, inputs)), arrays(call(loaded, inputs)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_computed_shapes_are_the_real_ones(case):
    layer = built(case)
    inputs = case.inputs()
    real = [tuple(output.shape) for output in call(layer, inputs)]
    symbolic = [tuple(output.shape) for output in call(layer, symbolic_inputs(case))]
    for shape, known in zip(real, symbolic, strict=True):
        assert len(shape) == len(known)
        assert all(b is None or a == b for a, b in zip(shape, known, strict=True)), f"{known} is not {shape}"
    shapes = {name: value.shape for name, value in inputs.items()}
    if isinstance(layer, keras.Model):
        computed = layer.compute_output_shape(shapes)
    else:
        accepted = inspect.signature(layer.compute_output_shape).parameters
        ordered = [shapes[name] for name in inspect.signature(layer.call).parameters if name in shapes]
        computed = layer.compute_output_shape(*ordered[: len(accepted)])
    assert shapes_of(computed) == real


def shapes_of(computed):
    """A shape, or a dict, list or tuple of them, as a flat list in the order of `keras.tree.flatten`."""
    if isinstance(computed, dict):
        return [shape for key in sorted(computed) for shape in shapes_of(computed[key])]
    if any(isinstance(part, tuple | list | dict) for part in computed):
        return [shape for part in computed for shape in shapes_of(part)]
    return [tuple(computed)]


def test_mixed_bfloat16_gives_the_values_of_float32(case):
    reference = built(case)
    inputs = case.inputs()
    expected = arrays(call(reference, inputs))
    keras.config.set_dtype_policy("mixed_bfloat16")
    layer = built(case)
    layer.set_weights(reference.get_weights())
    assert all(w.dtype == "float32" for w in layer.trainable_weights)
    outputs = call(layer, inputs)
    float32 = case.float32 if isinstance(case.float32, tuple) else [case.float32] * len(outputs)
    for a, output, stays in zip(expected, outputs, float32, strict=True):
        dtype = keras.backend.standardize_dtype(output.dtype)
        assert dtype == ("float32" if stays else "bfloat16") or "int" in dtype
        (b,) = arrays([output])
        assert np.isfinite(b).all()
        assert np.abs(a - b).max() <= case.tolerance * max(1.0, np.abs(a).max())


def test_gradients_agree_with_differences_and_reach_every_weight(case):
    layer = built(case)
    inputs = case.inputs()

    def outputs_of(**options):
        """The outputs that have a gradient."""
        return [
            output
            for output in call(layer, inputs, **options)
            if "float" in keras.backend.standardize_dtype(output.dtype)
        ]

    factors = [floats(*output.shape, seed=i) for i, output in enumerate(outputs_of())]

    def loss(**options):
        outputs = outputs_of(**options)
        return sum(tf.reduce_sum(output * factor) for output, factor in zip(outputs, factors, strict=True))

    weights = layer.trainable_weights
    with tf.GradientTape() as tape:
        value = loss()
    if not weights:
        assert case.parameters == 0
        return
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(value, weights, unconnected_gradients="zero")]
    largest = max(float(tf.reduce_max(tf.abs(g))) for g in gradients)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert np.isfinite(gradient).all(), weight.path
        alive = float(tf.reduce_max(tf.abs(gradient))) > 1e-5 * largest
        assert alive != weight.path.endswith(case.dead or ("\0",)), f"gradient of {weight.path} is 0: {not alive}"

    # A step along the gradient changes the loss by what the gradient says.
    norm = float(tf.linalg.global_norm(gradients))
    start = [np.array(weight) for weight in weights]
    along = []
    for step in (5e-3, -5e-3):
        for weight, before, gradient in zip(weights, start, gradients, strict=True):
            weight.assign(before + step * np.array(gradient) / norm)
        along.append(float(loss()))
    assert (along[0] - along[1]) / 1e-2 == pytest.approx(norm, rel=0.02)

    if trains(layer):
        with tf.GradientTape() as tape:
            value = loss(training=True)
        gradients = tape.gradient(value, weights, unconnected_gradients="zero")
        assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def padded_longer(case, inputs, mask_name, extra):
    """The same sequences with `extra` more positions of padding, filled with what must not be read."""
    longer = dict(inputs)
    for name in case.masks[mask_name]:
        value = inputs[name]
        shape = (value.shape[0], extra, *value.shape[2:])
        fill = np.zeros(shape, value.dtype) if name == mask_name else np.ones(shape, value.dtype)
        longer[name] = np.concatenate([value, fill], axis=1)
    return longer


def test_padding_does_not_change_the_answer(case):
    layer = built(case)
    inputs = case.inputs()
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


def test_a_row_of_padding_only_is_finite_and_disturbs_no_other(case):
    layer = built(case)
    expected = arrays(call(layer, case.inputs()))
    for name in case.masks:
        inputs = case.inputs()
        inputs[name] = inputs[name].copy()
        inputs[name][1] = 0
        for a, b in zip(expected, arrays(call(layer, inputs)), strict=True):
            assert np.isfinite(b).all()
            np.testing.assert_allclose(np.delete(a, 1, 0), np.delete(b, 1, 0), rtol=1e-5, atol=1e-5)


def test_wrong_arguments_say_what_was_received(case):
    """Every constructor refuses an argument that it does not know, by name."""
    with pytest.raises((TypeError, ValueError), match="no_such_argument"):
        type(case.build())(**case.arguments(), no_such_argument=1)


def test_every_other_class_that_a_file_may_hold_has_a_case():
    bases = (
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.initializers.Initializer,
    )
    classes = {f"{cls.__module__}.{cls.__qualname__}" for cls in our_classes(*bases)}
    assert classes == set(OBJECTS), "add a case to OBJECTS in tests/helpers.py, or remove one"


@pytest.mark.parametrize("name", OBJECTS)
def test_losses_optimizers_and_schedules_go_through_json_and_back(name):
    cls, arguments = class_named(name), OBJECTS[name]
    parameters = inspect.signature(cls.__init__).parameters.values()
    assert set(arguments) | {"name"} == {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"self"} | {
        "name"
    }
    config = json.loads(json.dumps(cls(**arguments).get_config()))
    for argument, value in arguments.items():
        assert config[argument] == value, argument
    assert keras.saving.get_registered_name(cls) == f"keras_transformer>{cls.__name__}"
    data = json.loads(json.dumps(keras.saving.serialize_keras_object(cls(**arguments))))
    copy = keras.saving.deserialize_keras_object(data)
    assert type(copy) is cls
    assert json.loads(json.dumps(copy.get_config())) == config
