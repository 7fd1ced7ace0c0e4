"""A tiny vocabulary, a random model and one that has learned which words decide."""

import functools

import keras
import numpy as np
import pytest

from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.text import TextPacker, WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz" for prefix in ("", "##")]
PLAIN = ["film", "plot", "cast", "music", "story", "actor", "scene", "ending", "the", "was"]
VOCABULARY = [*SPECIAL, *LETTERS, ".", ",", "'", "!", "<", ">", "/", "中", "国", *PLAIN, "good", "bad", "##ly"]


@pytest.fixture(scope="session")
def make_packer():
    tokenizer = WordPieceTokenizer(VOCABULARY)
    return lambda **options: TextPacker(tokenizer, **{"max_length": 32, **options})


@pytest.fixture(scope="session")
def make_model():
    @functools.cache  # a model traces its graphs once
    def make(num_outputs=2, seed=0, vocabulary_size=None, **options):
        keras.utils.set_random_seed(seed)
        config = EncoderConfig(
            vocabulary_size=vocabulary_size or len(VOCABULARY),
            hidden_dim=8,
            num_layers=2,
            max_length=64,
            dropout=0.1,
            attention=AttentionConfig(num_heads=2),
            feed_forward=FeedForwardConfig(intermediate_dim=12),
            initializer_range=0.2,
        )
        return TextClassifier(TransformerEncoder(config), num_outputs, **options)

    return make


@pytest.fixture(scope="session")
def reviews():
    """Texts of plain words with three signs among them; the majority of the signs is the label."""
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for _ in range(400):
        signs = rng.integers(0, 2, 3)
        words = [*rng.choice(PLAIN, 14), *(["bad", "good"][sign] for sign in signs)]
        texts.append(" ".join(rng.permutation(words)))
        labels.append(int(signs.sum() > 1))
    return texts, np.array(labels)


@pytest.fixture(scope="session")
def trained(make_model, make_packer, reviews):
    model, packer = make_model(seed=1), make_packer()
    model.default_compile(learning_rate=5e-3)
    texts, labels = reviews
    inputs = {name: value.numpy() for name, value in packer(texts, length=20).items()}
    model.fit(inputs, labels, batch_size=50, epochs=10, verbose=0)
    decided = model.predict(inputs, verbose=0)["logits"].argmax(1)
    assert (decided == labels).mean() > 0.97
    return model
