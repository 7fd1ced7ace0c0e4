"""Vocabularies that are learned: other tools read their files, ids are equal, the same texts give the same result."""

import hashlib
import json
import pathlib
import subprocess
import sys

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from keras_transformer.text import (
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    TextPacker,
    WordPieceTokenizer,
    load_tokenizer,
    train_byte_level_bpe,
    train_sentence_piece,
    train_vocabulary,
    train_wordpiece,
)
from tests.text.subword_texts import HARD, first_difference

SIZE = 1200
KINDS = {
    "wordpiece": ("wordpiece", {}, WordPieceTokenizer, {"vocab.txt"}),
    "gpt2": ("byte_level_bpe", {}, ByteLevelBPETokenizer, {"vocab.json", "merges.txt"}),
    "roberta": (
        *("byte_level_bpe", {"style": "roberta", "add_prefix_space": True, "reserved_tokens": ["<a>", "<b>"]}),
        *(ByteLevelBPETokenizer, {"vocab.json", "merges.txt"}),
    ),
    "t5": ("sentence_piece", {"reserved_tokens": ["<a>"]}, SentencePieceTokenizer, {"spiece.model"}),
    "albert": ("sentence_piece", {"style": "albert"}, SentencePieceTokenizer, {"spiece.model"}),
}


@pytest.fixture(scope="module")
def texts(reviews):
    return reviews[3::250]


@pytest.fixture(scope="module", params=KINDS)
def learned(request, texts, tmp_path_factory):
    """The name, the tokenizer and the folder of a vocabulary."""
    folder = tmp_path_factory.mktemp(request.param) / "folder"
    kind, options, _, _ = KINDS[request.param]
    return request.param, train_vocabulary(kind, iter(texts), SIZE, folder, **options), folder


def comparable(name, texts):
    """Without what Hugging Face takes differently (docs/text.md), and without ties of a unigram model."""
    if name in ("t5", "albert"):
        return [text for text in texts if not set(text) & set("\x85\u0301\u0300¨")]
    return texts


def test_the_files_are_read_by_our_classes_and_give_equal_ids(learned, reviews):
    name, tokenizer, folder = learned
    _, _, kind, files = KINDS[name]
    assert {path.name for path in folder.iterdir()} == {*files, "tokenizer_config.json"}
    texts = [*reviews[::500], *HARD]
    expected = tokenizer.tokenize(texts).to_list()
    for again in (load_tokenizer(folder), kind.load(folder), TextPacker.load(folder).tokenizer):
        assert type(again) is kind
        assert again.tokenize(texts).to_list() == expected
        assert again.special_tokens == tokenizer.special_tokens
        assert again.vocabulary_size == tokenizer.vocabulary_size == SIZE


def test_the_files_are_read_by_transformers_and_give_equal_ids(learned, reviews):
    from transformers import AutoTokenizer

    name, tokenizer, folder = learned
    theirs = AutoTokenizer.from_pretrained(folder)
    assert len(theirs) == tokenizer.vocabulary_size
    for key, token in tokenizer.special_tokens.items():
        assert getattr(theirs, key) == token
    texts = comparable(name, [*reviews[::400], *HARD])
    texts += [f"a {token} b" for token in tokenizer.special_tokens.values()]
    ours = tokenizer.tokenize(texts).to_list()
    found = theirs(texts, add_special_tokens=False)["input_ids"]
    if name in ("t5", "albert"):
        # Of two equally good ways, Hugging Face may take another one: in one review of fifty.
        different = [(a, b) for a, b in zip(ours, found, strict=True) if a != b]
        assert len(different) <= len(texts) / 20
        assert all(abs(len(a) - len(b)) <= 2 for a, b in different)
    else:
        assert first_difference(texts, ours, found) is None


def test_real_text_has_few_tokens_and_none_unknown(learned, reviews):
    name, tokenizer, _ = learned
    texts = [text for text in reviews[1::300] if text.isascii()]
    rows = tokenizer.tokenize(texts)
    characters = sum(map(len, texts)) / len(rows.values)
    assert characters > 2.4, "characters a token"
    if name != "gpt2":
        # A unigram model has no token for the rarest characters, one in 2,000.
        assert (rows.values.numpy() == tokenizer.unk_id).mean() < (1e-3 if name in ("t5", "albert") else 1e-4)


