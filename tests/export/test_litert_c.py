"""The example in C, compiled and run against the library in the wheel of ai-edge-litert, gives what Keras gives."""

import pathlib
import shutil
import subprocess

import ai_edge_litert
import numpy as np
import pytest

from tests.export.tiny_pipeline import make_pipeline

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "export" / "examples" / "litert" / "score_tokens.c"
LIBRARY = pathlib.Path(ai_edge_litert.__file__).parent


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The program, compiled as its first lines say."""
    compiler = shutil.which("cc")
    assert compiler, "The test of the C example needs a C compiler. Run: apt-get install gcc"
    path = tmp_path_factory.mktemp("c") / "score_tokens"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", SOURCE, "-o", path, f"-L{LIBRARY}", "-lLiteRt"]
    result = subprocess.run([str(part) for part in [*command, f"-Wl,-rpath,{LIBRARY}"]], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return path


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(temperature=1.5)


@pytest.fixture(scope="module")
def classifier(pipeline, tmp_path_factory):
    from keras_transformer.export import export_pipeline

    folder = tmp_path_factory.mktemp("mediapipe") / "export"
    export_pipeline(pipeline, folder, ["mediapipe_classifier"])
    return folder / "mediapipe" / "classifier.tflite"


def run(program, *arguments):
    return subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("text", ["The film was good!", "a bad story, not great", "great " * 60])
def test_the_program_gives_the_probabilities_of_keras(program, pipeline, classifier, text):
    (row,) = pipeline.packer.tokens([text]).to_list()
    result = run(program, classifier, *row)
    assert result.returncode == 0, result.stderr
    name, *values = result.stdout.split()
    assert name == "probabilities"
    np.testing.assert_allclose(np.array(values, float), pipeline.probabilities([text])[0], atol=1e-5)


def test_what_the_program_cannot_do_is_one_clear_error(program, exported, tmp_path):
    assert run(program).returncode == 2
    (tmp_path / "damaged.tflite").write_bytes(b"no model")
    for arguments, message in (
        ((tmp_path / "damaged.tflite", 1), "error: reading the model failed"),
        ((exported.tokens, 1, 2), "must be int32 of shape (1, any length)"),
    ):
        result = run(program, *arguments)
        assert result.returncode == 1
        assert message in result.stderr
