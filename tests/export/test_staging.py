import os
import socket
import subprocess
import sys

import pytest

from keras_transformer.export import staging


def test_a_failure_leaves_nothing_not_even_the_new_folder(tmp_path):
    out = tmp_path / "new" / "export"

    def fail():
        with staging.staging(out) as stage:
            (stage / "half").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_there(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(OSError, match="x"), staging.staging(tmp_path):
        raise OSError("x")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_a_dead_process_left_is_cleared_and_a_live_one_is_left_alone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = tmp_path / f".incomplete-{socket.gethostname()}-{process.pid}-abc"
    live = tmp_path / f".incomplete-{socket.gethostname()}-{os.getpid()}-abc"
    elsewhere = tmp_path / f".incomplete-another-host-{process.pid}-abc"
    for folder in (dead, live, elsewhere):
        folder.mkdir()
        (folder / "file").write_text("")
    with staging.staging(tmp_path):
        assert not dead.exists()
        assert live.exists()
        assert elsewhere.exists()


def test_a_folder_put_aside_by_a_killed_process_comes_back(tmp_path):
    (tmp_path / ".replaced-tflite").mkdir()
    (tmp_path / ".replaced-tflite" / "text.tflite").write_text("old")
    with staging.staging(tmp_path):
        pass
    assert (tmp_path / "tflite" / "text.tflite").read_text() == "old"


def test_replacing_leaves_only_the_new_one(tmp_path):
    for name in ("new", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    staging.publish_replacing(tmp_path / "new", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["new"]


def test_versions_count_up_and_are_never_overwritten(tmp_path):
    base = tmp_path / "saved_model"
    assert staging.next_version(base) == 1
    for name in ("2", "10", "x11"):
        (base / name).mkdir(parents=True)
        (base / name / "file").write_text(name)
    assert staging.next_version(base) == 11
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("new")
    with pytest.raises(FileExistsError, match="10 exists"):
        staging.publish_new(tmp_path / "source", base, 10)
    assert (base / "10" / "file").read_text() == "10"
    assert staging.publish_new(tmp_path / "source", base, None) == base / "11"


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"), staging.staging(tmp_path / "file"):
        pass
