"""The benchmarks run from their command lines, at tiny sizes; rounds are kept, and contestants have equal sizes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import is_measured, numbers_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import libraries  # noqa: E402
import rounds  # noqa: E402
import training_speed  # noqa: E402
import word_vectors  # noqa: E402


def run(script, output, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--smoke", "--rounds=1", f"--output={output}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(output.read_text(encoding="utf-8"))


def test_library_speed_measures_the_chosen_cases_and_goes_on_where_it_stopped(tmp_path):
    arguments = "--cases=minilm/*/16", "--contestants=ours,torch_nn"
    first, result = run("library_speed.py", tmp_path / "speed.json", *arguments)
    assert set(result["rounds"]) == {"minilm/forward/16", "minilm/training/16"}
    for case, entries in result["rounds"].items():
        assert set(entries[0]) == {"ours", "torch_nn"}
        theirs, ours = (entries[0][name]["seconds"] for name in ("torch_nn", "ours"))
        assert ours > 0
        assert result["summary"][case]["times_our_seconds"]["torch_nn"]["median"] == pytest.approx(
            theirs / ours, abs=1e-3
        )
    assert "round 1" in first
    again, same = run("library_speed.py", tmp_path / "speed.json", *arguments)
    assert "round 1" not in again
    assert same == result


@pytest.mark.slow
def test_library_speed_measures_every_contestant(tmp_path):
    _, result = run("library_speed.py", tmp_path / "speed.json", "--cases=*/16")
    for case, entries in result["rounds"].items():
        encoder = not case.startswith("gpt2")
        assert set(entries[0]) == set(libraries.CONTESTANTS) - (set() if encoder else {"torch_nn"})


def test_generation_speed_counts_new_tokens(tmp_path):
    _, result = run("generation_speed.py", tmp_path / "speed.json", "--cases=batch_1", "--contestants=ours")
    entry, summary = result["rounds"]["batch_1"][0]["ours"], result["summary"]["batch_1"]
    assert summary["tokens_per_second"]["ours"] == pytest.approx(64 / entry["seconds"], rel=0.01)
    assert entry["first_seconds"] > entry["seconds"]


@pytest.mark.slow
def test_generation_speed_measures_the_other_libraries(tmp_path):
    _, result = run("generation_speed.py", tmp_path / "speed.json", "--contestants=ours,keras_hub,hugging_face*")
    assert all(len(entries[0]) == 4 for entries in result["rounds"].values())


def test_recompute_memory_compares_both_ways(tmp_path):
    _, result = run("recompute_memory.py", tmp_path / "memory.json", "--contestants=kept,recomputed")
    (entries,) = result["rounds"].values()
    assert all(entries[0][name]["megabytes"] > 0 for name in ("kept", "recomputed"))
    assert result["summary"]["recomputed_to_kept"]["seconds"] > 0


def test_padding_counts_what_the_plans_make(tmp_path):
    output = tmp_path / "padding.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "padding.py"), "--reviews=150", f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text(encoding="utf-8"))
    for case in result["cases"].values():
        packing, buckets, limit = (case[name] for name in ("packing", "buckets", "limit"))
        assert 1 / packing["tokens_per_real_token"] == pytest.approx(packing["fill_rate"]["most"], abs=0.05)
        assert 1 < buckets["tokens_per_real_token"] < limit["tokens_per_real_token"]
        assert packing["gigaflops_per_text_first_token"] < packing["gigaflops_per_text"]
    assert result["cases"]["sentences_128"]["packing"]["gigaflops_per_text"] < 3


@pytest.mark.slow
def test_less_work_keeps_a_curve_for_each_variant_and_draws_them(tmp_path):
    arguments = "--contestants=baseline,mine", "--set=mine:train.frozen_layers=5;train.ema_decay=0.5"
    _, result = run("less_work.py", tmp_path / "work.json", *arguments)
    assert list(result["summary"]) == ["baseline", "mine"]
    for entries in result["rounds"].values():
        measured = entries[0]["run"]
        assert [point["epoch"] for point in measured["curve"]] == [pytest.approx(0.5, abs=0.1), 1.0]
        assert 0 < measured["curve"][0]["seconds"] < measured["curve"][1]["seconds"] == measured["seconds"]
    trained = [result["summary"][name]["trained_parameters"] for name in ("baseline", "mine")]
    assert trained[1] < trained[0] / 5, "one block of six, and no embeddings"
    assert (tmp_path / "work.svg").stat().st_size < 100_000
    first = (tmp_path / "work.json").read_text()
    assert " s  accuracy" not in run("less_work.py", tmp_path / "work.json", *arguments)[0], "all is there already"
    assert (tmp_path / "work.json").read_text() == first


@pytest.mark.slow
def test_word_vectors_compares_each_start_with_random_of_the_same_seed(tmp_path):
    flags = "--contestants=random,raw,standardised_frozen", "--rounds=2"
    shown, result = run("word_vectors.py", tmp_path / "vectors.json", *flags)
    runs = {name: [entry["run"] for entry in entries] for name, entries in result["rounds"].items()}
    assert {name: len(entries) for name, entries in runs.items()} == {"random": 2, "raw": 2, "standardised_frozen": 2}
    assert runs["random"][0]["coverage"] == {}
    assert runs["raw"][0]["coverage"] == runs["standardised_frozen"][0]["coverage"]
    assert runs["raw"][0]["coverage"]["share"] > 0.5
    assert runs["standardised_frozen"][0]["trained_parameters"] < runs["raw"][0]["trained_parameters"] / 3
    for part in ("validation", "test"):
        base, other = ([run[part] for run in runs[name]] for name in ("random", "raw"))
        found = result["summary"]["raw"][part]
        assert found["accuracies"] == other
        assert found["minus_random"] == pytest.approx([b - a for a, b in zip(base, other, strict=True)], abs=1e-5)
        low, high = found["interval_95"]
        assert low <= found["mean_minus_random"] <= high
    assert "seed 1" in shown
    assert "seed 1" not in run("word_vectors.py", tmp_path / "vectors.json", *flags)[0], "all is there already"


def test_differences_of_word_vectors_are_paired_by_seed():
    accuracies = {"random": [0.80, 0.82, 0.81], "raw": [0.79, 0.80, 0.815]}
    rounds_of = {
        name: [{"run": {"test": value, "validation": value - 0.1}} for value in values]
        for name, values in accuracies.items()
    }
    found = word_vectors.summary({"rounds": rounds_of})
    assert found["random"]["test"] == {"accuracies": [0.80, 0.82, 0.81], "mean": 0.81}
    assert found["raw"]["test"]["minus_random"] == [-0.01, -0.02, 0.005]
    assert found["raw"]["test"]["mean_minus_random"] == -0.00833
    # 4.3027 is the quantile of Student's distribution for three values, 0.012583 the standard deviation.
    reach = 4.3027 * 0.012583 / 3**0.5
    assert found["raw"]["test"]["interval_95"] == pytest.approx([-0.00833 - reach, -0.00833 + reach], abs=2e-5)
    assert found["raw"]["validation"]["mean"] == pytest.approx(0.70167, abs=1e-5)
    del rounds_of["random"][1]["run"]
    assert word_vectors.summary({"rounds": rounds_of})["raw"]["test"]["minus_random"] == [-0.01, 0.005]


@pytest.mark.slow
def test_training_speed_gives_all_contestants_the_same_texts(tmp_path):
    flags = "--cases=padded_256", "--contestants=ours,hugging_face", "--tokens_per_step=512"
    _, result = run("training_speed.py", tmp_path / "speed.json", *flags)
    (entry,) = result["rounds"]["padded_256"]
    ours, theirs = entry["ours"], entry["hugging_face"]
    for field in ("texts", "padded_tokens", "real_tokens"):
        assert ours[field] == theirs[field] > 0
    assert min(ours["megabytes"], theirs["megabytes"]) > 0
    ratio = result["summary"]["padded_256"]["times_our_seconds"]["hugging_face"]["median"]
    assert ratio == pytest.approx(theirs["seconds"] / ours["seconds"], abs=1e-3)


def test_the_batches_of_hugging_face_are_padded_to_their_longest_text_only():
    work = training_speed.Work("reviews", 2048, 3)
    tokens = sum(len(chosen) * int(work.rows.lengths[chosen].max()) for _, chosen in work.batches())
    assert work.rows.lengths.sum() <= work.padded_tokens(dynamic=True) == tokens < work.padded_tokens()


@pytest.mark.slow
def test_the_ablation_undoes_one_thing_at_a_time(tmp_path):
    _, result = run("ablation.py", tmp_path / "ablation.json", "--contestants=ours,float32_plain_keras")
    (entry,) = result["rounds"]["speed"]
    assert entry["ours"]["texts"] == entry["float32_plain_keras"]["texts"] == 12
    curve = result["summary"]["curve"]
    # Products in bfloat16 and other forms: the same training but for rounding.
    assert 0 < curve["float32_plain_keras"]["mean_size"] < 0.02
    assert curve["ours"]["first"] == pytest.approx(0.69, abs=0.1)


@pytest.mark.slow
def test_two_workers_and_one_train_on_the_same_texts(tmp_path):
    shown, result = run("workers_speed.py", tmp_path / "workers.json")
    (entry,) = result["rounds"]["reviews"]
    assert [entry["one"][name] for name in ("texts", "steps")] == [entry["two"][name] for name in ("texts", "steps")]
    assert "times as fast as one" in shown


@pytest.mark.parametrize("name", libraries.SIZES)
def test_sizes_are_those_of_the_presets(name):
    from keras_transformer import models

    size = libraries.SIZES[name]
    assert libraries.our_config(size) == models.preset(size.preset)


@pytest.mark.parametrize("name", libraries.SIZES)
def test_contestants_have_as_many_parameters(name):
    size = libraries.SIZES[name].tiny()
    models = [libraries.CONTESTANTS[contestant](size) for contestant in ("ours", "keras_hub", "hugging_face")]
    assert len({model.parameters() for model in models}) == 1


def test_padding_is_the_same_for_all_and_is_not_learned():
    size = libraries.SIZES["gpt2-small"].tiny()
    batch = libraries.Batch.draw(size, 3, 16)
    assert (batch.token_ids[batch.padding_mask == 0] == 0).all()
    assert 0 < batch.padding_mask.mean() < 1
    assert (batch.labels[batch.label_weights == 1] == batch.token_ids[:, 1:][batch.padding_mask[:, 1:] == 1]).all()


def test_ratios_compare_within_a_round(tmp_path):
    kept = rounds.Rounds(tmp_path / "kept.json", {"length": 1})
    for index, (ours, theirs) in enumerate([(1.0, 2.0), (10.0, 30.0)]):
        kept.add("case", index, "ours", {"seconds": ours})
        kept.add("case", index, "theirs", {"seconds": theirs})
    kept.add("case", 2, "theirs", {"seconds": 1.0})
    assert kept.ratios("case")["theirs"] == {"median": 2.5, "least": 2.0, "most": 3.0, "rounds": 2}
    again = rounds.Rounds(tmp_path / "kept.json", {"length": 1})
    assert again.missing("case", 1, ["ours", "theirs"]) == []
    assert again.missing("case", 2, ["ours", "theirs"]) == ["ours", "theirs"], "an interrupted round starts anew"
    with pytest.raises(SystemExit, match="other settings"):
        rounds.Rounds(tmp_path / "kept.json", {"length": 2})


def test_an_unknown_name_is_refused():
    assert rounds.chosen(["ours", "ours_jax", "theirs"], "ours*") == ["ours", "ours_jax"]
    with pytest.raises(SystemExit, match="nobody"):
        rounds.chosen(["ours"], "nobody")


def test_figures_of_the_tables_in_the_documentation_are_measured():
    measured = []
    for name in ("library_speed", "generation_speed", "artefact_speed", "training_speed"):
        summary = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["summary"]
        measured += numbers_of(summary)
    learned = json.loads((ROOT / "benchmarks" / "results" / "sequence_tasks.json").read_text(encoding="utf-8"))
    measured += [case["exact"] for cases in learned["rounds"].values() for case in cases[0].values()]
    recomputed = json.loads((ROOT / "benchmarks" / "results" / "recompute_memory.json").read_text(encoding="utf-8"))
    measured += numbers_of(recomputed["rounds"])
    lines = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").splitlines()
    shown = {number for line in lines if line.startswith("|") for number in re.findall(r"\d+\.\d+", line)}
    assert len(shown) > 50
    assert not sorted(number for number in shown if not is_measured(number, measured))
