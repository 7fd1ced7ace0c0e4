"""Our encoder computes what keras-nlp's BertBackbone computes from the same preset."""

import logging

import h5py
import keras
import numpy as np
import pytest

from keras_transformer import pretrained

TOLERANCE = 1e-4


def backbone_states(backbone, inputs):
    """The embeddings and the output of every block."""
    names = ["embeddings_dropout", *(f"transformer_layer_{i}" for i in range(backbone.num_layers))]
    model = keras.Model(backbone.inputs, [backbone.get_layer(name).output for name in names])
    return [np.array(state) for state in model(inputs)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_heads": 7, "hidden_dim": 63},
        {"num_heads": 1, "num_layers": 1, "num_segments": 3},
    ],
    ids=str,
)
def test_every_size(fields, write_backbone, make_inputs, assert_same_states):
    folder, backbone = write_backbone(**fields)
    inputs = make_inputs(num_segments=fields.get("num_segments", 2))
    encoder = pretrained.load_encoder(folder)
    assert_same_states(encoder, inputs, backbone_states(backbone, inputs))
    difference = np.array(encoder(inputs)["pooled_output"]) - np.array(backbone(inputs)["pooled_output"])
    assert np.abs(difference).max() <= TOLERANCE


def test_minilm_on_padded_reviews(minilm, review_inputs, assert_same_states, tmp_path):
    """keras-nlp reads the MiniLM weights itself, and writes the preset that we read."""
    import keras_hub

    backbone = keras_hub.models.BertBackbone.from_preset(str(minilm))
    backbone.save_to_preset(tmp_path / "preset")
    encoder = pretrained.load_encoder(tmp_path / "preset")
    assert_same_states(encoder, review_inputs, backbone_states(backbone, review_inputs))
    # keras-nlp computes every BERT with the tanh form of gelu; from the original folder we use the exact one.
    assert encoder.config.feed_forward.activation == "gelu_tanh"
    exact = pretrained.load_encoder(minilm)
    assert exact.config.feed_forward.activation == "gelu"
    for ours, theirs in zip(encoder.weights, exact.weights, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))


def test_bfloat16_preset(write_backbone):
    folder, backbone = write_backbone(dtype="bfloat16")
    encoder = pretrained.load_encoder(folder)
    table = np.array(backbone.get_layer("token_embedding").embeddings).astype("float32")
    np.testing.assert_array_equal(np.array(encoder.embeddings.tokens.table), table)


def test_file_of_early_keras_3(write_backbone, make_inputs, assert_same_states):
    """No layer names, `_query_dense` for `query_dense`, and states of random generators between the weights."""
    folder, backbone = write_backbone(num_layers=11, hidden_dim=16)
    inputs = make_inputs()
    expected = backbone_states(backbone, inputs)
    assert_same_states(pretrained.load_encoder(folder), inputs, expected)

    def age(name, node):
        if "name" in node.attrs:
            del node.attrs["name"]

    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file.visititems(age)
        for group in file["layers"].values():
            if "_self_attention_layer" in group:
                attention = group["_self_attention_layer"]
                for part in ("query", "key", "value", "output"):
                    attention.move(f"{part}_dense", f"_{part}_dense")
                attention["_dropout_layer/seed_generator/vars/0"] = np.zeros(2, "uint32")
    assert_same_states(pretrained.load_encoder(folder), inputs, expected)


@pytest.fixture
def write_classifier(write_backbone):
    import keras_hub

    def write(num_classes=3, **arguments):
        def task(backbone):
            return keras_hub.models.BertTextClassifier(
                backbone, num_classes=num_classes, preprocessor=None, **arguments
            )

        return write_backbone(task)

    return write


def test_classifier_preset(write_classifier, make_inputs):
    folder, classifier = write_classifier(dropout=0.2)
    inputs = make_inputs()
    expected = np.array(classifier(inputs))
    model = pretrained.load_classifier(folder)
    assert (model.kind, model.pooling, model.num_outputs, model.dropout) == ("single_label", "first", 3, 0.2)
    assert np.abs(np.array(model(inputs)["logits"]) - expected).max() <= TOLERANCE
    assert expected.std() > 0.05


def test_encoder_of_a_classifier_preset_says_that_the_head_was_left(
    write_classifier, make_inputs, assert_same_states, caplog
):
    folder, classifier = write_classifier()
    with caplog.at_level(logging.INFO, logger="keras_transformer"):
        encoder = pretrained.load_encoder(folder, pooler=False)
    assert "task.weights.h5" in caplog.text
    assert "pooled_dense/0" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    inputs = make_inputs()
    assert_same_states(encoder, inputs, backbone_states(classifier.backbone, inputs))


def test_one_output_needs_a_kind(write_classifier, make_inputs):
    folder, classifier = write_classifier(num_classes=1)
    with pytest.raises(ValueError, match="pass kind='regression' or kind='multi_label'"):
        pretrained.load_classifier(folder)
    inputs = make_inputs()
    logits = np.array(pretrained.load_classifier(folder, kind="multi_label")(inputs)["logits"])
    assert np.abs(logits - np.array(classifier(inputs))).max() <= TOLERANCE


def test_a_classifier_that_answers_probabilities_is_refused(write_classifier):
    folder, _ = write_classifier(activation="softmax")
    with pytest.raises(ValueError, match="activation"):
        pretrained.load_classifier(folder)
