"""Files are scored by Apache Beam, each line once, whatever happens; run by `make test-beam`.

BEAM_PYTHON names the Python of an environment that has Beam, TensorFlow and tensorflow_text. This file is not collected
with the other tests, because theirs has no Beam.
"""

import csv
import gzip
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_transformer.export.runners import open_saved_model
from tests.export.scoring_models import entries, write_model

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REVIEWS = 3000
BAD = {
    "invalid_utf8": b'{"id": "bad", "text": "caf\xe9"}',
    "invalid_json": b'{"id": "bad", "text": "cut o',
    "not_an_object": b'["a list"]',
    "missing_field": b'{"id": "bad", "review": "another field"}',
    "not_a_string": b'{"id": "bad", "text": 5}',
    "invalid_unicode": b'{"id": "bad", "text": "\\ud800"}',
    "empty_text": b'{"id": "bad", "text": "  "}',
    "line_too_long": b'{"id": "bad", "text": "' + b"long " * 20_000 + b'"}',
}
FLAGS = ("--block_bytes=30000", "--max_line_bytes=65536")


@pytest.fixture(scope="module")
def reviews():
    """Real reviews, markup and all."""
    from keras_transformer import data

    return data.load("imdb:package").test_raw.texts[:REVIEWS]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small untrained SavedModel."""
    folder = tmp_path_factory.mktemp("model") / "1"
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def probabilities(model, reviews):
    """What the SavedModel says of the reviews when it is called as it is, a few at a time and in their order."""
    serve = open_saved_model(model)["serving_default"]
    parts = [serve(text=np.array(reviews[i : i + 8], object))["probabilities"] for i in range(0, len(reviews), 8)]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, reviews):
    """The reviews in files of every kind, bad lines among those of JSON, and an empty file."""
    folder = tmp_path_factory.mktemp("inputs")
    fifth = REVIEWS // 5
    parts = [list(enumerate(reviews))[i * fifth : (i + 1) * fifth] for i in range(5)]
    lines = [json.dumps({"id": i, "text": text}).encode() for i, text in parts[0] + parts[1]]
    bad = list(BAD.values())
    for place in range(0, len(lines), 40):
        lines.insert(place, bad[place // 40 % len(bad)])
    half = len(lines) // 2
    (folder / "reviews-0.jsonl").write_bytes(b"\n".join(lines[:half]) + b"\n")
    (folder / "reviews-1.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[half:])))
    for name, delimiter, part in (("reviews-2.csv", ",", parts[2]), ("reviews-3.tsv", "\t", parts[3])):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n" if delimiter == "," else "\n")
            writer.writerow(["id", "stars", "text"])
            # Line ends within quotes, as reviews have them where the markup is taken out.
            writer.writerows([i, 5, text.replace("<br /><br />", "\n\n")] for i, text in part)
    (folder / "reviews-4.txt").write_text("".join(f"{text}\n" for _, text in parts[4]), encoding="utf-8")
    (folder / "reviews-5.jsonl").write_bytes(b"")
    return folder


def command(*arguments):
    return [os.environ["BEAM_PYTHON"], "-m", "keras_transformer.export.scoring", *map(str, arguments)]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def score(model, pattern, output, *flags, code=0):
    """Output and error output of a run that must end with a code."""
    done = subprocess.run(
        command(f"--model={model}", f"--input={pattern}", f"--output={output}", *FLAGS, *flags),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def check_all(output, inputs, reviews, probabilities):
    """Every line of every file is there once, and every review has its probabilities."""
    good, bad = entries(output, "scores"), entries(output, "bad_lines")
    places = [(entry["source"], entry["offset"]) for entry in good + bad]
    assert len(set(places)) == len(places)
    number_bad = len(range(0, 2 * REVIEWS // 5, 40))
    assert (len(good), len(bad)) == (REVIEWS, number_bad)
    # Files are named, and hence scored, in the order of the reviews.
    assert [int(entry["id"]) for entry in good if "id" in entry] == list(range(REVIEWS * 4 // 5))
    assert [entry["line"] for entry in good if "id" not in entry] == list(range(1, REVIEWS // 5 + 1))
    found = np.array([entry["probabilities"] for entry in good])
    without_markup = slice(2 * REVIEWS // 5, 4 * REVIEWS // 5)
    same = np.ones(REVIEWS, bool)
    same[without_markup] = ["<br" not in text for text in reviews[without_markup]]
    assert same.sum() > 0.6 * REVIEWS
    np.testing.assert_allclose(found[same], probabilities[same], atol=1e-5)
    assert np.ptp(found[:, 0]) > 0.1
    for entry, chosen in zip(good, found.argmax(axis=1), strict=True):
        assert entry["label"] == ("negative", "positive")[chosen]
        assert entry["score"] == max(entry["probabilities"])
    for entry in bad:
        opened = gzip.open if entry["source"].endswith(".gz") else open
        with opened(entry["source"], "rb") as file:
            file.seek(entry["offset"])
            assert file.read(entry["bytes"]).rstrip(b"\n") == BAD[entry["reason"]]
    assert {entry["reason"] for entry in bad} == set(BAD)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["lines"] == len(good) + len(bad)
    assert (summary["scored"], summary["bad"], summary["missing"]) == (len(good), len(bad), 0)


def files_of(output):
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for kind in ("scores", "bad_lines")
        for path in (output / kind).iterdir()
    }


@pytest.fixture(scope="module")
def scored(model, inputs, tmp_path_factory):
    """The folder of a run that nothing disturbed, and what it printed."""
    output = tmp_path_factory.mktemp("scored") / "scores"
    return output, *score(model, inputs / "reviews-*", output)


def test_every_line_is_scored_as_the_saved_model_scores_it_or_has_a_reason(scored, inputs, reviews, probabilities):
    output, out, err = scored
    check_all(output, inputs, reviews, probabilities)
    assert f"{REVIEWS:,} scored, 30 bad" in out
    assert "texts/s" in out
    assert f"6 files, {REVIEWS + 30:,} lines" in err
    assert len(list((output / "scores").iterdir())) > 50


def test_a_run_that_is_done_has_nothing_left_to_do(scored, model, inputs):
    output, before = scored[0], files_of(scored[0])
    out, err = score(model, inputs / "reviews-*", output)
    assert "nothing was left to do" in out
    assert f"{REVIEWS:,} scored, 30 bad" in out
    assert "going on" in err
    assert files_of(output) == before


def children(pid):
    """Process ids of all descendants."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("flags", [(), ("--workers=2",)], ids=["one_process", "two_workers"])
