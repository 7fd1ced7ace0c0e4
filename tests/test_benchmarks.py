"""The benchmarks run from their command lines, at tiny sizes; rounds are kept, and contestants have equal sizes."""

import dataclasses
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.test_readme import is_measured, numbers_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import fused_projections  # noqa: E402
import libraries  # noqa: E402
import pretraining_speed  # noqa: E402
import rounds  # noqa: E402
import step_cost  # noqa: E402
import time_to_accuracy  # noqa: E402
import training_speed  # noqa: E402
import word_vectors  # noqa: E402


def start(script, output, *arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--smoke", "--rounds=1", f"--output={output}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


def run(script, output, *arguments):
    done = start(script, output, *arguments)
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
    _, result = run("library_speed.py", tmp_path / "speed.json", "--cases=minilm/*/16,gpt2-small/*/16")
    assert len(result["rounds"]) == 4, "BERT-base is MiniLM at tiny sizes"
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
    flags = "--cases=batch_8", "--contestants=ours,keras_hub,hugging_face*"
    _, result = run("generation_speed.py", tmp_path / "speed.json", *flags)
    (entry,) = result["rounds"]["batch_8"]
    assert set(entry) == {"ours", "keras_hub", "hugging_face", "hugging_face_bfloat16"}


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
    run("word_vectors.py", tmp_path / "vectors.json", "--contestants=random,raw,standardised_frozen")
    shown, result = run("word_vectors.py", tmp_path / "vectors.json", "--contestants=random,raw", "--rounds=2")
    runs = {name: [entry["run"] for entry in entries] for name, entries in result["rounds"].items()}
    assert {name: len(entries) for name, entries in runs.items()} == {"random": 2, "raw": 2, "standardised_frozen": 1}
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
    assert "seed 0" not in shown, "that is there already"


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


def test_a_sweep_of_step_cost_changes_one_thing_of_a_step():
    sweeps = {kind: [] for kind in ("length", "depth", "throughput")}
    for name, case in step_cost.CASES.items():
        sweeps[name.partition("/")[0]].append(case)
    assert [len(cases) for cases in sweeps.values()] == [6, 6, 2]
    assert {case.examples * case.length for case in sweeps["length"]} == {4096}
    assert {(case.examples, case.length) for case in sweeps["depth"] + sweeps["throughput"]} == {(8, 256)}
    configs = {kind: [case.config(smoke=False) for case in cases] for kind, cases in sweeps.items()}
    assert [config.num_layers for config in configs["depth"]] == [1, 2, 3, 6, 9, 12]
    assert {config.num_layers for config in configs["length"] + configs["throughput"]} == {6}
    assert {config.hidden_dim for found in configs.values() for config in found} == {384}
    assert [case.product_dtype for case in sweeps["throughput"]] == ["float32", "bfloat16"]


@pytest.mark.slow
def test_step_cost_stands_beside_the_plan_and_the_products(tmp_path):
    from keras_transformer import plan

    # The machine is known, so it is not calibrated.
    card = plan.Machine("card", 1e11, 3e11, 1e10, block_seconds=0.001, step_seconds=0.002)
    machine = json.loads(json.dumps(dataclasses.asdict(card)))
    known = {"calibration": [{"ours": {"machine": machine, "seconds": 0.0}}]}
    output, plot = tmp_path / "cost.json", tmp_path / "cost.svg"
    output.write_text(json.dumps({"settings": rounds.machine() | {"steps": step_cost.STEPS}, "rounds": known}))
    cases = "length/64,length/256,throughput/float32,product/float32"
    shown, result = run("step_cost.py", output, f"--cases={cases}", f"--plot={plot}")
    assert set(result["rounds"]) == {"calibration", *cases.split(",")}
    assert result["rounds"]["calibration"] == known["calibration"]
    summary = result["summary"]
    assert set(summary) == set(cases.split(",")) - {"product/float32"}
    for name, entry in summary.items():
        assert [entry["seconds"], entry["megabytes"]] == [
            result["rounds"][name][0]["ours"][field] for field in ("seconds", "megabytes")
        ]
        assert entry["gigaflops_per_second"] == pytest.approx(entry["gigaflops"] / entry["seconds"], abs=0.06)
        case = step_cost.CASES[name]
        sizes = {"batch": case.examples, "length": case.length}
        planned = plan.training(case.config(smoke=True), **sizes, machine=card, product_dtype="float32")
        assert entry["predicted_seconds"] == pytest.approx(planned.time.total, abs=1e-4)
    assert summary["length/256"]["gigaflops"] > summary["length/64"]["gigaflops"], "attention grows with the rows"
    product, step = result["rounds"]["product/float32"][0]["ours"], summary["throughput/float32"]
    assert product["gigaflops_per_second"] == pytest.approx(2 * 64**3 / product["seconds"] / 1e9, abs=0.06)
    share = step["gigaflops"] / step["seconds"] / product["gigaflops_per_second"]
    assert step["share_of_matmul"] == pytest.approx(share, abs=1e-3)
    assert "% of tf.matmul" in shown
    assert 1000 < plot.stat().st_size < 100_000


@pytest.mark.slow
def test_tokenization_compares_equal_ids(tmp_path):
    output = tmp_path / "tokens.json"
    _, result = run("tokenization.py", output, "--cases=one_thread")
    (entry,) = result["rounds"]["one_thread"]
    ours, theirs = entry["ours"], entry["hugging_face"]
    assert set(entry) == {"ours", "hugging_face"}
    assert (ours["tokens"], ours["digest"]) == (theirs["tokens"], theirs["digest"])
    assert 40 * 50 < ours["tokens"] <= 40 * 512
    summary = result["summary"]["one_thread"]
    assert summary["texts_per_second"]["ours"] == pytest.approx(40 / ours["seconds"], rel=0.01)
    ratio = summary["times_our_seconds"]["hugging_face"]["median"]
    assert ratio == pytest.approx(theirs["seconds"] / ours["seconds"], abs=1e-3)
    theirs["digest"] += 1
    output.write_text(json.dumps(result))
    done = start("tokenization.py", output, "--cases=one_thread")
    assert done.returncode == 1
    assert "the contestants give different ids" in done.stderr


def test_all_ways_to_project_give_the_same_heads():
    x = np.random.default_rng(0).normal(size=(512, 384)).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(384, 3 * 384)).astype("float32") / 20
    bias = np.linspace(-1, 1, 3 * 384, dtype="float32")
    expected = (x.astype("float64") @ kernel + bias).reshape(2, 256, 3, 12, 32).transpose(2, 0, 3, 1, 4)
    for name in fused_projections.CONTESTANTS:
        project = fused_projections.Projections(name, "minilm", "float32")
        parts = len(project.kernels)
        assert parts == (3 if name in ("separate", "joined") else 1)
        for variables, value in ((project.kernels, kernel), (project.biases, bias)):
            for variable, part in zip(variables, np.split(value, parts, axis=-1), strict=True):
                variable.assign(part)
        np.testing.assert_allclose(np.stack(project(x)), expected, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_fused_projections_are_compared_with_three_products(tmp_path):
    cases = "minilm/forward/256/bfloat16,minilm/training/256/float32"
    shown, result = run("fused_projections.py", tmp_path / "fused.json", f"--cases={cases}")
    assert set(result["rounds"]) == set(result["summary"]) == set(cases.split(","))
    for case, (entry,) in result["rounds"].items():
        assert set(entry) == set(fused_projections.CONTESTANTS)
        for name, measured in entry.items():
            assert measured["seconds"] == min(measured["all_seconds"])
            ratio = result["summary"][case][name]["median"]
            assert ratio == pytest.approx(measured["seconds"] / entry["separate"]["seconds"], abs=1e-3)
    assert shown.count("times the seconds of three products: fused") == 2


def test_the_clock_of_time_to_accuracy_runs_in_training_only(monkeypatch):
    now, seen = 0.0, []

    def train(part, parts):
        nonlocal now
        now += 2.0
        seen.append((part, parts))

    def judge():
        nonlocal now
        now += 5.0
        return [1, 0, 1, 1]

    monkeypatch.setattr(time_to_accuracy, "time", types.SimpleNamespace(perf_counter=lambda: now))
    found = time_to_accuracy.Clock(epochs=2, points=4).run(train, judge)
    assert seen == [(part, 8) for part in range(8)]
    assert [point["epoch"] for point in found["curve"]] == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    assert [point["seconds"] for point in found["curve"]] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert {point["accuracy"] for point in found["curve"]} == {0.75}
    assert (found["seconds"], found["all_hits"]) == (16, [1, 0, 1, 1])


def test_time_to_accuracy_ends_where_keras_nlp_ends(tmp_path):
    random = np.random.default_rng(0)
    kept = rounds.Rounds(tmp_path / "kept.json", {})
    for name, points in {
        "ours": [(5, 0.7), (10, 0.91), (15, 0.89), (20, 0.92)],
        "keras_nlp": [(50, 0.85), (100, 0.9)],
        "hugging_face": [(30, 0.88), (60, 0.89)],
    }.items():
        hits = (random.random(500) < points[-1][1]).astype(int).tolist()
        curve = [{"seconds": seconds, "accuracy": accuracy} for seconds, accuracy in points]
        kept.add("reviews", 0, name, {"seconds": points[-1][0], "curve": curve, "all_hits": hits})
    summary = time_to_accuracy.summarise(kept)
    assert summary["accuracy_to_reach"] == 0.9
    assert (summary["ours"]["seconds_to_accuracy"], summary["ours"]["times_keras_nlp_seconds"]) == (10, 0.1)
    assert (summary["keras_nlp"]["seconds_to_accuracy"], summary["keras_nlp"]["times_keras_nlp_seconds"]) == (100, 1)
    assert summary["hugging_face"]["seconds_to_accuracy"] is None
    entry = kept.result["rounds"]["reviews"][0]
    pairs = np.array(entry["ours"]["all_hits"]) - np.array(entry["hugging_face"]["all_hits"])
    found, reach = summary["hugging_face"]["ours_minus_it"], 1.96 * pairs.std() / 500**0.5
    assert found["mean"] == pytest.approx(pairs.mean(), abs=1e-4)
    assert [found["low"], found["high"]] == pytest.approx([pairs.mean() - reach, pairs.mean() + reach], abs=0.005)


@pytest.mark.slow
def test_time_to_accuracy_trains_each_once_with_points_of_its_own(tmp_path):
    output = tmp_path / "time.json"
    _, first = run("time_to_accuracy.py", output, "--contestants=keras_nlp,hugging_face")
    shown, result = run("time_to_accuracy.py", output, "--contestants=ours,keras_nlp,hugging_face")
    (entry,), (before,) = result["rounds"]["reviews"], first["rounds"]["reviews"]
    assert all(entry[name] == before[name] for name in before), "what is finished is kept"
    points = {name: [point["epoch"] for point in measured["curve"]] for name, measured in entry.items()}
    assert points == {"ours": [0.25, 0.5, 0.75, 1], "keras_nlp": [0.5, 1], "hugging_face": [0.5, 1]}
    for measured in entry.values():
        times = [0, *(point["seconds"] for point in measured["curve"])]
        assert times == sorted(times)
        assert times[-1] == measured["seconds"] > 0
        assert len(measured["all_hits"]) == 8
        assert measured["curve"][-1]["accuracy"] == np.mean(measured["all_hits"])
    assert result["summary"]["accuracy_to_reach"] == entry["keras_nlp"]["curve"][-1]["accuracy"]
    assert shown.splitlines()[0].startswith("accuracy_to_reach")


def test_hugging_face_gets_the_labels_of_the_masked_places():
    inputs = {"token_ids": np.ones((2, 6), int), "masked_positions": np.array([[1, 4, 0], [2, 0, 0]])}
    labels, weights = {"masked": np.array([[7, 8, 0], [9, 0, 0]])}, {"masked": np.array([[1, 1, 0], [1, 0, 0]])}
    expected = [[-100, 7, -100, -100, 8, -100], [-100, -100, 9, -100, -100, -100]]
    assert pretraining_speed.labels_everywhere(inputs, labels, weights).tolist() == expected


@pytest.mark.slow
def test_pretraining_speed_gives_all_contestants_the_same_masks(tmp_path):
    flags = "--cases=small", "--contestants=ours,keras_nlp,hugging_face_float32"
    _, result = run("pretraining_speed.py", tmp_path / "speed.json", *flags)
    (entry,) = result["rounds"]["small"]
    assert set(entry) == {"ours", "keras_nlp", "hugging_face_float32"}
    assert {measured["rows"] for measured in entry.values()} == {2 * 2}
    (masked,) = {measured["masked_tokens"] for measured in entry.values()}
    assert masked == pytest.approx(0.15 * 4 * 32, abs=4)
    summary = result["summary"]["small"]
    for kind, field in (("times_our_seconds", "seconds"), ("times_our_megabytes", "megabytes")):
        for name, measured in entry.items():
            assert summary[kind][name]["median"] == pytest.approx(measured[field] / entry["ours"][field], abs=1e-3)


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


SHOWN = (
    "library_speed",
    "generation_speed",
    "artefact_speed",
    "training_speed",
    "training_speed_epyc",
    "training_speed_padded_256",
    "step_cost",
    "fused_projections",
    "tokenization",
    "input_wait",
    "workers_speed",
    "less_work",
    "ablation",
    "scoring_speed",
)


def test_figures_of_the_tables_in_the_documentation_are_measured():
    measured = []
    for name in SHOWN:
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
