"""The packer of a pretrained folder gives the ids that the folder's own library gives."""

import json

import numpy as np
import pytest

from keras_transformer import pretrained
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.text import Frame, TextPacker, WordPieceTokenizer
from tests.pipelines.small_generators import write_tokenizer
from tests.pretrained import small_models

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


FAMILIES = {
    "bert": (300, "[CLS] .. [SEP]"),
    "electra": (300, "[CLS] .. [SEP]"),
    "distilbert": (300, "[CLS] .. [SEP]"),
    "roberta": (300, "<s> .. </s>"),
    "albert": (350, "[CLS] .. [SEP]"),
    "bart": (300, "<s> .. </s>"),
    "t5": (384, ".. </s>"),  # 360 tokens, rounded up as T5's are
    "gpt2": (300, ".."),
    "llama": (350, "<s> .."),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_packer_of_every_family_is_that_of_transformers(family, reviews, tmp_path):
    import transformers

    rows, frame = FAMILIES[family]
    folder = write_tokenizer(family, tmp_path / family)
    small_models.write(family, folder, vocab_size=rows)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    packer = pretrained.load_packer(folder)
    assert str(packer.frame) == frame
    assert packer.max_length == {"t5": 512, "roberta": 38}.get(family, 40)
    texts = [*reviews[:2], "Good café film!", "", "中 😀"]
    expected = theirs(texts)["input_ids"]
    assert packer.whole(texts).to_list() == expected
    # As many published folders: only config.json says what it is.
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["tokenizer_class"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    unnamed = pretrained.load_packer(folder)
    assert unnamed.get_config() == packer.get_config()
    assert type(unnamed.tokenizer) is type(packer.tokenizer)
    assert unnamed.tokenizer.get_config() == packer.tokenizer.get_config()
    assert (str(unnamed.frame), unnamed.whole(texts).to_list()) == (frame, expected)
    short = pretrained.load_packer(folder, max_length=9)
    assert short.tokens(texts).to_list() == theirs(texts, truncation=True, max_length=9)["input_ids"]

    pretrained.save_huggingface(pretrained.load_model(folder), packer, tmp_path / "saved", model_type=family)
    again = pretrained.load_packer(tmp_path / "saved")
    assert again.get_config() == packer.get_config()
    assert again.whole(texts).to_list() == expected
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")(texts)["input_ids"] == expected
    special = packer.tokenizer.special_tokens
    if family not in ("bert", "electra", "distilbert"):
        saved = json.loads((tmp_path / "saved" / "config.json").read_text())
        assert saved["eos_token_id"] == packer.tokenizer.id_of(special["eos_token"])


def test_special_ids_of_a_folder(tmp_path):
    small_models.write("bart", tmp_path)
    assert pretrained.load_special_ids(tmp_path) == {
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": 2,
    }
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2], "forced_eos_token_id": None}))
    found = pretrained.load_special_ids(tmp_path)
    assert found["eos_token_id"] == [7, 2]
    assert "forced_eos_token_id" not in found


def test_a_table_with_spare_rows(tmp_path):
    """Up to 127 rows more than tokens, but for WordPiece; never fewer."""
    folder = write_tokenizer("gpt2", tmp_path / "gpt2")
    for rows in (300, 427):
        small_models.write("gpt2", folder, vocab_size=rows)
        assert pretrained.load_packer(folder).tokenizer.vocabulary_size == 300
    for rows in (299, 428):
        small_models.write("gpt2", folder, vocab_size=rows)
        with pytest.raises(ValueError, match=rf"embed {rows} tokens\. Received: 300 tokens in"):
            pretrained.load_packer(folder)


@pytest.mark.parametrize("family", ["roberta", "albert"])
def test_presets_of_other_tokenizers(family, reviews, tmp_path):
    import keras_hub

    files = write_tokenizer(family, tmp_path / "files")
    if family == "roberta":
        tokenizer = keras_hub.models.RobertaTokenizer(str(files / "vocab.json"), str(files / "merges.txt"))
        backbone, frame = keras_hub.models.RobertaBackbone, Frame(("<s>",), ("</s>",))
    else:
        tokenizer = keras_hub.models.AlbertTokenizer((files / "spiece.model").read_bytes())
        backbone, frame = keras_hub.models.AlbertBackbone, Frame(("[CLS]",), ("[SEP]",))
    backbone(
        vocabulary_size=FAMILIES[family][0],
        num_layers=1,
        num_heads=1,
        hidden_dim=4,
        intermediate_dim=4,
        max_sequence_length=64,
        **({"embedding_dim": 4} if family == "albert" else {}),
    ).save_to_preset(tmp_path / "preset")
    tokenizer.save_to_preset(tmp_path / "preset")
    packer = pretrained.load_packer(tmp_path / "preset")
    assert packer.frame == frame
    texts = [reviews[0], "A good café film!"]
    expected = [[int(i) for i in row] for row in tokenizer(texts)]
    assert [row[1:-1] for row in packer.whole(texts).to_list()] == expected
    for file in (tmp_path / "preset" / "assets" / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"or vocabulary\.spm\. Received: .*which has nothing"):
        pretrained.load_packer(tmp_path / "preset")


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
        ({"vocabulary_size": 100, "max_length": 16}, rf"embed 100 tokens\. Received: {len(WORDS)} tokens"),
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
