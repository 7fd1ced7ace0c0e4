"""The packer's files, ours and Hugging Face's."""

import json
import shutil

import pytest

from keras_transformer.text import TextPacker, WordPieceTokenizer, save_vocabulary
from tests.text.hard_strings import TEXTS

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = [*SPECIAL, "a", "film", "Film", "caf", "##é", "##e", "é", "e", "中", "##文", "!"]
TEXT = ["A Film café中文! [MASK]", "x" * 6]


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        if name == "vocab":
            save_vocabulary(content, folder / "vocab.txt")
        else:
            (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lowercase": False},
        {"strip_accents": False},
        {"lowercase": False, "strip_accents": True, "tokenize_chinese_chars": False},
        {"split_special_tokens": True},
        {"max_characters_per_word": 5},
    ],
    ids=str,
)
def test_what_was_saved_is_loaded(settings, tmp_path):
    tokenizer = WordPieceTokenizer(VOCABULARY, **settings)
    packer = TextPacker(tokenizer, max_length=17, truncation="windows", head_fraction=0.5, stride=3)
    packer.save(tmp_path / "folder")
    again = TextPacker.load(tmp_path / "folder")
    assert again.get_config() == packer.get_config()
    assert again.tokens(TEXT).to_list() == packer.tokens(TEXT).to_list()
    assert again.tokenizer.vocabulary == tokenizer.vocabulary
    again.save(tmp_path / "again")
    for name in ("vocab.txt", "tokenizer_config.json"):
        assert (tmp_path / "folder" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["tokenizer_config.json", "vocab.txt"]


def test_settings_change_the_ids():
    """So that the test above can fail."""
    rows = {
        str(settings): str(WordPieceTokenizer(VOCABULARY, **settings).tokenize(TEXT).to_list())
        for settings in (
            {},
            {"lowercase": False},
            {"strip_accents": False},
            {"tokenize_chinese_chars": False},
            {"split_special_tokens": True},
        )
    }
    assert len(set(rows.values())) == len(rows)


def test_other_special_tokens_are_saved(tmp_path):
    names = {"mask_token": "<mask>", "pad_token": "<pad>"}
    tokenizer = WordPieceTokenizer(["<pad>", "[UNK]", "[CLS]", "[SEP]", "<mask>", "a"], special_tokens=names)
    TextPacker(tokenizer).save(tmp_path)
    assert TextPacker.load(tmp_path).tokenizer.special_tokens == tokenizer.special_tokens


def test_overrides_replace_what_is_in_the_folder(tmp_path):
    TextPacker(WordPieceTokenizer(VOCABULARY), max_length=17, truncation="head_tail").save(tmp_path)
    packer = TextPacker.load(tmp_path, max_length=9)
    assert (packer.max_length, packer.truncation) == (9, "head_tail")
    with pytest.raises(ValueError, match=r"can be replaced\. Received: \['lowercase'\]"):
        TextPacker.load(tmp_path, lowercase=False)


def test_a_hugging_face_folder_is_loaded(minilm_folder, hugging_face):
    packer = TextPacker.load(minilm_folder)
    frame = {"before": ["[CLS]"], "after": ["[SEP]"]}
    options = {"max_length": 512, "truncation": "head", "head_fraction": 0.25, "stride": None, "frame": frame}
    assert packer.get_config() == options
    assert packer.tokenizer.tokenize(TEXTS).to_list() == hugging_face(TEXTS)


def test_a_folder_with_only_tokenizer_json_is_loaded(minilm_folder, tmp_path, hugging_face):
    shutil.copy(minilm_folder / "tokenizer.json", tmp_path)
    packer = TextPacker.load(tmp_path, max_length=20)
    assert packer.tokenizer.tokenize(TEXTS).to_list() == hugging_face(TEXTS)


def test_a_folder_that_transformers_wrote_is_loaded(tmp_path):
    from transformers import BertTokenizer

    theirs = BertTokenizer(
        vocab={t: i for i, t in enumerate(VOCABULARY)},
        do_lower_case=False,
        strip_accents=True,
        tokenize_chinese_chars=False,
        model_max_length=99,
    )
    theirs.save_pretrained(tmp_path)
    packer = TextPacker.load(tmp_path)
    assert packer.max_length == 99
    assert packer.tokens(TEXT).to_list() == theirs(TEXT)["input_ids"]


def test_the_settings_of_tokenizer_json_count_where_the_config_is_silent(minilm_folder, tmp_path):
    backend = json.loads((minilm_folder / "tokenizer.json").read_text())
    backend["model"] = {
        "type": "WordPiece",
        "max_input_chars_per_word": 5,
        "vocab": {t: i for i, t in enumerate(VOCABULARY)},
    }
    backend["normalizer"] |= {"lowercase": False, "strip_accents": True, "handle_chinese_chars": False}
    write(tmp_path, tokenizer=backend)
    expected = WordPieceTokenizer(VOCABULARY, False, True, False, max_characters_per_word=5).tokenize(TEXT).to_list()
    assert TextPacker.load(tmp_path).tokenizer.tokenize(TEXT).to_list() == expected
    write(tmp_path, tokenizer_config={"do_lower_case": True, "model_max_length": int(1e30)})
    packer = TextPacker.load(tmp_path)
    assert (packer.tokenizer.lowercase, packer.tokenizer.strip_accents, packer.max_length) == (True, True, 512)


def test_a_tokenizer_json_of_an_older_version_names_no_type(tmp_path):
    vocabulary = {t: i for i, t in enumerate(VOCABULARY)}
    write(tmp_path, tokenizer=wordpiece(model={"continuing_subword_prefix": "##", "vocab": vocabulary}))
    expected = WordPieceTokenizer(VOCABULARY).tokenize(TEXT).to_list()
    assert TextPacker.load(tmp_path).tokenizer.tokenize(TEXT).to_list() == expected


def test_defaults_are_those_of_bert(tmp_path):
    write(tmp_path, vocab=VOCABULARY)
    packer = TextPacker.load(tmp_path)
    assert packer.tokenizer.tokenize(TEXT).to_list() == WordPieceTokenizer(VOCABULARY).tokenize(TEXT).to_list()


def test_special_tokens_written_as_objects_are_read(tmp_path):
    write(tmp_path, vocab=VOCABULARY, tokenizer_config={"mask_token": {"content": "[MASK]", "lstrip": False}})
    assert TextPacker.load(tmp_path).tokenizer.mask_id == 4


def wordpiece(**changes):
    """A `tokenizer.json` with something other than BERT's."""
    return {
        "model": {"type": "WordPiece", "vocab": {t: i for i, t in enumerate(VOCABULARY)}},
        "normalizer": {"type": "BertNormalizer"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
    } | changes


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config": "{"}, "must be JSON"),
        ({"tokenizer_config": "[]"}, "must hold a JSON object.*with a list"),
        ({"tokenizer": wordpiece(model={"type": "BPE"})}, "WordPiece or byte-level BPE.*of type 'BPE'"),
        ({"tokenizer": wordpiece(model={"vocab": {}})}, "WordPiece or byte-level BPE.*of type None"),
        ({"tokenizer": wordpiece(model={"type": "WordPiece", "continuing_subword_prefix": "@@"})}, "with '@@'"),
        ({"tokenizer": wordpiece(normalizer={"type": "NFC"})}, "BERT's normalizer.*with 'NFC'"),
        ({"tokenizer": wordpiece(normalizer={"type": "BertNormalizer", "clean_text": False})}, "clean_text=False"),
        ({"tokenizer": wordpiece(pre_tokenizer={"type": "Whitespace"})}, "split words as BERT does.*'Whitespace'"),
        ({"tokenizer": wordpiece(model={"type": "WordPiece", "vocab": {"a": 0, "b": 2}})}, "ids of a vocabulary"),
        ({"tokenizer": wordpiece(added_tokens=[{"id": 9, "content": "<e1>"}])}, "five special tokens.*'<e1>' added"),
        (
            {"tokenizer_config": {"added_tokens_decoder": {"9": {"content": "<e1>"}}}, "vocab": VOCABULARY},
            "'<e1>' added",
        ),
        ({"tokenizer_config": {"mask_token": "<mask>"}, "vocab": VOCABULARY}, "without <mask>"),
    ],
    ids=str,
)
def test_another_tokenizer_is_refused(files, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        TextPacker.load(write(tmp_path / "folder", **files))
    assert "folder" in str(error.value)


def test_missing_files_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder with a tokenizer"):
        TextPacker.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="which has nothing"):
        TextPacker.load(tmp_path)