def test_killed_at_several_points_it_goes_on_and_scores_nothing_twice(
    flags, scored, model, inputs, reviews, probabilities, tmp_path
):
    output = tmp_path / "scores"
    written = {}
    for number_written in (0, 1, 20, 45):
        process = subprocess.Popen(
            command(f"--model={model}", f"--input={inputs}/reviews-*", f"--output={output}", *FLAGS, *flags),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 300
        ready = output / ("manifest.json" if number_written == 0 else "scores")
        while time.monotonic() < deadline:
            number = len(list(ready.glob("part-*"))) if ready.is_dir() else ready.is_file()
            if number and number >= number_written:
                break
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        # Workers notice that nobody is there any more.
        while time.monotonic() < deadline and any(running(pid) for pid in workers):
            time.sleep(0.1)
        assert not any(running(pid) for pid in workers)
        for name, content in written.items():
            assert (output / name).read_bytes() == content
        written = {
            name: content
            for name, content in files_of(output).items()
            if name.startswith("scores/part") and name.replace("scores", "bad_lines") in files_of(output)
        }
        assert len(written) < len(list((scored[0] / "scores").iterdir()))
    # What a kill in the middle of writing would leave behind.
    (output / "scores" / ".part-0000070.jsonl.half").write_text('{"source": "half')
    times = {name: (output / name).stat().st_mtime_ns for name in written}
    _, err = score(model, inputs / "reviews-*", output, *flags)
    assert f"going on: {len(written)} of" in err
    assert len(written) >= 45
    assert {name: (output / name).stat().st_mtime_ns for name in written} == times
    check_all(output, inputs, reviews, probabilities)
    assert files_of(output) == files_of(scored[0])
    assert not list(output.glob("*/.*"))


def test_ctrl_c_stops_with_one_line(model, inputs, tmp_path):
    output = tmp_path / "scores"
    process = subprocess.Popen(
        command(f"--model={model}", f"--input={inputs}/reviews-*", f"--output={output}", *FLAGS),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would all that this test starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and len(list(output.glob("scores/part-*"))) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped: the same command goes on"
    assert "Traceback" not in err


def test_another_model_other_files_or_other_options_are_refused(scored, model, inputs, tmp_path):
    output, before = scored[0], files_of(scored[0])
    other = shutil.copytree(model, tmp_path / "2")
    weights = other / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    for arguments, message in (
        ((model, inputs / "reviews-*", output, "--keep_text"), "keep_text was False and is True"),
        ((model, inputs / "reviews-*", output, "--text_field=id"), "text_field was 'text' and is 'id'"),
        ((model, inputs / "reviews-[0-3]*", output), "input no longer there"),
        ((other, inputs / "reviews-*", output), "the model was"),
    ):
        _, err = score(*arguments, code=1)
        assert err.startswith(f"error: {output} holds scores of something else: {message}"), err
        assert len(err.splitlines()) == 1
    assert files_of(output) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("none-*.jsonl", "No file matches --input="), ("table.csv", "names no column 'text'"), ("a.parquet", "must end")],
)
def test_without_a_file_that_can_be_read_there_is_one_line_and_no_folder(model, tmp_path, name, message):
    (tmp_path / "table.csv").write_text("id,review\n1,good\n")
    (tmp_path / "a.parquet").write_text("")
    out, err = score(model, tmp_path / name, tmp_path / "scores", code=1)
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "scores").exists()


