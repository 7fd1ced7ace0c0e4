"""What `export_pipeline` writes for each kind of model, and that it writes nothing when something is wrong."""

import collections
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_transformer.export import VerificationError, export_pipeline, exporter, functions, runners, saved_model
from tests.export.tiny_pipeline import TEXTS, make_pipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_kind_multi_label_in_tflite(tmp_path):
    pipeline = make_pipeline("multi_label", ("action", "comedy", "drama"), temperature=2.0)
    texts = ["the film was good", "a bad story", ""]
    # Five of the nine probabilities are above it: three texts cannot all have the same number of labels.
    pipeline.threshold = float(np.sort(pipeline.probabilities(texts), axis=None)[3:5].mean())
    report = export_pipeline(pipeline, tmp_path, ["tflite_text"])
    assert report["written"] == ["tflite/text.tflite"]
    expected = pipeline.predict(texts)
    outputs = runners.open_tflite(tmp_path / "tflite" / "text.tflite")[1](text=texts)
    given = [[name.decode() for name in row if name] for row in outputs["labels"]]
    assert given == [answer["labels"] for answer in expected]
    assert len({len(names) for names in given}) > 1
    named = [list(answer["probabilities"].values()) for answer in expected]
    np.testing.assert_allclose(outputs["probabilities"], named, atol=1e-5)


def test_kind_regression_in_a_saved_model(served):
    pipeline = served("regression").pipeline
    outputs = runners.open_saved_model(served("regression").saved_model)["serving_default"](text=["good", "bad film"])
    assert set(outputs) == {"values"}
    expected = [[answer["values"]["stars"]] for answer in pipeline.predict(["good", "bad film"])]
    np.testing.assert_allclose(outputs["values"], expected, atol=1e-4)


def test_windows_are_refused_for_tflite(tmp_path, caplog):
    pipeline = make_pipeline(truncation="windows")
    with pytest.raises(ValueError, match="windows"):
        export_pipeline(pipeline, tmp_path / "other", ["tflite_text"])
    assert not (tmp_path / "other").exists()
    wanted, refused = exporter._expand(["tflite"], pipeline, None)
    assert wanted == ["tflite_tokens"]
    assert refused[0]["format"] == "tflite_text"
    assert "windows" in refused[0]["reason"]
    assert "windows" in caplog.text


def test_a_model_of_another_dtype_is_exported_in_float32():
    pipeline, exact = make_pipeline(dtype="mixed_bfloat16", temperature=3.0), make_pipeline()
    exact.model.set_weights(pipeline.model.get_weights())
    copy = exporter._in_float32(pipeline)
    assert (copy.temperature, copy.check_texts) == (3.0, pipeline.check_texts)
    np.testing.assert_allclose(copy.logits(TEXTS), exact.logits(TEXTS), atol=1e-5)
    assert np.abs(pipeline.logits(TEXTS) - exact.logits(TEXTS)).max() > 1e-3
    assert exporter._in_float32(exact) is exact


def test_an_export_with_swapped_inputs_is_not_written(tmp_path, monkeypatch):
    swapped = {"input_word_ids": "token_ids", "input_mask": "segment_ids", "input_type_ids": "padding_mask"}
    for module in (functions, saved_model):
        monkeypatch.setattr(module, "INPUTS", swapped)
    with pytest.raises(VerificationError, match="the signature serving_default differs"):
        export_pipeline(make_pipeline(), tmp_path / "out", ["saved_model"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ["coreml"]}, "formats must be some of.*coreml"),
        ({"formats": []}, "formats must be some of"),
        ({"version": 0}, "version must be an integer above 0"),
        ({"version": True}, "version must be an integer above 0"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_pipeline(make_pipeline(), tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_full_is_noticed_first(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(exporter.shutil, "disk_usage", lambda path: usage(1 << 40, 1 << 40, 1 << 20))
    with pytest.raises(OSError, match=r"too full.*1 MiB free"):
        export_pipeline(make_pipeline(), tmp_path / "out", ["saved_model"])
    assert not (tmp_path / "out").exists()


def test_lost_weights_are_noticed(tmp_path):
    """A `.tflite` that reads variables was converted without its weights."""
    import keras
    import tensorflow as tf

    from keras_transformer.export import tflite

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    function = tf.function(model).get_concrete_function(tf.TensorSpec([1, 3], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    path = tmp_path / "net.tflite"
    path.write_bytes(converter.convert())
    with pytest.raises(RuntimeError, match="dropped the weights"):
        tflite.check_operators(path)


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    """A limit on the size of a file stands in for the full disk: the graph, over 1 MB, cannot be written."""
    pipeline = make_pipeline()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="Could not write the SavedModel"):
            export_pipeline(pipeline, tmp_path / "out", ["saved_model"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_killed_while_writing_the_same_call_goes_on(tmp_path):
    code = (
        "import sys\n"
        "from keras_transformer.export import export_pipeline\n"
        "from tests.export.tiny_pipeline import make_pipeline\n"
        "export_pipeline(make_pipeline(), sys.argv[1], ['saved_model'])\n"
    )
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not list(out.glob(".incomplete-*/saved_model/*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "saved_model").exists()
    report = export_pipeline(make_pipeline(), out, ["saved_model"])
    assert report["written"] == ["saved_model/1"]
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md",
        "report.html",
        "report.json",
        "saved_model",
        "serving",
    ]


def test_the_recipe_knows_every_format_and_precision():
    from keras_transformer.export.precision import PRECISIONS
    from keras_transformer.training import sections

    assert set(sections.FORMATS) == set(exporter.FORMATS)
    assert set(sections.PRECISIONS) == set(PRECISIONS)


def test_a_saved_model_is_written_where_no_precision_of_the_files_remains(tmp_path):
    report = export_pipeline(
        make_pipeline(), tmp_path / "out", ["saved_model", "tflite_text"], precisions=["full_int8"]
    )
    assert report["written"] == ["saved_model/1"]
    assert [entry["precision"] for entry in report["refused"]] == ["full_int8"]
