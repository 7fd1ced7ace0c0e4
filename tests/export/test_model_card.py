"""The model card says what the report says."""

import pytest

from keras_transformer.export.model_card import card_of
from keras_transformer.export.signatures import Contract

ENTRY = {"path": "tflite/tokens_int8.tflite", "precision": "int8", "bytes": 22_840_000, "checks": 64}
ENTRY |= {"max_difference": {"serving_default": 0.21}}
REPORT = {"artefacts": [ENTRY], "versions": {"tensorflow": "2.21.0", "keras": "3.15.1"}}


def test_the_card_of_an_export_names_every_file(exported):
    text = (exported.folder / "MODEL_CARD.md").read_text()
    assert "one of 2 labels" in text
    assert "`negative`, `positive`" in text
    assert "logits are divided by 1.5" in text
    assert "at most 24 tokens and keeps the beginning of a longer text" in text
    for entry in exported.report["artefacts"]:
        size = f"{entry['bytes'] / 1e6:.1f} MB"
        assert f"| `{entry['path']}` | float32 | {size} | {entry['checks']} |" in text
    assert text.count("not measured") == len(exported.report["artefacts"])


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({"texts": 5000, "score": 0.9104, "keras_score": 0.9110, "lost": 0.06}, "91.04% (Keras 91.10%, 5,000 texts)"),
        ({"texts": 50, "score": 0.5, "keras_score": 0.4, "lost": None}, "RMSE 0.5 (Keras 0.4, 50 texts)"),
    ],
)
def test_accuracy_is_shown_beside_that_of_keras(found, shown):
    report = REPORT | {"artefacts": [ENTRY | {"held_out": found}]}
    row = card_of(report, Contract("single_label", ("a", "b")), "WordPieceTokenizer").splitlines()[-3]
    assert row == f"| `tflite/tokens_int8.tflite` | int8 | 22.8 MB | 64 | 2.1e-01 | {shown} |"


def test_thresholds_and_values_are_told():
    many = Contract("multi_label", ("a", "b"), threshold=(0.25, 0.5), truncation="windows")
    text = card_of(REPORT, many, "WordPieceTokenizer")
    assert "from a probability of 0.25, 0.5 (one for each label)" in text
    assert "averages their logits" in text
    assert "0.5; logits" in card_of(REPORT, Contract("multi_label", ("a", "b")), "WordPieceTokenizer")
    assert "Text regression: 1 value(s)" in card_of(REPORT, Contract("regression", ("stars",)), "WordPieceTokenizer")