def test_empty_files_have_no_lines_and_that_is_no_error(model, tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.csv").write_text("id,text\n")
    out, _ = score(model, tmp_path / "*.*", tmp_path / "scores")
    assert out.startswith("0 lines in 2 files: 0 scored, 0 bad")


def test_an_error_of_the_pipeline_is_told_in_one_line_and_exits_with_1(model, inputs, tmp_path):
    """The weights are cut: the list of work is made, and every worker fails to load the model."""
    damaged = shutil.copytree(model, tmp_path / "damaged")
    weights = damaged / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:100])
    out, err = score(damaged, inputs / "reviews-4.txt", tmp_path / "scores", code=1)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "cannot be loaded as a SavedModel" in line
    assert "Traceback" not in err
    assert "scored" not in out


def test_a_job_server_gets_the_same_pipeline(scored, model, inputs, tmp_path):
    """Flink and Spark take pipelines in this way: here the job server is the one of Beam in Python."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    server = subprocess.Popen(
        [os.environ["BEAM_PYTHON"], "-m", "apache_beam.runners.portability.local_job_service_main", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("localhost", port)) == 0:
                    break
            time.sleep(0.2)
        output = tmp_path / "scores"
        beam_options = ("--", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK")
        score(model, inputs / "reviews-*", output, "--runner=portable", *beam_options)
    finally:
        server.kill()
        server.wait()
    assert files_of(output) == files_of(scored[0])


# A filesystem of Beam with a scheme of its own, over a folder: object stores are reached in the same way.
FILESYSTEM = """
import sys
from apache_beam.io.localfilesystem import LocalFileSystem

def local(path):
    return path.removeprefix("copy:/")

class Copy(LocalFileSystem):
    @classmethod
    def scheme(cls):
        return "copy"
    def _list(self, folder):
        for entry in super()._list(local(folder)):
            entry.path = "copy:/" + entry.path
            yield entry
    def mkdirs(self, path):
        raise NotImplementedError("an object store has no folders")
    def create(self, path, *arguments, **options):
        return super().create(local(path), *arguments, **options)
    def open(self, path, *arguments, **options):
        return super().open(local(path), *arguments, **options)
    def exists(self, path):
        return super().exists(local(path))
    def rename(self, sources, targets):
        import os
        for target in map(local, targets):
            os.makedirs(os.path.dirname(target), exist_ok=True)
        return super().rename([local(path) for path in sources], [local(path) for path in targets])
    def delete(self, paths):
        return super().delete([local(path) for path in paths])

from keras_transformer.export.scoring.__main__ import main
sys.exit(main())
"""


def test_paths_with_a_scheme_go_through_the_filesystems_of_beam(scored, model, inputs, tmp_path):
    def run(pattern):
        arguments = command(f"--model={model}", f"--input=copy:/{pattern}", f"--output=copy:/{tmp_path}/out", *FLAGS)
        return subprocess.run(
            [arguments[0], "-c", FILESYSTEM, *arguments[3:]], env=environment(), capture_output=True, text=True
        )

    done = run(inputs / "reviews-*")
    assert done.returncode == 0, done.stderr
    found = {name: content.replace(b"copy:/", b"") for name, content in files_of(tmp_path / "out").items()}
    assert found == files_of(scored[0])
    (tmp_path / "out" / "scores" / "part-0000003.jsonl").unlink()
    (tmp_path / "out" / "scores" / "part-0000009.jsonl").write_text("")
    done = run(inputs / "reviews-*")
    assert done.returncode == 0, done.stderr
    assert "scored again: scores/part-0000009.jsonl" in done.stderr
    again = {name: content.replace(b"copy:/", b"") for name, content in files_of(tmp_path / "out").items()}
    assert again == found
    assert not list((tmp_path / "out" / "temporary").iterdir())
    done = run(f"{inputs}/none-*")
    assert done.returncode == 1
    assert "No file matches" in done.stderr


def test_the_environment_is_the_pinned_one():
    done = subprocess.run(
        [os.environ["BEAM_PYTHON"], "-m", "pip", "freeze"], capture_output=True, text=True, check=True
    )
    pins = (ROOT / "constraints-beam.txt").read_text().splitlines()[1:]
    assert sorted(done.stdout.splitlines()) == sorted(pins)
    assert sys.version_info >= (3, 11)


def test_the_benchmark_gives_all_contestants_the_same_texts_and_scores(model, tmp_path):
    """It compares their scores itself, and exits with an error if they differ."""
    output = tmp_path / "speed.json"
    flags = [f"--saved_model={model}", f"--python={os.environ['BEAM_PYTHON']}", f"--output={output}"]
    script = ROOT / "benchmarks" / "scoring_speed.py"
    done = subprocess.run(
        [sys.executable, script, "--smoke", "--rounds=1", "--contestants=loop_32,beam", *flags],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    assert result["settings"]["texts"] == 48
    assert set(result["summary"]) == {"loop_32", "beam"}
    assert result["summary"]["loop_32"]["times_loop_32"]["median"] == 1
