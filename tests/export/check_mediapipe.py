"""MediaPipe's own TextClassifier and TextEmbedder answer like the interpreter; run by `make test-mediapipe`.

MEDIAPIPE_PYTHON names the Python of an environment that has MediaPipe. This file is not collected with the other tests,
because theirs has not.
"""

import os

import numpy as np
import pytest

from benchmarks import mediapipe_agreement

REVIEWS = 500
LENGTH = 128


@pytest.fixture(scope="module")
def pipeline(texts):
    """A small untrained model of the vocabulary of MiniLM, whose answers differ."""
    import keras

    from keras_transformer import pretrained
    from keras_transformer.layers import AttentionConfig, FeedForwardConfig
    from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
    from keras_transformer.pipelines import TextPipeline

    keras.utils.set_random_seed(1)
    packer = pretrained.load_packer(pretrained.resolve("minilm"), max_length=LENGTH)
    config = EncoderConfig(
        vocabulary_size=len(packer.tokenizer.vocabulary),
        hidden_dim=16,
        num_layers=1,
        max_length=LENGTH,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=32),
        initializer_range=0.5,
    )
    model = TextClassifier(TransformerEncoder(config), num_outputs=2)
    model.head.kernel.assign(keras.random.normal(model.head.kernel.shape, seed=3))
    pipeline = TextPipeline(model, packer, ("negative", "positive"), temperature=1.5)
    # Undecided on the whole, and decided on most texts.
    logits = pipeline.logits(texts[::10])
    scale = 4 / np.std(logits[:, 1] - logits[:, 0])
    model.head.kernel.assign(scale * model.head.kernel)
    model.head.bias.assign(-scale * logits.mean(axis=0))
    return pipeline


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    from keras_transformer.export import export_pipeline

    folder = tmp_path_factory.mktemp("mediapipe") / "export"
    export_pipeline(pipeline, folder, ["saved_model", "mediapipe"], precisions=["float32", "int4"])
    return folder


@pytest.fixture(scope="module")
def texts():
    """Real reviews, markup and all, every tenth as long as they come; and hard texts."""
    from keras_transformer import data

    reviews = mediapipe_agreement.longest_among(data.load("imdb:package").test_raw.texts, REVIEWS)
    hard = [
        "",
        " \t\n",
        "good",
        "x" * 100_000,
        "[MASK] film [SEP]",
        "café naïve",
        "很好 😀",
        "مرحبا",
        "a\x00b",
        "\u00a0x",
    ]
    return [*reviews, *hard]


def test_mediapipe_answers_like_the_interpreter_and_the_saved_model(folder, pipeline, texts):
    found = mediapipe_agreement.compare(os.environ["MEDIAPIPE_PYTHON"], folder, pipeline, texts)
    assert found["heads"] == ["probabilities"]
    assert found["spread"] > 0.5
    assert found["interpreter"] <= 1e-5
    assert found["embedder"] <= 1e-5
    assert found["ascii"]["texts"] > 0.7 * REVIEWS
    assert found["ascii"]["largest"] <= 1e-4
    others = found["others"]
    print(
        f"{others['texts']} others: largest difference {others['largest']:.4f}, {others['other_labels']} other labels"
    )


def test_mediapipe_runs_files_of_few_bits(folder, pipeline, texts):
    found = mediapipe_agreement.compare(os.environ["MEDIAPIPE_PYTHON"], folder, pipeline, texts[::10], "_int4")
    assert found["interpreter"] <= 1e-5
