"""A SavedModel in bfloat16: half the bytes, answers near those of Keras, and held to that by export and `verify`."""

import json

import numpy as np
import pytest

from keras_transformer import data
from keras_transformer.export import ServingOptions, export_pipeline, runners
from keras_transformer.export.checks import read_checks, write_checks
from keras_transformer.export.precision import SAVED_MODEL
from keras_transformer.export.verify import verify
from tests.export.tiny_pipeline import TEXTS, make_pipeline


def labelled(pipeline):
    """The texts with the labels that Keras gives them."""
    names = [str(i) for i in range(len(TEXTS))]
    return data.Examples(TEXTS, pipeline.logits(TEXTS).argmax(axis=1), names, pipeline.class_names)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A pipeline, and the folder and the report of its export with held-out texts that Keras labels rightly."""
    pipeline = make_pipeline(num_layers=2, temperature=9.0)
    folder = tmp_path_factory.mktemp("bfloat16")
    held_out = labelled(pipeline)
    options = ServingOptions(dtype="bfloat16", batch_sizes=(1, 2, 8))
    return pipeline, folder, export_pipeline(pipeline, folder, ["saved_model"], serving=options, held_out=held_out)


def test_weights_are_stored_in_two_bytes(exported):
    import tensorflow as tf

    pipeline, folder, _ = exported
    stored = tf.train.load_checkpoint(str(folder / "saved_model" / "1" / "variables" / "variables"))
    dtypes, shapes = stored.get_variable_to_dtype_map(), stored.get_variable_to_shape_map()
    assert {tf.bfloat16, tf.float32} <= set(dtypes.values()), "the head stays in float32"
    size = sum(dtypes[name].size * int(np.prod(shapes[name])) for name in dtypes if dtypes[name].is_floating)
    assert size < 0.6 * sum(4 * int(np.prod(weight.shape)) for weight in pipeline.model.weights)


def test_answers_are_near_those_of_keras_and_not_the_same(exported):
    pipeline, folder, _ = exported
    run = runners.open_saved_model(folder / "saved_model" / "1")
    probabilities = run["serving_default"](text=TEXTS)["probabilities"]
    assert probabilities.dtype == run["embed"](text=TEXTS)["embedding"].dtype == np.float32
    difference = np.abs(probabilities - pipeline.probabilities(TEXTS)).max()
    assert 1e-5 < difference < 0.02


def test_the_report_says_the_precision_the_deviation_and_the_accuracy(exported):
    pipeline, folder, report = exported
    entry = report["artefacts"][0]
    assert entry["precision"] == "bfloat16"
    assert 0 < entry["deviations"]["share"] <= SAVED_MODEL["bfloat16"].deviation
    assert entry["held_out"]["texts"] == len(TEXTS)
    assert 1e-4 < max(entry["max_difference"].values()) <= entry["tolerance"], "the tolerance that was allowed"
    assert "bfloat16" in (folder / "MODEL_CARD.md").read_text()
    assert json.loads((folder / "saved_model/1/assets.extra/contract.json").read_text())["dtype"] == "bfloat16"
    assert verify(folder)[0]["precision"] == "bfloat16"
    # The pipeline itself is left as it was.
    assert {str(weight.dtype) for weight in pipeline.model.weights} == {"float32"}


def test_another_model_is_found_although_single_values_may_differ(exported):
    folder = exported[1] / "saved_model" / "1" / "assets.extra"
    checks = read_checks(folder)
    spread = np.ptp([row["logits"] for row in checks], axis=0).min()
    moved = [row | {"logits": [value + 0.2 * spread for value in row["logits"]]} for row in checks]
    write_checks(folder, moved)
    try:
        with pytest.raises(ValueError, match=r"text_logits differs .* of their spread on average"):
            verify(folder.parent)
    finally:
        write_checks(folder, checks)


def test_one_that_loses_too_much_accuracy_is_not_written(tmp_path, monkeypatch):
    from keras_transformer.export import measuring

    monkeypatch.setattr(measuring, "refusal", lambda measured, precision: f"{precision.name} loses too much.")
    pipeline = make_pipeline()
    options, held_out = ServingOptions(dtype="bfloat16", batch_sizes=(1,)), labelled(pipeline)
    with pytest.raises(ValueError, match="Nothing can be written: bfloat16 loses too much"):
        export_pipeline(pipeline, tmp_path / "out", ["saved_model"], serving=options, held_out=held_out)
    assert not (tmp_path / "out" / "saved_model").exists()


def test_another_dtype_is_refused():
    with pytest.raises(ValueError, match=r"dtype must be one of float32, bfloat16. Received: dtype='float16'"):
        ServingOptions(dtype="float16")
