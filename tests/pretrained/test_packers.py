"""The packer of a pretrained folder gives the ids that the folder's own library gives."""

import json

import numpy as np
import pytest

from keras_transformer import pretrained
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.text import TextPacker, WordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "adenorst")]
WORDS += ["film", "good", "Good", "é", "élan", ".", "!"]


@pytest.fixture
def write_folder(write_bert):
    """A small random BERT with a vocabulary that fits it."""

    def write(vocabulary=tuple(WORDS), name="vocab.txt", **settings):
        folder = write_bert(vocab_size=len(WORDS))
        (folder / name).write_text("".join(f"{word}\n" for word in vocabulary), encoding="utf-8")
        if settings:
            (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return folder

    return write


def test_minilm_ids_are_those_of_transformers(minilm, reviews, review_inputs):
    packer = pretrained.load_packer(minilm)
    assert (packer.max_length, packer.truncation) == (512, "head")
    packed = packer(reviews)
    for name, expected in review_inputs.items():
        np.testing.assert_array_equal(packed[name].numpy(), expected)


def test_arguments_reach_the_packer(minilm, reviews):
    packer = pretrained.load_packer(minilm, max_length=20, truncation="head_tail", head_fraction=0.5)
    assert packer.get_config()["head_fraction"] == 0.5
    assert packer(reviews)["token_ids"].shape == (3, 20)


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_folder_that_transformers_wrote(lowercase, write_folder, tmp_path):
    """transformers 5 writes a tokenizer.json and no vocab.txt."""
    import transformers

    folder = write_folder(do_lower_case=lowercase)
    theirs = transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=lowercase)
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer_config.json").unlink()
    theirs.save_pretrained(folder)
    assert not (folder / "vocab.txt").exists()
    texts = ["Good film!", "élan ÉLAN [MASK] a.", "中", ""]
    expected = theirs(texts)["input_ids"]
    assert pretrained.load_packer(folder).tokens(texts).to_list() == expected


def test_rows_are_no_longer_than_the_positions(write_folder):
    folder = write_folder(model_max_length=512)
    assert pretrained.load_packer(folder).max_length == 40
    assert pretrained.load_packer(folder, max_length=7).max_length == 7
    with pytest.raises(ValueError, match=r"40 positions\. Received: max_length=41"):
        pretrained.load_packer(folder, max_length=41)


@pytest.mark.parametrize("vocabulary", [WORDS[:-1], [*WORDS, "more"]], ids=["fewer", "more"])
def test_a_vocabulary_that_does_not_fit_the_weights(vocabulary, write_folder):
    folder = write_folder(vocabulary)
    with pytest.raises(
        ValueError, match=rf"embed {len(WORDS)} tokens\. Received: {len(vocabulary)} tokens in {folder}"
    ):
        pretrained.load_packer(folder)


def test_a_folder_without_a_vocabulary(write_bert):
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt"):
        pretrained.load_packer(write_bert())


def test_preset(minilm, reviews, tmp_path):
    """On real reviews a preset's own tokenizer and ours agree; Latin-1 letters aside, their rules are the same."""
    import keras_hub

    vocabulary = (minilm / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = keras_hub.models.BertTokenizer(vocabulary, lowercase=True)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
        max_sequence_length=64,
    )
    backbone.save_to_preset(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        pretrained.load_packer(tmp_path)
    tokenizer.save_to_preset(tmp_path)
    packer = pretrained.load_packer(tmp_path)
    assert packer.max_length == 64
    texts = [*reviews, "[MASK] of Zorro"]
    expected = [row[:62] for row in tokenizer(texts)]
    assert [row[1:-1] for row in packer.tokens(texts).to_list()] == expected
    (tmp_path / "assets" / "tokenizer" / "vocabulary.txt").write_text("\n".join(vocabulary[:-1]))
    with pytest.raises(ValueError, match=r"embed 30522 tokens.*Received: 30521 tokens"):
        pretrained.load_packer(tmp_path)


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_saved_folder_has_the_same_tokenizer_in_transformers(lowercase, tmp_path):
    import transformers

    tokenizer = WordPieceTokenizer(WORDS, lowercase=lowercase)
    packer = TextPacker(tokenizer, max_length=16, truncation="head_tail", head_fraction=0.5)
    encoder = TransformerEncoder(EncoderConfig(vocabulary_size=len(WORDS), num_layers=1, max_length=16))
    model = TextClassifier(encoder, num_outputs=2)
    pretrained.save_huggingface(model, packer, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    texts = ["Good film!", "élan ÉLAN [MASK] a.", "中", ""]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    expected = theirs(texts)["input_ids"]
    assert packer.tokens(texts).to_list() == expected
    again = pretrained.load_packer(tmp_path / "model")
    assert again.get_config() == packer.get_config()
    assert again.tokens(texts).to_list() == expected


def test_a_packer_that_does_not_fit_the_model_is_not_written(tmp_path):
    packer = TextPacker(WordPieceTokenizer(WORDS), max_length=16)
    for fields, message in (
        ({"vocabulary_size": 100, "max_length": 16}, rf"embeds 100 tokens\. Received: a vocabulary of {len(WORDS)}"),
        ({"vocabulary_size": len(WORDS), "max_length": 15}, r"15 positions\. Received: max_length=16"),
    ):
        encoder = TransformerEncoder(EncoderConfig(num_layers=1, **fields))
        with pytest.raises(ValueError, match=message):
            pretrained.save_huggingface(encoder, packer, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_minilm_round_trip_with_its_packer(minilm, reviews, review_inputs, tmp_path, run_transformers):
    """The whole of it: MiniLM and its packer, written by us, answer raw reviews in transformers as before."""
    import transformers

    encoder = pretrained.load_encoder(minilm)
    pretrained.save_huggingface(encoder, pretrained.load_packer(minilm), tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    batch = tokenizer(reviews, truncation=True, padding=True, return_tensors="np")
    np.testing.assert_array_equal(batch["input_ids"], review_inputs["token_ids"])
    before = run_transformers(minilm, review_inputs)
    after = run_transformers(tmp_path / "model", review_inputs)
    np.testing.assert_array_equal(before["last_hidden_state"], after["last_hidden_state"])
    np.testing.assert_array_equal(before["pooler_output"], after["pooler_output"])
