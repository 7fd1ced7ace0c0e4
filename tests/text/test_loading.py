"""Which tokenizer a folder holds, and what WordPiece shares with the others."""

import json
import shutil

import pytest

from keras_transformer.text import (
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    TextPacker,
    WordPieceTokenizer,
    load_tokenizer,
)

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "caf", "##é", "film"]
KINDS = {
    "gpt2_folder": ByteLevelBPETokenizer,
    "roberta_folder": ByteLevelBPETokenizer,
    "t5_folder": SentencePieceTokenizer,
    "llama_folder": SentencePieceTokenizer,
    "minilm_folder": WordPieceTokenizer,
}


@pytest.mark.parametrize("fixture", KINDS)
@pytest.mark.parametrize("with_config", [True, False])
def test_the_class_follows_from_the_files(fixture, with_config, request, tmp_path):
    folder = request.getfixturevalue(fixture)
    if not with_config:
        shutil.copytree(folder, tmp_path / "folder", ignore=shutil.ignore_patterns("tokenizer*.json", "special*"))
        folder = tmp_path / "folder"
    tokenizer = load_tokenizer(folder)
    assert type(tokenizer) is KINDS[fixture]
    text = "a fine film"
    assert tokenizer.detokenize(tokenizer.tokenize(text)).numpy().decode().strip() == text


@pytest.mark.parametrize("fixture", ["gpt2_folder", "t5_folder", "minilm_folder"])
def test_a_class_name_that_says_nothing_is_passed_over(fixture, request, tmp_path):
    shutil.copytree(request.getfixturevalue(fixture), tmp_path / "folder")
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "folder" / "tokenizer_config.json").write_text(json.dumps(config))
    if fixture == "t5_folder":
        with pytest.raises(ValueError, match="of ALBERT, T5 and Llama can be loaded"):
            load_tokenizer(tmp_path / "folder")
    else:
        assert type(load_tokenizer(tmp_path / "folder")) is KINDS[fixture]


def test_what_fits_no_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder with a tokenizer at this path"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="which has nothing"):
        load_tokenizer(tmp_path)
    (tmp_path / "model.bin").write_text("")
    with pytest.raises(FileNotFoundError, match=r"or a tokenizer\.json\. Received: .*which has model\.bin"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram"}}))
    with pytest.raises(ValueError, match=r"put the original files beside it.*type 'Unigram'"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CamembertTokenizerFast"}))
    with pytest.raises(ValueError, match=r"No tokenizer here is the same as this class.*'CamembertTokenizer'"):
        load_tokenizer(tmp_path)


def test_wordpiece_is_saved_and_loaded_like_the_others(tmp_path):
    tokenizer = WordPieceTokenizer(VOCABULARY, lowercase=False, strip_accents=False)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.get_config() == tokenizer.get_config()
    assert WordPieceTokenizer(**tokenizer.get_config()).tokenize(["a café"]).to_list() == [[5, 6, 7]]
    assert again.id_of("film") == 8
    assert TextPacker.load(tmp_path).max_length == 512


def test_wordpiece_counts_bytes_or_characters():
    tokenizer = WordPieceTokenizer(VOCABULARY, strip_accents=False)
    for text in ("café film", ["café film", "", "é a"]):
        _ids, starts, ends = tokenizer.tokenize_with_offsets(text, unit="characters")
        rows = (
            zip([starts], [ends], [text], strict=True)
            if isinstance(text, str)
            else zip(starts, ends, text, strict=True)
        )
        words = [[t[a:b] for a, b in zip(s.numpy(), e.numpy(), strict=True)] for s, e, t in rows]
        assert words[0] == ["caf", "é", "film"]
    assert words[1:] == [[], ["é", "a"]]
    _, starts, ends = tokenizer.tokenize_with_offsets("café film", unit="bytes")
    assert list(zip(starts.numpy(), ends.numpy(), strict=True)) == [(0, 3), (3, 5), (6, 10)]
    with pytest.raises(ValueError, match="unit must be"):
        tokenizer.tokenize_with_offsets("a", unit="words")
