"""The benchmarks of deployed files, on a tiny run: every contestant answers alike, and finished parts are kept."""

import json
import subprocess
import sys

import pytest

from benchmarks import artefact_speed, artefacts
from tests.export.tiny_pipeline import write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    words = ["good", "bad", "great", "story", "film", "actor"]
    texts = [f"the {words[i % 6]} was {words[i // 6 % 6]} {'and ' * (i // 36)}{'it ' * (i % 9)}" for i in range(120)]
    return write_run(tmp_path_factory.mktemp("runs") / "tiny", texts)


@pytest.fixture(scope="module")
def files(run_folder, tmp_path_factory):
    """The folder of the files, and what the first command printed and wrote."""
    patch = pytest.MonkeyPatch()
    patch.setattr(artefacts, "LENGTHS", (8, 16))
    folder = tmp_path_factory.mktemp("files")
    arguments = [f"--run={run_folder}", f"--folder={folder}", f"--output={folder / 'artefacts.json'}"]
    assert artefacts.main([*arguments, "--files=litert/*"]) == 0
    part = json.loads((folder / "artefacts.json").read_text())
    assert artefacts.main(arguments) == 0
    patch.undo()
    return folder, part, json.loads((folder / "artefacts.json").read_text())


def test_every_file_is_measured_and_finished_ones_are_kept(files):
    folder, part, result = files
    assert set(part["rounds"]) == {f"litert/{name}" for name in artefacts.PRECISIONS}
    assert all(result["rounds"][name] == part["rounds"][name] for name in part["rounds"])
    saved = {"saved_model/float32", "saved_model/bfloat16"}
    assert set(result["rounds"]) == {*json.loads((folder / artefacts.DONE).read_text()), *saved}
    entries = {name: entries[0]["file"] for name, entries in result["rounds"].items()}
    assert entries["litert/int4"]["bytes"] < entries["litert/float32"]["bytes"]
    assert entries["saved_model/bfloat16"]["bytes"] < entries["saved_model/float32"]["bytes"]
    for name, entry in entries.items():
        if name.endswith("float32") and "held_out" in entry:
            # The peer's graph is another one: its logits are close, not the same.
            assert entry["held_out"]["largest"] < 1e-3
            assert entry["held_out"]["flips"] == 0
    assert {name for name, entry in entries.items() if "held_out" not in entry} == {
        f"litert_{length}/{precision}" for length in (8, 16) for precision in ("float32", "int8")
    }
    fused = entries["peer_onnx/float32"]["operators"]["stored"]
    assert fused["Attention"] == fused["BiasGelu"] == 1


def test_every_contestant_gives_the_same_probabilities(files, run_folder):
    """`prepare_text` refuses one that does not; the names of the cases are those of the contestants."""
    folder, _, _ = files
    command = [sys.executable, "-m", "benchmarks.artefact_speed", "--smoke", "--rounds=1", "--cases=text/32"]
    command += [f"--run={run_folder}", f"--folder={folder}", f"--output={folder / 'speed.json'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((folder / "speed.json").read_text())["rounds"]["text/32"]
    assert set(entry) == set(artefact_speed.SERVERS)
    assert all(measured["texts_per_second"] > 0 for measured in entry.values())
