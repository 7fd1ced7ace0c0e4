"""`python -m keras_transformer.plan`."""

import json

import pytest

from keras_transformer import plan
from keras_transformer.plan.__main__ import main

CARD = {"name": "card", "float32_flops": 1e12, "bfloat16_flops": 4e12, "memory_bandwidth": 1e11, "memory": 10**10}


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "card.json"
    path.write_text(json.dumps(CARD))
    return f"--machine={path}"


def run(capsys, *arguments):
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_table_and_the_file_say_the_same(card, tmp_path, capsys):
    path = tmp_path / "plan.json"
    arguments = ("--model=minilm", "--batch=16", "--length=128", "--examples=1000", "--epochs=2", "--price=0.5")
    code, out, err = run(capsys, card, *arguments, f"--json={path}")
    assert (code, err) == (0, "")
    values = json.loads(path.read_text())
    assert values["total_parameters"] == 22_566_146
    assert "22,566,146" in out
    assert values["tokens"] == 2 * 1000 * 128
    assert values["steps"] == 125
    assert values["cost"] == pytest.approx(125 * values["time"]["total"] / 3600 * 0.5)
    assert f"{values['memory_kept']['total'] / 1e6:,.0f}" in out
    assert f"{values['memory_recomputed']['total'] / 1e6:,.0f}" in out
    assert "Compute-optimal" in out
    again = plan.training(plan.find("minilm"), 16, 128, plan.load(card.split("=")[1]), tokens=256_000)
    assert values["time"]["total"] == pytest.approx(again.time.total)


def test_sizes_by_flags(card, capsys):
    sizes = ("--hidden_dim=256", "--num_layers=3", "--num_heads=4", "--vocabulary_size=9000", "--max_length=64")
    code, out, _ = run(capsys, card, "--kind=decoder", *sizes, "--tokens_per_step=700", "--length=64")
    assert code == 0
    layers = 12 * 256 * 256 + 13 * 256
    assert f"{9000 * 256 + 64 * 256 + 3 * layers + 2 * 256:,}" in out, "inner layer of 1024, as always four times"
    assert "10 x 64 tokens" in out


def test_a_folder_of_hugging_face(card, tmp_path, capsys):
    values = {"model_type": "bert", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    values |= {"intermediate_size": 512, "vocab_size": 1000}
    (tmp_path / "config.json").write_text(json.dumps(values))
    code, out, err = run(capsys, card, f"--model={tmp_path}", "--batch=2")
    assert (code, err) == (0, "")
    assert f"{(1000 + 512 + 2) * 128 + 256 + 2 * (12 * 128 * 128 + 13 * 128) + 2 * 129:,}" in out


def test_a_budget_is_spent(card, tmp_path, capsys):
    path = tmp_path / "plan.json"
    arguments = ("--model=bert-tiny", "--batch=8", "--machines=4", "--network=1", "--price=2", "--budget=16")
    code, out, _ = run(capsys, card, *arguments, f"--json={path}")
    values = json.loads(path.read_text())
    assert code == 0
    assert values["cost"] == pytest.approx(16, rel=1e-3)
    assert values["hours"] == pytest.approx(2, rel=1e-3)
    assert 0 < values["exchange_share"] < 1
    assert f"{values['exchange_share']:.1%} of its time" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model=bert-bas"], "Received: 'bert-bas'"),
        (["--model=minilm", "--kind=decoder"], "A model has its kind"),
        (["--kind=tree"], "Received: 'tree'"),
        (["--hidden_dim=100"], "num_heads must divide hidden_dim"),
        (["--hidden_dim=-8"], "must be an integer above 0"),
        (["--position=sideways"], "sideways"),
        (["--model=minilm", "--batch=0"], "batch must be an integer above 0"),
        (["--model=minilm", "--tokens_per_step=64"], "--batch or --tokens_per_step"),
        (["--model=minilm", "--length=0"], "--length must be above 0"),
        (["--model=minilm", "--length=9999"], "512 positions"),
        (["--model=minilm", "--price=-1"], "--price must be at least 0. Received: -1.0"),
        (["--model=minilm", "--network=0"], "--network must be above 0"),
        (["--model=minilm", "--machines=2"], "bandwidth of the network"),
        (["--model=minilm", "--tokens=0"], "--tokens must be above 0"),
        (["--model=minilm", "--tokens=5", "--hours=1"], "one of --tokens"),
        (["--model=minilm", "--epochs=2"], "--epochs needs --examples"),
        (["--model=minilm", "--budget=5"], "--budget needs the price"),
        (["--model=minilm", "--product_dtype=int8"], "int8"),
        (["--model=minilm", "--optimizer=lion"], "lion"),
        (["--model=minilm", "--json=/nowhere/plan.json"], "no folder for --json"),
        (["--model=minilm", "--machine=nowhere"], "nowhere"),
        (["--model=minilm", "--save_machine=other.json"], "keeps what --machine=here measures"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_one_line(arguments, words, card, capsys):
    batch = [] if any("--batch" in word for word in arguments) else ["--batch=4"]
    code, out, err = run(capsys, card, *batch, *arguments)
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_what_was_measured_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("keras_transformer.plan.calibration.calibrate", lambda: plan.Machine(**CARD))
    path = tmp_path / "measured.json"
    arguments = ("--model=bert-tiny", "--batch=2", "--price=3")
    code, measured, _ = run(capsys, *arguments, "--machine=here", f"--save_machine={path}")
    assert code == 0
    assert plan.load(path) == plan.Machine(**CARD), "price and network belong to the plan"
    assert run(capsys, *arguments, f"--machine={path}") == (0, measured, "")


def test_a_folder_without_a_config_is_refused(card, tmp_path, capsys):
    code, _, err = run(capsys, card, f"--model={tmp_path}", "--batch=2")
    assert code == 1
    assert "no config.json" in err
    (tmp_path / "config.json").write_text("{")
    code, _, err = run(capsys, card, f"--model={tmp_path}", "--batch=2")
    assert code == 1
    assert "no JSON file" in err


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as error:
        main(["--help"])
    assert error.value.code == 0
    out = capsys.readouterr().out
    for flag in ("--model", "--machine", "--save_machine", "--recompute", "--network", "--price", "--json"):
        assert flag in out
