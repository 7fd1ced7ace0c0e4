"""Layers and models called alike: arguments by name, flat lists of outputs."""

import inspect
from typing import Any

import keras
import numpy as np

from tests.cases.case import Case


def call(layer, inputs: dict, **options: Any) -> list:
    """Calls a layer with arguments by name, a model with a dict; returns the flat list of outputs."""
    result = layer(inputs, **options) if isinstance(layer, keras.Model) else layer(**inputs, **options)
    return keras.tree.flatten(result)


def built(case: Case):
    """Returns the layer or model of a case after its first call."""
    layer = case.build()
    call(layer, case.inputs())
    return layer


def arrays(outputs: list) -> list[np.ndarray]:
    """Returns tensors of any dtype as float32 arrays."""
    return [keras.ops.convert_to_numpy(keras.ops.cast(output, "float32")) for output in outputs]


def is_float(tensor) -> bool:
    """Says whether a tensor has a gradient."""
    return "float" in keras.backend.standardize_dtype(tensor.dtype)


def training_options(layer) -> dict[str, bool]:
    """Returns the options of a call in training, for layers that know it."""
    known = isinstance(layer, keras.Model) or "training" in inspect.signature(layer.call).parameters
    return {"training": True} if known else {}


def symbolic_inputs(case: Case) -> dict:
    """Returns Keras inputs of the shapes of a case."""
    return {
        name: keras.Input(value.shape[1:], dtype=value.dtype, name=name, batch_size=value.shape[0])
        for name, value in case.inputs().items()
    }


def as_model(case: Case, layer) -> keras.Model:
    """Returns a functional model around a layer; a model as it is."""
    if isinstance(layer, keras.Model):
        return layer
    inputs = symbolic_inputs(case)
    return keras.Model(inputs, layer(**inputs))
