import json

import numpy as np
import pytest

from keras_transformer.export import signatures
from keras_transformer.export.signatures import Contract

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-8.0, 30.0, 4.0]], "float32")
NAMES = ("bad", "fair", "good")


def served(contract, logits=LOGITS):
    import tensorflow as tf

    return {name: value.numpy() for name, value in contract.serve(tf.constant(logits)).items()}


def test_names_are_the_frozen_ones():
    assert signatures.INPUTS == {
        "input_word_ids": "token_ids",
        "input_mask": "padding_mask",
        "input_type_ids": "segment_ids",
    }
    assert signatures.SERVING == "serving_default"
    assert signatures.OUTPUTS["single_label"] == ("probabilities", "label", "score")
    # TF Serving would send such a name as base64.
    names = {name for outputs in signatures.OUTPUTS.values() for name in outputs}
    assert not [name for name in names if name.endswith("_bytes")]


def test_single_label_by_hand():
    outputs = served(Contract("single_label", NAMES, temperature=2.0))
    powers = np.exp(LOGITS.astype("float64") / 2)
    probabilities = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-6)
    assert outputs["label"].tolist() == [b"bad", b"good", b"fair"]
    np.testing.assert_allclose(outputs["score"], probabilities[[0, 1, 2], [0, 2, 1]], atol=1e-6)


def test_multi_label_gives_the_names_at_or_above_the_threshold():
    outputs = served(Contract("multi_label", NAMES, threshold=0.55))
    np.testing.assert_allclose(outputs["probabilities"], 1 / (1 + np.exp(-LOGITS.astype("float64"))), atol=1e-6)
    assert outputs["labels"].tolist() == [[b"bad", b"", b"good"], [b"", b"", b"good"], [b"", b"fair", b"good"]]


def test_every_label_may_have_a_threshold_of_its_own(tmp_path):
    contract = Contract("multi_label", NAMES, threshold=[0.99, 0.5, 0.0])
    probabilities = 1 / (1 + np.exp(-LOGITS.astype("float64")))
    given = [
        [name if p >= t else "" for name, p, t in zip(NAMES, row, (0.99, 0.5, 0.0), strict=True)]
        for row in probabilities
    ]
    assert [[name.decode() for name in row] for row in served(contract)["labels"]] == given
    assert contract.expected(LOGITS)["labels"].tolist() == given
    contract.save(tmp_path)
    assert Contract.load(tmp_path) == contract
    with pytest.raises(ValueError, match=r"one for each of 3 labels\. Received: \(0\.5, 0\.5\)"):
        Contract("multi_label", NAMES, threshold=[0.5, 0.5])


def test_regression_gives_the_values_whatever_the_temperature():
    outputs = served(Contract("regression", NAMES))
    assert set(outputs) == {"values"}
    np.testing.assert_array_equal(outputs["values"], LOGITS)


@pytest.mark.parametrize("kind", signatures.OUTPUTS)
def test_graph_and_reference_agree_and_every_output_has_the_batch_first(kind):
    contract = Contract(kind, NAMES, temperature=1.0 if kind == "regression" else 1.7)
    outputs, expected = served(contract), contract.expected(LOGITS)
    assert tuple(outputs) == signatures.OUTPUTS[kind]
    for name, value in outputs.items():
        assert value.shape[0] == len(LOGITS)
        if value.dtype == object:
            assert [[v.decode() for v in np.ravel(row)] for row in value] == [list(np.ravel(r)) for r in expected[name]]
        else:
            np.testing.assert_allclose(value, expected[name], atol=1e-6)


def test_undecided_marks_labels_that_a_small_difference_may_change():
    logits = [[1.0, 1.00001, -5.0], [3.0, 0.0, 0.0]]
    assert Contract("single_label", NAMES).undecided(logits, 1e-4).tolist() == [True, False]
    logits = [[0.0001, 3.0, -3.0]]
    assert Contract("multi_label", NAMES).undecided(logits, 1e-4).tolist() == [[True, False, False]]


def test_a_contract_survives_the_disk(tmp_path):
    contract = Contract("multi_label", ("naïve", "b"), 1.25, 0.3, 128, "head_tail")
    contract.save(tmp_path)
    assert Contract.load(tmp_path) == contract


@pytest.mark.parametrize("change", [{"kind": "other"}, {"surplus": 1}, {"class_names": []}, {"temperature": 0}])
def test_a_damaged_contract_is_named(tmp_path, change):
    Contract("single_label", NAMES).save(tmp_path)
    path = tmp_path / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"contract\.json is damaged"):
        Contract.load(tmp_path)


def test_a_missing_contract_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"contract\.json"):
        Contract.load(tmp_path)
