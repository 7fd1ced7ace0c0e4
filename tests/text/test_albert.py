"""ALBERT's clean-up and ids, against `tokenizers`, `sentencepiece` and transformers."""

import json
import shutil
import unicodedata

import pytest
import sentencepiece
import tensorflow as tf
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import normalizers

from keras_transformer.text import AlbertRules, SentencePieceTokenizer, load_tokenizer
from keras_transformer.text.albert_rules import AlbertCleaner, changed_characters
from tests.text.subword_texts import HARD, first_difference, mixtures

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SPECIAL = ("[CLS]", "[SEP]", "[MASK]", "<pad>", "<unk>")


def reference(rules):
    """The normalizer that transformers builds."""
    parts = [normalizers.NFKD(), normalizers.StripAccents()] * rules.strip_accents
    parts += [normalizers.Lowercase()] * rules.lowercase
    quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    return normalizers.Sequence([*quotes, *parts])


@pytest.mark.parametrize("strip_accents", [False, True])
@pytest.mark.parametrize("lowercase", [False, True])
def test_every_code_point_becomes_what_tokenizers_makes_of_it(lowercase, strip_accents):
    rules = AlbertRules(lowercase, strip_accents)
    normalize = reference(rules).normalize_str
    changed = changed_characters(rules)
    # Where Hugging Face splits words afterwards, the model must find a blank.
    expected = {c: normalize(chr(c)) for c in CODE_POINTS} | {0x85: " "}
    assert changed == {c: text for c, text in expected.items() if text != chr(c)}
    cleaned, _ = AlbertCleaner(rules).clean(tf.constant([f"a{chr(c)}b" for c in CODE_POINTS]))
    wrong = [
        (hex(c), found)
        for c, found in zip(CODE_POINTS, cleaned.numpy(), strict=True)
        if found.decode() != f"a{expected[c]}b"
    ]
    assert wrong == []


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False, "keep_accents": True}], ids=["usual", "as it is"])
def test_ids_are_those_of_transformers(options, albert_folder, reviews, tmp_path):
    folder = tmp_path / "albert"
    shutil.copytree(albert_folder, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "AlbertTokenizer", **options}))
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)
    texts = [*reviews[3::100], *HARD, *mixtures(1, 500, SPECIAL)]
    if options:
        # Hugging Face takes accents together with their letter before the model normalizes them, the library does not.
        texts = [text for text in texts if not any(map(unicodedata.combining, text))]
    expected = theirs(texts, add_special_tokens=False)["input_ids"]
    assert first_difference(texts, ours.tokenize(texts).to_list(), expected) is None


def test_offsets_point_at_the_text_before_the_clean_up(albert_folder):
    tokenizer = load_tokenizer(albert_folder)
    for text in ("The ``Café'' FILM[MASK] was  good", "ÅNGSTRÖM e\u0301té: ½ ﬁlm"):
        for unit in ("characters", "bytes"):
            data = text if unit == "characters" else text.encode()
            ids, starts, ends = (values.numpy() for values in tokenizer.tokenize_with_offsets(text, unit=unit))
            end = 0
            for token_id, start, stop in zip(ids, starts, ends, strict=True):
                piece = data[start:stop] if unit == "characters" else data[start:stop].decode()
                token = sentencepiece_piece(tokenizer, token_id)
                cleaned = AlbertCleaner(AlbertRules()).clean(tf.constant([piece]))[0].numpy()[0].decode()
                if token not in SPECIAL:
                    assert token.replace("▁", "") in cleaned, (text, token, piece)
                assert start <= stop >= end
                end = stop
            assert end == len(data)


def sentencepiece_piece(tokenizer, token_id):
    return sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model).id_to_piece(int(token_id))


def test_a_number_is_divided_from_its_comma(albert_folder, tmp_path):
    """The original divides pieces such as "9,"; a model that has one must not use it."""
    proto = sentencepiece_model_pb2.ModelProto.FromString((albert_folder / "spiece.model").read_bytes())
    proto.pieces[-1].piece, proto.pieces[-1].score = "9,", -1.0
    (tmp_path / "spiece.model").write_bytes(proto.SerializeToString())
    library = sentencepiece.SentencePieceProcessor(str(tmp_path / "spiece.model"))
    assert "9," in library.encode("in 1999, he", out_type=str)
    tokenizer = SentencePieceTokenizer(tmp_path / "spiece.model", rules=AlbertRules())
    pieces = [library.id_to_piece(i) for i in tokenizer.tokenize("in 1999, he").numpy().tolist()]
    assert pieces[-3:-1] == ["9", ","]
    assert "".join(pieces) == "▁in▁1999,▁he"


def test_rules_are_saved_and_loaded(albert_folder, tmp_path):
    tokenizer = SentencePieceTokenizer(albert_folder / "spiece.model", rules=AlbertRules(strip_accents=False))
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.rules == tokenizer.rules
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "Café FILM"
    assert again.tokenize(text).numpy().tolist() == theirs(text, add_special_tokens=False)["input_ids"]
    with pytest.raises(ValueError, match=r"rules must be AlbertRules.*Received: 'albert'"):
        SentencePieceTokenizer(albert_folder / "spiece.model", rules="albert")
