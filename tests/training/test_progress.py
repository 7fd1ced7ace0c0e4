"""The progress line on a terminal and elsewhere."""

import io

import pytest

from keras_transformer.training import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_pace_and_time_left_leave_out_compiling_and_validations(clock):
    stream = io.StringIO()
    bar = progress.ProgressBar(total_steps=20, steps_per_epoch=10, interval=0, stream=stream)
    bar.resume()
    clock[0] += 50  # the first step compiles
    bar.update(1, 8, {"loss": 0.7})
    for step in (2, 3):
        clock[0] += 2
        bar.update(step, 8, {"loss": 0.5, "accuracy": 0.75})
    clock[0] += 300  # a validation
    bar.resume()
    clock[0] += 2
    bar.update(4, 8, {"loss": 0.5, "accuracy": 0.75})
    lines = stream.getvalue().splitlines()
    assert "examples/s" not in lines[0]
    assert lines[-1] == (
        "epoch 1/2 [========            ] 4/10  loss 0.5000  accuracy 0.7500  4.0 examples/s  32.0 s left"
    )


def test_elsewhere_a_line_comes_every_interval(clock):
    stream = io.StringIO()
    bar = progress.ProgressBar(total_steps=100, steps_per_epoch=100, interval=30, stream=stream)
    for step in range(1, 101):
        clock[0] += 1
        bar.update(step, 1, {"loss": 0.1})
    assert [line.split("]")[1].split("/")[0].strip() for line in stream.getvalue().splitlines()] == ["30", "60", "90"]


def test_a_terminal_has_one_line(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    bar = progress.ProgressBar(total_steps=30, steps_per_epoch=10, stream=stream)
    for step in range(1, 31):
        clock[0] += 1
        bar.update(step, 4, {"loss": 1 / step, "accuracy": 0.5})
    bar.close()
    bar.close()
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    lines = text.strip("\r\n").split("\r")
    assert len(lines) == 30
    assert all(len(line) < 60 for line in lines)
    assert lines[-1].startswith("epoch 3/3 [====================] 10/10  loss 0.0333")


def test_a_count_says_how_much_is_left(clock):
    stream = io.StringIO()
    with progress.CountBar("points", interval=10, stream=stream) as report:
        for done in (1, 2, 3):
            clock[0] += 6
            report(done, 8)
        clock[0] += 6
        report(4, 16)
    assert stream.getvalue().splitlines() == [
        "[=====               ] 2/8 points  36.0 s left",
        "[=====               ] 4/16 points  1:12 left",
    ]


def test_a_count_ends_its_line_on_a_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with progress.CountBar("points", stream=stream) as report:
        report(1, 2)
        report(2, 2)
    assert stream.getvalue().count("\r") == 2
    assert stream.getvalue().endswith("2/2 points  0.0 s left\n")
