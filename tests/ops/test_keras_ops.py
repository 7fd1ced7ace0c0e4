import os
import subprocess
import sys

import pytest

PROGRAM = (
    "from keras_transformer import ops; print(*(getattr(ops, n).__module__ for n in ('dense', 'dropout', 'compiled')))"
)


def primitives(value):
    environment = os.environ | {"KERAS_TRANSFORMER_KERAS_OPS": value, "KERAS_BACKEND": "tensorflow"}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("value", "keras"), [("", ""), ("all", "dense dropout"), ("dropout", "dropout")])
def test_a_variable_names_the_primitives_that_keras_computes(value, keras):
    modules = primitives(value).stdout.split()
    by_keras = [
        name for name, module in zip(("dense", "dropout", "compiled"), modules, strict=True) if "_keras" in module
    ]
    assert " ".join(by_keras) == keras


def test_an_unknown_primitive_is_refused():
    assert "must be all, or some of ('adamw_update', 'attention', 'dense'" in primitives("dense,matmul").stderr
