"""Real reviews and a tokenizer of them."""

import pytest

from tests.text.conftest import (  # noqa: F401
    albert_folder,
    gpt2_folder,
    llama_folder,
    minilm_folder,
    minilm_tokenizer,
    reviews,
    roberta_folder,
    t5_folder,
)


@pytest.fixture(scope="session")
def tokenizer(reviews):  # noqa: F811
    """WordPiece of 800 tokens, learned from reviews."""
    from keras_transformer.text import WordPieceTokenizer, train_wordpiece

    return WordPieceTokenizer(train_wordpiece(reviews[::100], 800))
