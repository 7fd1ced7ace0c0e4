"""The benchmark on what pretraining is worth: pairs of runs, compared text by text, at tiny sizes."""

import numpy as np
import pytest

from tests.test_benchmarks import run

import pretraining_gain  # isort: skip  # tests.test_benchmarks puts its folder on the path


def entry(hits, texts="a"):
    return {"hits": "".join(map(str, hits)), "texts": texts, "accuracy": float(np.mean(hits))}


def test_differences_are_paired_by_text_and_seeds_by_their_texts():
    direct = [1, 0, 1, 0, 1, 0, 1, 1]
    better = [1, 1, 1, 1, 1, 0, 1, 0]
    rounds_of = [{"pretrained": entry(better), "direct": entry(direct)}, {"pretrained": entry(direct)}]
    found = pretraining_gain.summary({"rounds": {"adapted": rounds_of}})["adapted"]
    assert set(found["seeds"]) == {"0"}, "a seed counts when both runs are done"
    assert found["seeds"]["0"]["difference"] == found["all"]["difference"] == 0.125
    assert found["all"]["low"] < 0.125 < found["all"]["high"]
    rounds_of[1]["direct"] = entry(direct)
    both = pretraining_gain.summary({"rounds": {"adapted": rounds_of}})["adapted"]
    assert both["seeds"]["1"] == {"pretrained": 0.625, "direct": 0.625, "difference": 0.0, "low": 0.0, "high": 0.0}
    assert both["all"]["difference"] == 0.0625


def test_the_interval_is_that_of_the_difference_not_of_two_accuracies():
    random = np.random.default_rng(0)
    first = (random.random(4000) < 0.9).astype(int)
    second = first.copy()
    second[:40] = 0
    low, high = (pretraining_gain.interval([first - second])[name] for name in ("low", "high"))
    mean = (first - second).mean()
    # By the normal approximation of a mean of that many values.
    reach = 1.96 * (first - second).std() / 4000**0.5
    assert (low, high) == pytest.approx((mean - reach, mean + reach), abs=5e-4)


def test_other_texts_for_each_seed_are_drawn_apart():
    differences = [np.array([1, 0, -1, 0] * 50), np.array([-1, 0, 1, 0] * 50)]
    assert pretraining_gain.interval(differences, same=True) == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert pretraining_gain.interval(differences, same=False)["high"] > 0.03


@pytest.mark.slow
def test_runs_with_and_without_pretraining_are_kept(tmp_path):
    flags = f"--folder={tmp_path / 'runs'}", "--cases=from_scratch", "--at_once=2"
    shown, result = run("pretraining_gain.py", tmp_path / "gain.json", *flags)
    (found,) = result["rounds"]["from_scratch"]
    assert found["pretrained"]["texts"] == found["direct"]["texts"]
    assert len(found["direct"]["hits"]) == 30
    assert found["pretrained"]["pretraining"]["curve"]["val_loss"][0] > 0
    assert "pretraining" not in found["direct"]
    assert "pretrain" not in found["direct"]["seconds"]
    assert result["summary"]["from_scratch"]["seeds"]["0"]["direct"] == found["direct"]["accuracy"]
    assert "accuracy" in shown
    again, same = run("pretraining_gain.py", tmp_path / "gain.json", *flags)
    assert "accuracy" not in again
    assert same == result
