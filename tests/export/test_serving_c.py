"""The C program of the examples: compiled against the installed TensorFlow, it scores texts without Python."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPERATORS = ("_fast_bert_normalizer", "_fast_wordpiece_tokenizer", "_byte_splitter")
TEXTS = ["The film was good!", "a bad story", "", 'quote " and \\ back', "café, naïve: 很好 😀", "great " * 60]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("c") / "score"
    command = ["make", "-C", str(ROOT / "export/examples/c"), f"PYTHON={sys.executable}", f"OUTPUT={path}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    return path


def score(program, *arguments, operators=True):
    """Runs the program in an empty environment, in which there is no Python to find."""
    import tensorflow_text

    folder = pathlib.Path(tensorflow_text.__file__).parent / "python" / "ops"
    libraries = [word for name in OPERATORS for word in ("-l", str(folder / f"{name}.so"))] if operators else []
    return subprocess.run(
        [program, *libraries, *arguments],
        env={"TF_CPP_MIN_LOG_LEVEL": "3", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def rows(result):
    assert result.returncode == 0, result.stderr[-2000:]
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_c_program_answers_as_the_pipeline(program, served):
    pipeline, version = served("single_label").pipeline, served("single_label").saved_model
    answers = rows(score(program, version, *TEXTS))
    expected = pipeline.predict(TEXTS)
    assert [answer["text"] for answer in answers] == TEXTS
    assert [answer["label"] for answer in answers] == [row["label"] for row in expected]
    np.testing.assert_allclose([answer["score"] for answer in answers], [row["score"] for row in expected], atol=1e-5)
    probabilities = [answer["probabilities"] for answer in answers]
    np.testing.assert_allclose(probabilities, pipeline.probabilities(TEXTS), atol=1e-5)


def test_it_reads_the_signature_that_it_is_told(program, served):
    pipeline, version = served("single_label").pipeline, served("single_label").saved_model
    answers = rows(score(program, "-s", "text_logits", version, *TEXTS))
    np.testing.assert_allclose([answer["logits"] for answer in answers], pipeline.logits(TEXTS), atol=1e-4)
    (vector,) = rows(score(program, "-s", "embed", version, "good"))
    assert len(vector["embedding"]) == 16
    (value,) = rows(score(program, served("regression").saved_model, "good"))
    np.testing.assert_allclose(value["values"], served("regression").pipeline.logits(["good"])[0], atol=1e-4)


def test_its_errors_are_one_line(program, served, tmp_path):
    version = served("single_label").saved_model
    for arguments, text in (
        (["-s", "nix", version, "good"], "error: the model has no such signature: nix"),
        (["-s", "classify", version, "good"], "error: the signature must take texts"),
        ([tmp_path / "nowhere", "good"], "nowhere"),
        (["-l", tmp_path / "lib.so", version, "good"], "lib.so"),
    ):
        result = score(program, *arguments)
        assert result.returncode == 1
        assert result.stdout == ""
        assert text in result.stderr.splitlines()[-1]
    result = score(program, version, "good", operators=False)
    assert result.returncode == 1
    assert "FastBertNormalize" in result.stderr
    assert score(program).returncode == 2


def test_the_program_needs_no_python(program):
    linked = subprocess.run(["ldd", program], env=os.environ, capture_output=True, text=True, check=True).stdout
    assert "libtensorflow_cc" in linked
    assert "not found" not in linked
    assert "libpython" not in linked
