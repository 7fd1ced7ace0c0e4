"""The sweep: what holds for every public Layer and Model, found by walking the modules. There is no skip list.

Here configs, files, weights and shapes; in `test_every_layer_computes.py` the values.
"""

import dataclasses
import inspect
import json

import keras
import numpy as np
import pytest

from tests.cases import CASES, OBJECTS
from tests.cases.calls import arrays, as_model, built, call, symbolic_inputs
from tests.cases.discovery import our_classes

FROM_KERAS = {"name", "dtype", "trainable"}


@pytest.fixture(params=CASES, ids=str, scope="module")
def case(request):
    return request.param


@pytest.fixture(scope="module")
def layer(case):
    """The layer or model after its first call; one for all tests, which may change its weights."""
    keras.utils.set_random_seed(0)
    return built(case)


def plain_attributes(layer, names):
    """The public attributes that hold a constructor argument as a plain value or a frozen dataclass."""
    values = {name: getattr(layer, name) for name in names if hasattr(layer, name)}
    plain = (str, int, float, bool, tuple, type(None))
    return {n: v for n, v in values.items() if isinstance(v, plain) or dataclasses.is_dataclass(v)}


def test_every_public_layer_and_model_has_a_case():
    classes, with_case = our_classes(keras.layers.Layer), {case.cls for case in CASES}
    assert len(classes) > 10
    assert classes - with_case == set(), "add a case to tests/cases"
    assert with_case - classes == set(), "not public any more"


def test_config_goes_through_json_and_back(layer):
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
    config = case.cls(**arguments).get_config()
    for name, value in arguments.items():
        if dataclasses.is_dataclass(value):
            value = dataclasses.asdict(value)
        elif isinstance(value, keras.layers.Layer):
            assert config[name] in (value.get_config(), keras.saving.serialize_keras_object(value)), name
            continue
        assert config[name] == value, name


def test_class_is_registered_and_deserializes(layer):
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


def test_saved_file_gives_the_same_outputs(case, layer, tmp_path):
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


def test_computed_shapes_are_the_real_ones(case, layer):
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
        others = [*inspect.signature(layer.compute_output_shape).parameters][1:]
        given = [shapes[name] for name in inspect.signature(layer.call).parameters if name in shapes]
        named = {name: shapes[name.removesuffix("_shape")] for name in others if name.removesuffix("_shape") in shapes}
        computed = layer.compute_output_shape(given[0], **named)
    assert shapes_of(computed) == real


def shapes_of(computed):
    """A shape, or a dict, list or tuple of them, as a flat list in the order of `keras.tree.flatten`."""
    if isinstance(computed, dict):
        return [shape for key in sorted(computed) for shape in shapes_of(computed[key])]
    if any(isinstance(part, tuple | list | dict) for part in computed):
        return [shape for part in computed for shape in shapes_of(part)]
    return [tuple(computed)]


def test_wrong_arguments_say_what_was_received(case):
    """Every constructor refuses an argument that it does not know, by name."""
    with pytest.raises((TypeError, ValueError), match="no_such_argument"):
        case.cls(**case.arguments(), no_such_argument=1)


def test_every_other_class_that_a_file_may_hold_has_a_case():
    bases = (
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.initializers.Initializer,
    )
    assert our_classes(*bases) == set(OBJECTS), "add a case to tests/cases/objects.py, or remove one"


@pytest.mark.parametrize("cls", OBJECTS, ids=lambda cls: cls.__name__)
def test_losses_optimizers_and_schedules_go_through_json_and_back(cls):
    arguments = OBJECTS[cls]
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
