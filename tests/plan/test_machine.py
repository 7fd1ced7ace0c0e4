"""Machines from files, and what follows from their figures."""

import json

import pytest

from keras_transformer.plan import Machine, load, machine, timing
from keras_transformer.plan.work import Pass, Product, Stage, Work

CARD = {"name": "card", "float32_flops": 1e12, "bfloat16_flops": 4e12, "memory_bandwidth": 1e11}


def test_a_machine_is_read_as_it_was_written(tmp_path):
    one = Machine(**CARD, passes={"norm": (1e-9, 2e-9)}, step_factor={"float32": 0.9}, network=1e9, price=0.5)
    one.save(tmp_path / "one.json")
    assert load(tmp_path / "one.json") == one


@pytest.mark.parametrize("name", machine.names())
def test_the_machines_that_come_along_can_be_read(name):
    assert load(name).faster_dtype in ("float32", "bfloat16")


def test_a_step_is_the_sum_of_its_products_and_passes():
    one = Machine(**CARD, passes={"norm": (1e-9, 2e-9)}, block_seconds=0.25, step_seconds=0.5)
    work = Work((Product(1, 10, 20, 30),), (Pass("norm", 1000), Pass("move", 500), Pass("cast", 10**9, True)))
    time = timing.step_time([Stage("blocks", work, times=3, boundary=1)], 0, one, "float32", recompute=True)
    values, flops = 10 * 20 + 20 * 30 + 10 * 30, 2 * 10 * 20 * 30
    product = flops / 1e12 + 4 * values / 1e11
    move = 500 * 2 * 4 / 1e11
    assert time.products == pytest.approx(3 * 3 * product)
    assert time.passes == pytest.approx(3 * (1000 * 3e-9 + 2 * move)), "nothing is cast in float32"
    assert time.recompute == pytest.approx(3 * (product + 1000e-9 + move))
    assert time.overhead == pytest.approx(0.5 + 3 * 0.25)


def test_bfloat16_halves_what_is_moved_and_has_a_rate_of_its_own():
    one = Machine(**CARD)
    assert one.product_seconds(10**12, 0, "bfloat16") == pytest.approx(0.25)
    assert one.product_seconds(0, 10**9, "bfloat16") == pytest.approx(0.02)
    assert one.pass_seconds("add", 10**9, low=True) == pytest.approx(0.06)
    assert one.faster_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"float32_flops": 0}, "float32_flops must be above 0"),
        ({"memory_bandwidth": "fast"}, "memory_bandwidth must be above 0"),
        ({"price": -1}, "price must be at least 0. Received: -1"),
        ({"network": 0}, "network must be above 0"),
        ({"passes": {"stroll": [1, 2]}}, "stroll"),
        ({"passes": {"norm": [1]}}, "pairs of seconds"),
        ({"passes": {"norm": 1}}, "pairs of seconds"),
        ({"passes": [1]}, "passes must be an object"),
        ({"step_factor": {"int8": 1}}, "int8"),
        ({"colour": "green"}, "colour"),
        ({"name": None, "float32_flops": float("nan")}, "float32_flops must be above 0"),
    ],
    ids=str,
)
def test_a_wrong_machine_is_refused(changes, words, tmp_path):
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(CARD | changes))
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        load(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="no JSON file"):
        load(tmp_path / "text.json")
    with pytest.raises(ValueError, match="Received: list"):
        load(tmp_path / "list.json")
    with pytest.raises(ValueError, match="'nowhere'"):
        load("nowhere")
