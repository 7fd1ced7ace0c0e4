"""A tiny pipeline with weights large enough to matter, and its export, made once."""

import dataclasses
import json
import pathlib

import pytest

WORDS = ["the", "film", "was", "good", "bad", "not", "it", "a", "great", "and", "##ed", "##ly", "story", "actor"]
LETTERS = [*"bcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), *".,!?"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS]
TEXTS = [
    "The film was good!",
    "It was not a good story, and the actors were bad.",
    "café, naïve: 很好 😀",
    "great " * 60,
    "the film was bad. " * 30,
    "a",
]


def make_pipeline(kind="single_label", class_names=("negative", "positive"), truncation="head", **options):
    """An untrained pipeline of two layers and 24 tokens."""
    import keras

    from keras_transformer.layers import AttentionConfig, FeedForwardConfig
    from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
    from keras_transformer.pipelines import TextPipeline
    from keras_transformer.text import TextPacker, WordPieceTokenizer

    keras.utils.set_random_seed(1)
    config = EncoderConfig(
        vocabulary_size=len(VOCABULARY),
        hidden_dim=16,
        num_layers=2,
        max_length=24,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=32),
        initializer_range=0.5,
    )
    encoder = TransformerEncoder(config, dtype=options.pop("dtype", None))
    model = TextClassifier(encoder, num_outputs=len(class_names), kind=kind)
    # The head starts at zero or near it: make the answers differ.
    model.head.kernel.assign(keras.random.normal(model.head.kernel.shape, seed=3))
    packer = TextPacker(WordPieceTokenizer(VOCABULARY), max_length=24, truncation=truncation)
    pipeline = TextPipeline(model, packer, class_names, **options)
    pipeline.check_texts = [*pipeline.check_texts, *TEXTS]
    return pipeline


@dataclasses.dataclass(frozen=True)
class Exported:
    """A pipeline and the folder of its export."""

    pipeline: object
    folder: pathlib.Path

    @property
    def saved_model(self) -> pathlib.Path:
        return self.folder / "saved_model" / "1"

    @property
    def text(self) -> pathlib.Path:
        return self.folder / "tflite" / "text.tflite"

    @property
    def tokens(self) -> pathlib.Path:
        return self.folder / "tflite" / "tokens.tflite"

    @property
    def report(self) -> dict:
        return json.loads((self.folder / "report.json").read_text())


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """All three artefacts of a tiny pipeline with a temperature."""
    from keras_transformer.export import export_pipeline

    pipeline = make_pipeline(temperature=1.5)
    folder = tmp_path_factory.mktemp("exported") / "export"
    export_pipeline(pipeline, folder)
    return Exported(pipeline, folder)
