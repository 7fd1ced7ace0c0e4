"""Fine-tuning on rows of several short texts is fine-tuning on the same texts, one a row."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transformer
from keras_transformer import TextPipeline, data
from keras_transformer.models import TextClassifier, TransformerEncoder
from keras_transformer.text import TextPacker, WordPieceTokenizer, train_wordpiece
from tests.pipelines.test_text_pipeline import CONFIG, FIT, reviews

LENGTH = 32
# All texts in one batch, packed or not: which of them share a step is then the same.
AT_ONCE = {"epochs": 4, "learning_rate": 5e-3, "tokens_per_batch": 200 * LENGTH, "verbose": 0}


class Seen(keras.callbacks.Callback):
    """Keeps what every epoch says, and its number of steps."""

    def __init__(self):
        super().__init__()
        self.epochs, self.steps = [], 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))
        self.steps = self.params["steps"]


def new_pipeline(splits, pooling="mean", max_length=LENGTH, truncation="head"):
    """The same weights every time, and no dropout."""
    keras.utils.set_random_seed(0)
    tokenizer = WordPieceTokenizer(train_wordpiece(splits.train.texts, vocabulary_size=CONFIG.vocabulary_size))
    config = dataclasses.replace(CONFIG, vocabulary_size=tokenizer.vocabulary_size)
    packer = TextPacker(tokenizer, max_length=max_length, truncation=truncation)
    outputs = len(splits.class_names)
    model = TextClassifier(TransformerEncoder(config), outputs, kind=splits.kind, pooling=pooling, dropout=0.0)
    return TextPipeline(model, packer, splits.class_names)


def labels_of(kind, labels):
    """Labels of a kind that say the same."""
    if kind == "multi_label":
        return [[label, "film"] if i % 3 else [label] for i, label in enumerate(labels)]
    return [float(label == "good") for label in labels] if kind == "regression" else labels


@pytest.fixture
def eagerly():
    """Compiling takes most of the time of so few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.filterwarnings("ignore:Even though the")
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("kind", "of_model", "of_fit"),
    [
        ("single_label", {}, {"class_weights": {"good": 3.0}, "label_smoothing": 0.1}),
        ("multi_label", {"pooling": "first"}, {"layer_decay": 0.9}),
        ("regression", {"truncation": "windows", "max_length": 12}, {}),
    ],
    ids=["weighted", "first-token", "windows"],
)
def test_packed_texts_train_as_they_do_alone(kind, of_model, of_fit):
    texts, labels = reviews(100)
    splits = data.from_arrays(texts, labels_of(kind, labels), kind=kind, validation_fraction=0.1)
    logits, said = [], []
    for packing in (False, True):
        seen = Seen()
        pipeline = new_pipeline(splits, **of_model)
        before = pipeline.logits(texts)
        pipeline.fit(splits.train, splits.validation, packing=packing, callbacks=[seen], **AT_ONCE, **of_fit)
        logits.append(pipeline.logits(texts))
        said.append(seen.epochs)
        assert seen.steps == 1
    assert np.abs(logits[0] - before).max() > 0.1, "the comparison needs weights that move"
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)
    for alone, packed in zip(*said, strict=True):
        assert set(packed) == set(alone) > {"loss", "val_loss"}
        for name, value in alone.items():
            assert packed[name] == pytest.approx(value, abs=1e-4), name


def test_short_texts_share_rows_and_what_was_learned_is_saved(tmp_path):
    texts, labels = reviews(400)
    seen, options = Seen(), FIT | {"epochs": 8, "validation_fraction": 0, "packing": True}
    pipeline = keras_transformer.fine_tune(texts, labels, callbacks=[seen], **options)
    rows = data.encode(pipeline.packer, texts)
    plan = data.PackedPlan(rows.lengths, LENGTH, FIT["tokens_per_batch"])
    assert seen.steps == plan.steps_per_epoch
    assert plan.fill_rate() > rows.lengths.mean() / LENGTH + 0.1, "rows must be shared"
    unseen, known = reviews(100, seed=1)
    assert pipeline.evaluate(unseen, known)["accuracy"] > 0.95
    assert type(pipeline.model) is TextClassifier
    pipeline.save(tmp_path / "model")
    np.testing.assert_array_equal(keras_transformer.load(tmp_path / "model").logits(unseen), pipeline.logits(unseen))


def test_a_model_of_one_text_a_row_is_refused(monkeypatch):
    texts, labels = reviews(20)
    monkeypatch.delattr(TextClassifier, "packed")
    with pytest.raises(ValueError, match=r"packing=True needs .* Use packing=False. Received: TextClassifier") as error:
        keras_transformer.fine_tune(texts, labels, **FIT, packing=True)
    assert "\n" not in str(error.value)