def test_masking_has_its_token_and_span_corruption_its_sentinels(learned):
    name, tokenizer, _ = learned
    special = {
        "wordpiece": {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4},
        "gpt2": {"bos": 0, "eos": 0, "unk": 0},
        "roberta": {"bos": 0, "cls": 0, "pad": 1, "eos": 2, "sep": 2, "unk": 3, "mask": 4},
        "t5": {"pad": 0, "eos": 1, "unk": 2},
        "albert": {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 2, "eos": 3},
    }[name]
    assert {key.removesuffix("_token"): tokenizer.id_of(t) for key, t in tokenizer.special_tokens.items()} == special
    if name == "roberta":
        assert [tokenizer.id_of(token) for token in ("<a>", "<b>")] == [5, 6]
        assert tokenizer.tokenize("x<b> y").numpy().tolist().count(6) == 1
        (mask,) = (token for token in tokenizer.added_tokens if token["content"] == "<mask>")
        assert mask["lstrip"], "the blank before it is a part of it, as in the original"
    if name == "t5":
        assert tokenizer.id_of("<a>") == 3
        assert [tokenizer.id_of(f"<extra_id_{i}>") for i in (0, 1, 99)] == [SIZE - 1, SIZE - 2, SIZE - 100]
        assert tokenizer.tokenize("a <extra_id_1> b").numpy().tolist().count(SIZE - 2) == 1


