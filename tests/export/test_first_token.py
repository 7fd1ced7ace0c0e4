"""A model whose last block is computed for the first token only: the same answers from the same TFLite kernels."""

import numpy as np
import pytest

from keras_transformer.export import export_pipeline, runners
from keras_transformer.models import TextClassifier
from tests.export.tiny_pipeline import make_pipeline


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The file with and without it, of the same weights."""
    folder, found = tmp_path_factory.mktemp("first_token"), {}
    pipeline = make_pipeline(num_layers=2)
    weights = pipeline.model.head.get_weights()
    for trim in (True, False):
        pipeline.model = TextClassifier(pipeline.model.encoder, 2, pooling="first", trim_last_block=trim)
        pipeline.model.head.set_weights(weights)
        export_pipeline(pipeline, folder / str(trim), ["tflite_tokens"], precisions=("float32",))
        found[trim] = folder / str(trim) / "tflite" / "tokens.tflite"
    return found


def operators(path) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    return [operator["op_name"] for operator in Interpreter(str(path))._get_ops_details()]


def test_the_file_needs_no_operator_more(files):
    trimmed, whole = operators(files[True]), operators(files[False])
    assert set(trimmed) <= set(whole)
    assert len(trimmed) <= len(whole)
    assert trimmed.count("FULLY_CONNECTED") == whole.count("FULLY_CONNECTED")


def test_the_file_answers_the_same(files):
    ids = np.zeros((1, 24), np.int32)
    ids[0, :6] = [2, 5, 6, 7, 8, 3]
    inputs = {"input_word_ids": ids, "input_mask": (ids > 0).astype("int32"), "input_type_ids": ids * 0}
    one, two = (runners.open_tflite(files[trim])[1](**inputs) for trim in (True, False))
    assert set(one) == set(two)
    np.testing.assert_allclose(one["probabilities"], two["probabilities"], atol=1e-6)
