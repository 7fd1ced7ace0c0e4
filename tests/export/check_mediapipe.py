"""MediaPipe's own TextClassifier and TextEmbedder answer like the interpreter; run by `make test-mediapipe`.

MEDIAPIPE_PYTHON names the Python of an environment that has MediaPipe. This file is not collected with the other tests,
because theirs has not.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

from keras_transformer.export import runners
from keras_transformer.export.checks import token_batch
from keras_transformer.export.mediapipe_tokens import mediapipe_ids

CLIENT = pathlib.Path(__file__).with_name("mediapipe_client.py")
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

    reviews = data.load("imdb:package").test_raw.texts
    longest = sorted(reviews, key=len)[-REVIEWS // 10 :]
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
    return [*reviews[: REVIEWS - len(longest)], *longest, *hard]


def answers_of(folder, texts, tmp_path, ending="", embed=True):
    """What MediaPipe answers."""
    path = folder / "mediapipe"
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    files = [path / f"classifier{ending}.tflite", path / f"embedder{ending}.tflite" if embed else "-"]
    command = [os.environ["MEDIAPIPE_PYTHON"], str(CLIENT), *files, tmp_path / "texts.json", tmp_path / "answers.json"]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert set(answers["heads"]) == {"probabilities"}
    assert {tuple(sorted(row)) for row in answers["scores"]} == {("negative", "positive")}
    scores = np.array([[row["negative"], row["positive"]] for row in answers["scores"]])
    return scores, np.array(answers["embeddings"])


def interpreted(folder, pipeline, texts, file):
    """What the interpreter gives for the ids that MediaPipe makes."""
    run = runners.open_tflite(folder / "mediapipe" / file)[1]
    vocabulary = {token: i for i, token in enumerate(pipeline.packer.tokenizer.vocabulary)}
    rows = [mediapipe_ids(text, vocabulary, LENGTH) for text in texts]
    outputs = [run(**token_batch([row], len(row))) for row in rows]
    return np.concatenate([next(iter(output.values())) for output in outputs])


def test_mediapipe_answers_like_the_interpreter_and_the_saved_model(folder, pipeline, texts, tmp_path):
    scores, embeddings = answers_of(folder, texts, tmp_path)
    # A null byte ends a text for MediaPipe, whose interface is that of C.
    seen = [text.split("\x00")[0] for text in texts]
    assert np.ptp(scores[:, 1]) > 0.5
    np.testing.assert_allclose(scores, interpreted(folder, pipeline, seen, "classifier.tflite"), atol=1e-5)
    expected = interpreted(folder, pipeline, seen, "embedder.tflite")
    np.testing.assert_allclose(embeddings, expected, atol=1e-5 * np.abs(expected).max())

    serve = runners.open_saved_model(folder / "saved_model" / "1")["serving_default"]
    served = np.concatenate([serve(text=seen[i : i + 32])["probabilities"] for i in range(0, len(seen), 32)])
    # Special tokens that are written in a text are single tokens for us, and words and brackets for MediaPipe.
    alike = np.array([text.isascii() and "[MASK]" not in text for text in seen])
    assert alike.sum() > 0.7 * REVIEWS
    np.testing.assert_allclose(scores[alike], served[alike], atol=1e-4)
    differences = np.abs(scores - served)[~alike]
    flips = ((scores > 0.5) != (served > 0.5)).any(axis=1)[~alike].sum()
    print(f"{(~alike).sum()} texts beyond ASCII: largest difference {differences.max():.4f}, {flips} other labels")


def test_mediapipe_runs_files_of_few_bits(folder, pipeline, texts, tmp_path):
    few = texts[::10]
    scores, _ = answers_of(folder, few, tmp_path, "_int4", embed=False)
    seen = [text.split("\x00")[0] for text in few]
    np.testing.assert_allclose(scores, interpreted(folder, pipeline, seen, "classifier_int4.tflite"), atol=1e-5)