def test_byte_level_merges_are_those_of_the_trainer_of_tokenizers(texts):
    ours = train_byte_level_bpe(texts, SIZE)
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": ["<|endoftext|>"], "initial_alphabet": alphabet, "show_progress": False}
    theirs.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=SIZE, min_frequency=2, **options))
    assert ours.vocabulary == theirs.get_vocab()
    merges = json.loads(theirs.to_str())["model"]["merges"]
    assert list(ours.merges) == [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def test_the_model_of_sentence_piece_is_that_of_the_library(texts, reviews, tmp_path):
    train_vocabulary("sentence_piece", texts, SIZE, tmp_path, reserved_tokens=["<a>"])
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    texts = reviews[2::500]
    ours = SentencePieceTokenizer(tmp_path / "spiece.model", split_special_tokens=True)
    assert ours.tokenize(texts).to_list() == library.encode(texts)
    assert library.get_piece_size() == SIZE - 100
    assert [library.id_to_piece(i) for i in range(4)] == ["<pad>", "</s>", "<unk>", "<a>"]


PROGRAM = """
import hashlib, json, pathlib, sys
from keras_transformer.text import train_vocabulary
texts = json.load(open(sys.argv[1]))
for name, (kind, options) in json.load(open(sys.argv[2])).items():
    folder = pathlib.Path(sys.argv[3]) / name
    train_vocabulary(kind, texts, 900, folder, **options)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    print(json.dumps([name, files]))
"""


def test_the_same_texts_give_the_same_files_in_every_process(reviews, tmp_path):
    texts = reviews[7::300]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    kinds = {name: (kind, options) for name, (kind, options, _, _) in KINDS.items()}
    # More lines than the trainer takes: which of them are drawn must not change either.
    kinds["sampled"] = ("sentence_piece", {"extra_ids": 0, "max_lines": 1000})
    (tmp_path / "kinds.json").write_text(json.dumps(kinds))
    root = str(pathlib.Path(__file__).resolve().parent.parent.parent)
    command = [sys.executable, "-c", PROGRAM, *(str(tmp_path / name) for name in ("texts.json", "kinds.json", "there"))]
    output = subprocess.run(command, check=True, capture_output=True, timeout=600, text=True, cwd=root).stdout
    there = dict(json.loads(line) for line in output.splitlines())
    for name, (kind, options) in kinds.items():
        train_vocabulary(kind, (text for text in texts), 900, tmp_path / name, **options)
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        assert found == there[name], name


def test_texts_are_read_once_and_as_they_come(tmp_path):
    taken = []

    def stream():
        for number in range(3000):
            taken.append(number)
            yield f"film number {number} is a good film"

    for kind in ("byte_level_bpe", "sentence_piece"):
        taken.clear()
        train_vocabulary(kind, stream(), 400, tmp_path / kind)
        assert taken == list(range(3000))


def test_lines_of_sentence_piece_are_never_too_long():
    """The library passes over lines of more than 4,192 bytes; a long text must be learned from all the same."""
    text = " ".join(["unbelievable"] * 5000)
    tokenizer = train_sentence_piece([text, "x" * 100_000, "é" * 3000], 40, extra_ids=0)
    assert len(tokenizer.tokenize("unbelievable unbelievable").numpy()) <= 4


def test_lines_are_drawn_from_all_of_the_corpus_not_from_its_beginning():
    texts = [*["abab abc cab"] * 3000, *["xyxy xyz zyx"] * 3000]
    tokenizer = train_sentence_piece(texts, 40, extra_ids=0, max_lines=1000)
    for text in ("abab abc", "xyxy xyz"):
        assert tokenizer.unk_id not in tokenizer.tokenize(text).numpy()


def test_albert_learns_from_what_it_will_see(reviews):
    tokenizer = train_sentence_piece(["ÀÉÎ ``So'' " * 50, *reviews[:50]], 500, style="albert")
    model = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    pieces = "".join(model.id_to_piece(i) for i in range(5, model.get_piece_size()))
    assert pieces == pieces.lower()
    assert not set("ÀàÉé") & set(pieces)
    cased = train_sentence_piece(reviews[:50], 500, style="albert", lowercase=False)
    assert not cased.rules.lowercase
    model = sentencepiece.SentencePieceProcessor(model_proto=cased.model)
    assert any(model.id_to_piece(i).lower() != model.id_to_piece(i) for i in range(5, model.get_piece_size()))


def test_reserved_tokens_of_wordpiece_are_kept_for_later(reviews):
    vocabulary = train_wordpiece(reviews[:50], 600, reserved_tokens=["[unused0]", "[unused1]"])
    assert vocabulary[5:7] == ["[unused0]", "[unused1]"]
    tokenizer = WordPieceTokenizer(vocabulary)
    ids = tokenizer.tokenize([*reviews[:50], "a [unused0] b"]).values.numpy()
    assert not ({5, 6} & set(ids.tolist()))
    assert [t for t in vocabulary if t not in ("[unused0]", "[unused1]")] == train_wordpiece(reviews[:50], 598)


@pytest.mark.parametrize(
    ("kind", "texts", "size", "options", "message"),
    [
        ("wordpiece", ["abc"], 8, {}, r"need \(10\)\. Received: 8"),
        ("wordpiece", ["", " \u200b"], 100, {}, "no words"),
        ("wordpiece", ["abc"], 100, {"reserved_tokens": ["a b"]}, r"Received: 'a b'"),
        ("byte_level_bpe", ["abc"], 256, {}, r"256 bytes and 1 special tokens need \(257\)\. Received: 256"),
        ("byte_level_bpe", ["abc"], 260, {"style": "roberta"}, r"5 special tokens need \(261\)\. Received: 260"),
        ("byte_level_bpe", ["", " \n"], 300, {}, r"no characters"),
        ("byte_level_bpe", [], 300, {}, r"no characters"),
        ("byte_level_bpe", "one text", 300, {}, r"several texts, not one str\. Received: 'one text'"),
        ("byte_level_bpe", ["abc"], 300, {"style": "bert"}, r"one of \('gpt2', 'roberta'\)\. Received: 'bert'"),
        ("byte_level_bpe", ["abc"], 300, {"min_frequency": 0}, r"at least 1\. Received: 0"),
        ("byte_level_bpe", ["abc"], 300, {"reserved_tokens": ["<a>", "<a>"]}, r"different tokens.*'<a>'"),
        ("byte_level_bpe", ["abc"], 300, {"reserved_tokens": "<a>"}, r"a list of tokens\. Received: '<a>'"),
        ("sentence_piece", ["abc"], 103, {}, r"103 special tokens and a character need \(104\)\. Received: 103"),
        ("sentence_piece", ["abcdefgh"], 106, {}, r"characters of these texts need \(\d+\)\. Received: 106"),
        ("sentence_piece", ["\ud800", ""], 300, {}, r"no characters"),
        ("sentence_piece", ["abc"], 300, {"style": "llama"}, r"one of \('t5', 'albert'\)\. Received: 'llama'"),
        ("sentence_piece", ["abc"], 300, {"extra_ids": -1}, r"at least 0\. Received: -1"),
        ("sentence_piece", ["abc"], 300, {"character_coverage": 0.0}, r"Received: 0\.0 and 100000"),
        ("sentence_piece", ["abc"], 300, {"max_lines": 10}, r"Received: 0\.9995 and 10"),
        ("unigram", ["abc"], 300, {}, r"kind must be one of \('wordpiece', .*Received: 'unigram'"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_nothing_is_written(kind, texts, size, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_vocabulary(kind, texts, size, tmp_path / "folder", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["wordpiece", "byte_level_bpe", "sentence_piece"])
def test_an_error_of_the_source_is_not_hidden(kind, tmp_path):
    def broken():
        yield from ["a good film, and so on"] * 300
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        train_vocabulary(kind, broken(), 400, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_few_texts_give_fewer_tokens_than_asked_for():
    assert 257 < train_byte_level_bpe(["a good film", "good films"], 5000).vocabulary_size < 300
    assert train_sentence_piece(["a good film", "good films"], 5000, extra_ids=10).vocabulary_size < 100
