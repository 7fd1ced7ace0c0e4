"""Several workers, each a process of its own, train as one device does."""

import csv
import itertools
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from keras_transformer.training import RunFolder
from keras_transformer.training.launch import free_ports, launch
from tests.training import less_work_run, workers_run
from tests.training.test_distributed import _assert_same_weights, assert_independent, assert_trained_as_at_once
from tests.training.test_pretraining import tiny, write_corpus
from tests.training.test_train_main import ROOT, STEPS, TINY, write_reviews

WORKERS_STEPS = 120
HERE = pathlib.Path(__file__).parent
EXACT = [
    *TINY,
    *(f"--set={name}=0" for name in ("model.dropout", "model.attention_dropout", "model.head_dropout")),
    "--set=train.product_dtype=float32",
    "--set=export.formats=",
]


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory):
    """The file of a recipe whose batches of nine rows do not divide by two."""
    folder = tmp_path_factory.mktemp("pretraining")
    recipe = tiny(
        write_corpus(folder / "corpus", count=60),
        "masked",
        "model.dropout=0",
        "pretrain.tokens_per_batch=216",
        "pretrain.epochs=1",
        "train.product_dtype=float32",
        "train.compiled_elementwise=false",
    )
    (folder / "recipe.json").write_text(recipe.to_json())
    return folder / "recipe.json"


def less_work(folder, index=0):
    """What a worker, or one device, wrote of the trainings of less_work_run.py."""
    names = (*less_work_run.RUNS, "pretrained")
    files = {name: folder / f"{name}_{index}.npz" for name in names}
    return {name: dict(np.load(path)) for name, path in files.items() if path.exists()}


