"""Classifiers over RoBERTa and ALBERT: fine-tuned, saved, loaded, exported, trained from the command line's recipe."""

import csv
import json
import logging

import numpy as np
import pytest

import keras_transformer
from keras_transformer.export import export_pipeline, runners
from keras_transformer.export.__main__ import main
from keras_transformer.text import ByteLevelBPETokenizer, SentencePieceTokenizer
from keras_transformer.training import Recipe, run
from tests.pipelines.small_generators import write_tokenizer
from tests.pretrained import small_models

KINDS = {"roberta": (300, ByteLevelBPETokenizer), "albert": (350, SentencePieceTokenizer)}
TEXTS = ["a great film!", "an awful film.", "great fun, really (great)", "it was awful"] * 6
LABELS = ["good", "bad"] * 12


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """The folder, and a pipeline that was fine-tuned from it."""
    rows, tokenizer = KINDS[request.param]
    folder = write_tokenizer(request.param, tmp_path_factory.mktemp(request.param) / "init")
    small_models.write(request.param, folder, vocab_size=rows, scale=0.05)
    pipeline = keras_transformer.fine_tune(
        TEXTS,
        LABELS,
        init=folder,
        epochs=20,
        learning_rate=5e-3,
        tokens_per_batch=64,
        verbose=0,
        validation_fraction=0.25,
    )
    assert isinstance(pipeline.packer.tokenizer, tokenizer)
    return folder, pipeline


def test_it_learns_and_is_saved_and_loaded(trained, tmp_path):
    _, pipeline = trained
    answers = [answer["label"] for answer in pipeline.predict(TEXTS)]
    # A random ALBERT, whose layers share one block, does not learn in so few steps: its files are what is tested here.
    assert answers == LABELS or isinstance(pipeline.packer.tokenizer, SentencePieceTokenizer)
    pipeline.save(tmp_path / "model")
    again = keras_transformer.load(tmp_path / "model")
    assert again.packer.get_config() == pipeline.packer.get_config()
    hard = ["café 很好 😀 <mask> [MASK]", "", "x" * 300]
    np.testing.assert_allclose(again.logits(hard), pipeline.logits(hard), atol=1e-6)


def test_it_is_exported_and_the_report_says_what_tflite_cannot_do(trained, tmp_path, caplog):
    _, pipeline = trained
    with caplog.at_level(logging.WARNING):
        report = export_pipeline(pipeline, tmp_path / "export")
    assert report["written"] == ["saved_model/1", "tflite/tokens.tflite"]
    (refused,) = report["refused"]
    assert refused["format"] == "tflite_text"
    name = type(pipeline.packer.tokenizer).__name__
    assert refused["reason"].endswith(f"Send token ids (a {name} makes them before).")
    assert refused["reason"] in caplog.text
    assert all(max(entry["max_difference"].values()) < 1e-4 for entry in report["artefacts"])
    serve = runners.open_saved_model(tmp_path / "export" / "saved_model" / "1")["serving_default"]
    texts = [*TEXTS[:4], "café 很好 😀", b"a \xff film"]
    expected = pipeline.probabilities(texts)
    np.testing.assert_allclose(serve(text=texts)["probabilities"], expected, atol=1e-5)
    # The tokenizer that makes the ids lies beside the file.
    packer = keras_transformer.text.TextPacker.load(tmp_path / "export" / "tflite")
    assert packer.tokens(TEXTS[:2]).to_list() == pipeline.packer.tokens(TEXTS[:2]).to_list()
    with pytest.raises(ValueError, match=r"No \.tflite that takes text can be written: .*without Flex"):
        export_pipeline(pipeline, tmp_path / "other", formats=["tflite_text"])
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_the_command_exports_it(trained, tmp_path, capsys):
    _, pipeline = trained
    pipeline.save(tmp_path / "run" / "model")
    assert main([f"--run={tmp_path / 'run'}", "--formats=saved_model"]) == 0
    assert "verified on 10 texts" in capsys.readouterr().out


@pytest.mark.slow
def test_a_recipe_trains_it(trained, tmp_path):
    folder, _ = trained
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(
            (f"{text} {i}", label) for i, (text, label) in enumerate(zip(TEXTS * 3, LABELS * 3, strict=True))
        )
    recipe = Recipe().override(
        f"model.init={folder}",
        f"data.source={tmp_path / 'reviews.csv'}",
        "data.max_length=24",
        "data.bucket_lengths=12,24",
        "train.tokens_per_batch=480",
        "train.epochs=1",
        "judge.attribution_steps=4",
        "judge.deletion_texts=2",
        "judge.worst_mistakes=2",
    )
    metrics = run(recipe, tmp_path / "run")
    assert 0 <= metrics["test"]["model"]["accuracy"] <= 1
    answer = keras_transformer.load(tmp_path / "run").predict(["a great film"])[0]
    assert set(answer["probabilities"]) == {"bad", "good"}
    assert json.loads((tmp_path / "run" / "report.json").read_text())["faithfulness"]
