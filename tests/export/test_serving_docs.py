"""The commands of docs/serving.md, typed in their order: the ones for programs that are not here are only read."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.export.tiny_pipeline import make_pipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "serving.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOT_HERE = ("docker", "tensorflow_model_server")
SERVER = "python benchmarks/stand_in_server.py"
SOAK = "python benchmarks/serving_soak.py"


def blocks():
    """(language, code) of the page's blocks; the commands of a shell block one by one."""
    for language, code in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if language == "sh":
            yield from (("sh", line) for line in code.replace("\\\n", " ").splitlines())
        else:
            yield language, code


@pytest.fixture
def folder(tmp_path):
    """A checkout with a finished run in it."""
    for name in ("benchmarks", "export", "keras_transformer"):
        (tmp_path / name).symlink_to(ROOT / name)
    make_pipeline(temperature=9.0).save(tmp_path / "runs" / "imdb" / "model")
    return tmp_path


def run(command, folder, **options):
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    if isinstance(command, str):
        command = ["bash", "-euc", command]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, **options)


@contextlib.contextmanager
def server(command, folder):
    """The stand-in as the page starts it, on free ports."""
    words = [sys.executable, *command.split()[1:], "--port=0", "--rest_api_port=0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(timeout=60)


@pytest.mark.slow
def test_the_page_is_true(folder):
    """Everything in it that this machine can run."""
    done, skipped = [], []
    with contextlib.ExitStack() as stack:
        ports = {}

        def moved(text):
            """The same with the ports of the server here, and with patience for a busy machine."""
            text = text.replace("localhost:8500", f"localhost:{ports['grpc']}")
            text = text.replace("localhost:8501", f"localhost:{ports['rest']}")
            text = text.replace("timeout=10", "timeout=300")
            return text.replace("--model=reviews", "--model=reviews --timeout=300")

        for language, code in blocks():
            if language == "sh" and code.startswith(SERVER):
                ports |= stack.enter_context(server(code, folder))
                done.append(SERVER)
            elif language == "sh" and code.startswith(NOT_HERE):
                skipped.append(code.split()[0])
            elif language == "sh" and code.startswith(SOAK):
                continue  # test_serving_soak.py
            elif language == "sh":
                if code.startswith("make"):
                    code += f" OUTPUT={folder / 'score'}"
                result = run(moved(code) if ports else code, folder)
                assert result.returncode == 0, f"{code}\n{result.stdout}\n{result.stderr[-2000:]}"
                done.append(code.split()[0])
                check(code, result.stdout, folder)
            elif language == "py":
                result = run([sys.executable, "-c", moved(code)], folder)
                assert result.returncode == 0, result.stderr[-2000:]
                assert "'positive'" in result.stdout
                assert "AVAILABLE" in result.stdout
                done.append("py")
    assert skipped == list(NOT_HERE)
    assert [done.count(name) for name in ("python", SERVER, "curl", "make", "py")] == [5, 1, 2, 1, 1]


def check(code, output, folder):
    """That the command did what the page says."""
    version = folder / "my_export" / "saved_model" / "1"
    if "--formats" in code:
        assert (version / "assets.extra" / "tf_serving_warmup_requests").is_file()
        assert (version / "batching_params.pbtxt").is_file()
        names = {path.name for path in (folder / "my_export" / "serving").iterdir()}
        assert names == {"models.config", "batching.config", "monitoring.config", "docker-compose.yml"}
        assert "/models/reviews" in (folder / "my_export" / "serving" / "models.config").read_text()
    elif "--verify" in code:
        assert "verified on" in output
    elif ":predict" in code:
        assert set(json.loads(output)["predictions"][0]) == {"label", "probabilities", "score"}
    elif ":classify" in code:
        assert {label for label, _ in json.loads(output)["results"][0]} == {"negative", "positive"}
    elif "--status" in code:
        assert json.loads(output)["versions"] == {"1": "AVAILABLE"}
    elif "--signature=classify" in code:
        assert set(json.loads(output)["scores"]) == {"negative", "positive"}
    elif "make" in code or "export.client" in code:
        line = next(line for line in output.splitlines() if line.startswith("{"))
        assert json.loads(line)["label"] in ("negative", "positive")
    else:
        raise AssertionError(f"nothing is checked of: {code}")


def test_flags_of_the_server_are_those_that_its_sources_have():
    """The binary is not here to say so; these are names from main.cc of tensorflow/serving."""
    known = {
        *("port", "rest_api_port", "model_name", "model_base_path", "model_config_file", "monitoring_config_file"),
        *("enable_batching", "batching_parameters_file", "enable_per_model_batching_parameters"),
        *("enable_signature_method_name_check",),
    }
    text = PAGE.read_text(encoding="utf-8")
    command = next(code for _, code in blocks() if code.startswith("tensorflow_model_server"))
    flags = set(re.findall(r"--(\w+)", command)) | set(re.findall(r"`--(enable_\w+)`", text))
    assert flags <= known
    assert {"enable_batching", "rest_api_port"} <= flags