@pytest.fixture(scope="module")
def one_device(pretraining, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    program = "import pathlib, sys; from keras_transformer.training import strategies; "
    program += "from tests.training import less_work_run; "
    program += "from tests.training.distributed_run import run, run_accumulated; one = strategies.create(); "
    program += f"folder = pathlib.Path(sys.argv[1]); run(one, {WORKERS_STEPS}, folder / 'one.npz'); "
    program += "run_accumulated(one, folder / 'at_once.npz', together=1); "
    program += "less_work_run.main(one, folder, pathlib.Path(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(pretraining)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    at_once = dict(np.load(folder / "at_once.npz"))
    return dict(np.load(folder / "one.npz")) | {"at_once": at_once, "less_work": less_work(folder)}


@pytest.fixture(scope="module", params=[2, 4])
def workers(request, pretraining, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    command = [sys.executable, str(HERE / "workers_run.py"), str(folder), str(WORKERS_STEPS), str(pretraining)]
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(ROOT))
    assert launch(command, request.param, restarts=0) == 0
    patch.undo()
    return [
        (
            json.loads((folder / f"worker_{i}.json").read_text()),
            dict(np.load(folder / f"worker_{i}.npz"))
            | {"accumulated": dict(np.load(folder / f"accumulated_{i}.npz")), "less_work": less_work(folder, i)},
        )
        for i in range(request.param)
    ]


@pytest.mark.slow
def test_every_worker_ends_with_the_losses_metrics_and_weights_of_one_device(workers, one_device):
    first, *_, last = one_device["losses"].reshape(4, -1)  # epochs over the same batches
    assert last.mean() < first.mean() - 0.1, "the comparison needs weights that move"
    for _, found in workers:
        np.testing.assert_allclose(found["losses"], one_device["losses"], rtol=1e-5)
        np.testing.assert_allclose(found["norms"], one_device["norms"], rtol=1e-5)
        for name in (n for n in one_device if n.startswith(("measured/", "history/"))):
            np.testing.assert_allclose(found[name], one_device[name], rtol=1e-5, err_msg=name)
        # Every worker gets all predictions, in their order.
        np.testing.assert_allclose(found["logits"], one_device["logits"], atol=1e-5)
        _assert_same_weights(one_device, found)
        for name in (n for n in found if n.startswith("weights/")):
            np.testing.assert_array_equal(found[name], workers[0][1][name], err_msg=name)


@pytest.mark.slow
def test_workers_add_up_batches_to_the_update_of_one_large_batch(workers, one_device):
    for _, found in workers:
        assert_trained_as_at_once(one_device["at_once"], found["accumulated"])


of_two_workers = pytest.mark.parametrize("workers", [2], indirect=True)


@pytest.mark.slow
@of_two_workers
@pytest.mark.parametrize("name", [*less_work_run.RUNS, "pretrained"])
def test_two_workers_do_less_work_with_the_result_of_one_device(name, workers, one_device):
    expected = one_device["less_work"][name]
    assert len(expected["losses"]) > 8
    found = [worker["less_work"][name] for _, worker in workers if name in worker["less_work"]]
    assert len(found) == (1 if name == "pretrained" else 2), "of a pretraining the chief alone has a result"
    for arrays in found:
        for key, value in arrays.items():
            if not re.search(r"key[/.]bias$", key):  # softmax cancels it: its gradient is rounding
                largest = max(np.abs(expected[key]).max(), 1e-3)
                np.testing.assert_allclose(value, expected[key], rtol=0, atol=1e-4 * largest, err_msg=key)


def moved(arrays):
    """The variables that a training has changed."""
    paths = [key.removeprefix("before/") for key in arrays if key.startswith("before/")]
    return {path for path in paths if not np.array_equal(arrays[f"before/{path}"], arrays[f"weights/{path}"])}


@pytest.mark.slow
@of_two_workers
def test_workers_share_packed_rows_and_move_only_what_is_not_frozen(workers):
    for _, worker in workers:
        packed = worker["less_work"]["packed"]
        assert packed["texts_in_a_row"].min() > 1
        assert {path.split("/")[0] for path in moved(packed)} == {"block_1", "head"}


@pytest.mark.slow
@of_two_workers
def test_workers_keep_averages_of_the_weights(workers):
    packed = workers[0][1]["less_work"]["packed"]
    for path in moved(packed):
        assert not np.array_equal(packed[f"weights/{path}"], packed[f"stepped/{path}"]), path
    np.testing.assert_array_equal(packed["weights/embeddings/tokens/table"], packed["stepped/embeddings/tokens/table"])


@pytest.mark.slow
@of_two_workers
def test_workers_train_adapters_on_texts_that_are_cut_at_first(workers):
    for _, worker in workers:
        adapted = worker["less_work"]["adapted"]
        assert {"lora" if "lora" in path else path.split("/")[0] for path in moved(adapted)} == {"lora", "head"}
        whole, total = adapted["whole_lengths"], len(adapted["losses"])
        lengths, ends = zip(*less_work_run.STAGES, (max(whole), 1.0), strict=True)
        limits = np.repeat(lengths, np.diff([0, *(round(end * total) for end in ends)]))
        np.testing.assert_array_equal(adapted["lengths"], np.minimum(whole, limits))
        assert (adapted["lengths"] < whole).mean() > 0.4


@pytest.mark.slow
@of_two_workers
def test_workers_learn_from_text_without_labels(workers):
    pretrained = workers[0][1]["less_work"]["pretrained"]
    assert pretrained["losses"][-3:].mean() < pretrained["losses"][:3].mean() - 0.1


@pytest.mark.slow
def test_nobody_waits_for_the_tuner_of_an_input_pipeline(workers):
    assert [found["autotuned"] for found, _ in workers] == [False] * len(workers)


def test_every_row_is_seen_once_in_its_order(workers):
    parts = [found["seen"] for found, _ in workers]
    assert [found["index"] for found, _ in workers] == list(range(len(workers)))
    ids = np.split(np.arange(sum(workers_run.SIZES)), np.cumsum(workers_run.SIZES)[:-1])
    for i, expected in enumerate(ids):
        assert [row for part in parts for row in part[i]] == expected.tolist()
        sizes = [len(part[i]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    assert any(not share for part in parts for share in part), "a worker must have had nothing to do"


@pytest.mark.slow
def test_workers_drop_different_values(workers):
    masks = np.array([found["dropped"] for found, _ in workers])
    for first, second in itertools.combinations(range(len(masks)), 2):
        for call in range(2):
            assert_independent(masks[first, call], masks[second, call])


@pytest.mark.slow
def test_workers_tell_each_other(workers):
    for found, _ in workers:
        assert found["size"] == len(workers)
        assert found["bytes_arrive"]
        assert found["nothing_arrives"]
        assert found["any"] == [False, True]
        assert found["differs"].startswith("All workers must have the same thing. Received: ")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("data") / "reviews.csv")


def start(*arguments, config=None):
    """A process of train_main.py."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, str(ROOT / "train_main.py"), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """What a process said; it must end well."""
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return said


def curve(folder):
    """The losses of all steps and the validation losses."""
    state = RunFolder(folder).checkpoints.load_latest().state
    return state["steps"]["loss"], state["epochs"]["val_loss"]


@pytest.fixture(scope="module")
def alone(reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    finish(start(*EXACT, f"--data={reviews}", f"--run_dir={folder}"))
    return folder


def local(reviews, folder, *arguments):
    return start(
        *EXACT,
        f"--data={reviews}",
        f"--run_dir={folder}",
        "--strategy=multi_worker",
        "--local_workers=2",
        "--log_seconds=0",
        *arguments,
    )


@pytest.mark.slow
def test_one_command_trains_on_two_local_workers_as_one_process_does(alone, reviews, tmp_path):
    folder = tmp_path / "two"
    said = finish(local(reviews, folder))
    for ours, theirs in zip(curve(folder), curve(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    files = lambda path: {p.relative_to(path).as_posix() for p in path.rglob("*") if "tfevents" not in p.name}  # noqa: E731
    assert files(folder) == files(alone)
    assert len(list(folder.rglob("*tfevents*"))) == len(list(alone.rglob("*tfevents*")))
    metrics = [json.loads((path / "metrics.json").read_text())["test"]["model"] for path in (folder, alone)]
    assert metrics[0]["accuracy"] == metrics[1]["accuracy"]
    process = json.loads((folder / "run.json").read_text())["processes"][-1]
    assert (process["strategy"], process["workers"], process["replicas"]) == ("multi_worker", 2, 2)
    # The chief alone draws the progress; what the other says bears its name.
    assert len(re.findall(r"^epoch \d", said, re.MULTILINE)) == STEPS
    assert re.search(r"^\[worker 1\] .*worker 1 has done its share", said, re.MULTILINE)
    assert all(line.startswith(("[", "epoch ")) for line in said.splitlines()), said


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def child(process, index):
    """The process of a worker that a command started."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in map(int, children):
        environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"KERAS_TRANSFORMER_LOCAL_WORKER={index}".encode() in environment:
            return pid
    raise AssertionError("no such worker")


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "step"), [(1, 3), (0, 11)])
def test_a_killed_worker_comes_back_and_the_training_ends_as_if_nothing_had_been(
    victim, step, alone, reviews, tmp_path
):
    folder = tmp_path / "killed"
    process = local(reviews, folder, "--checkpoint_steps=1")
    wait_for(lambda: any(s >= step for s in RunFolder(folder).checkpoints.steps()), process)
    os.kill(child(process, victim), signal.SIGKILL)
    said = finish(process)
    assert "a worker was killed (SIGKILL); all start again, 1 of 3" in said
    assert re.search(r"going on from the checkpoint of step \d+ of 24", said)
    for ours, theirs in zip(curve(folder), curve(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_an_interrupted_run_of_two_workers_goes_on_in_one_process(alone, reviews, tmp_path):
    folder = tmp_path / "interrupted"
    process = local(reviews, folder)
    wait_for(lambda: (folder / "logs" / "train").is_dir() and RunFolder(folder).checkpoints.steps(), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert 8 <= RunFolder(folder).checkpoints.steps()[-1] < STEPS
    finish(start(*EXACT, f"--data={reviews}", f"--run_dir={folder}"))
    for ours, theirs in zip(curve(folder), curve(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_all_workers_and_keeps_the_last_good_checkpoint(tmp_path):
    words = random.Random(0)
    rows = [(" ".join(words.choices("a good bad film plot".split(), k=9)), words.random()) for _ in range(200)]
    rows[60] = (rows[60][0], 1e30)  # its square is infinite in float32
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    regression = ("--set=model.kind=regression", "--set=train.label_smoothing=0", "--checkpoint_steps=1")
    folder = tmp_path / "run"
    process = local(tmp_path / "reviews.csv", folder, *regression)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    errors = re.findall(r"error: FloatingPointError: The loss is not finite at step (\d+): .* Received: inf", said)
    assert [len(errors), len(set(errors))] == [2, 1], said
    assert "all start again" not in said
    store = RunFolder(folder).checkpoints
    assert store.steps()[-1] == int(errors[0]) - 1
    assert all(np.isfinite(tensor).all() for tensor in store.load_latest().tensors.values())


def two_tasks():
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    return [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(2)]


def test_a_worker_that_never_comes_is_one_line(reviews, tmp_path):
    config = two_tasks()[0]
    process = start(
        *EXACT, f"--data={reviews}", f"--run_dir={tmp_path / 'x'}", "--strategy=multi_worker", "--wait=1", config=config
    )
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.splitlines()[-1] == (
        "error: Not all workers came within 1 s. Received: nothing from worker 1 "
        f"({config['cluster']['worker'][1]}) (--debug shows the traceback)"
    )
    assert not (tmp_path / "x").exists()


def test_workers_with_other_recipes_are_told_in_what_they_differ(reviews, tmp_path):
    processes = [
        start(
            *EXACT,
            f"--data={reviews}",
            f"--run_dir={tmp_path / 'x'}",
            "--strategy=multi_worker",
            f"--epochs={3 - i}",
            config=config,
        )
        for i, config in enumerate(two_tasks())
    ]
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 1
        assert "differs from the chief: recipe.train.epochs is 2, not 3 (--debug" in said.splitlines()[-1]
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_workers_with_other_data_are_refused(reviews, tmp_path):
    other = tmp_path / "reviews.csv"
    rows = list(csv.reader(reviews.open()))
    rows[5][0] += " indeed"
    csv.writer(other.open("w", newline="")).writerows(rows)
    own = tmp_path / "own" / "reviews.csv"
    own.parent.mkdir()
    own.write_bytes(reviews.read_bytes())
    # The same recipe, found in another folder.
    flags = [*EXACT, "--data=reviews.csv", f"--run_dir={tmp_path / 'x'}", "--strategy=multi_worker"]
    processes = []
    for config, folder in zip(two_tasks(), (tmp_path, own.parent), strict=True):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(config)}
        command = [sys.executable, str(ROOT / "train_main.py"), *flags]
        processes.append(subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert any("error: All workers must have the same data. Received: " in text for text in said)


def test_local_workers_need_the_strategy():
    process = start("--local_workers=2")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said == (
        "error: --local_workers needs --strategy=multi_worker. Received: --strategy=one_device "
        "(--debug shows the traceback)\n"
    )
