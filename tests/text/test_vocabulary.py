"""Learning a vocabulary, and the file that holds it."""

import json
import subprocess
import sys

import pytest

from keras_transformer.text import WordPieceTokenizer, load_vocabulary, save_vocabulary, train_wordpiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def reference_vocabulary(texts, size, **normalizer):
    """The tokens (not their ids, which change from run to run) that the trainer of `tokenizers` learns."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return set(tokenizer.get_vocab())


@pytest.mark.parametrize(("lowercase", "strip_accents"), [(True, None), (False, None), (True, False)])
def test_the_tokens_are_those_of_the_trainer_of_tokenizers(lowercase, strip_accents, reviews):
    texts = [*reviews[:300], "中文电影 ½ é É naïve [MASK]\x00"]
    options = {"lowercase": lowercase, "strip_accents": strip_accents}
    ours = train_wordpiece(texts, 2000, **options)
    assert len(ours) == 2000
    # Ties fall by chance there: on these reviews a run gives one of two vocabularies, six tokens apart. Ours must be
    # one that it gives; about two runs of three give it.
    assert any(reference_vocabulary(texts, 2000, **options) == set(ours) for _ in range(20))


def test_special_tokens_first_then_characters_then_merges(reviews):
    vocabulary = train_wordpiece(reviews[:100], 800)
    assert vocabulary[:5] == SPECIAL
    characters = [t for t in vocabulary[5:] if len(t) == 1]
    assert vocabulary[5 : 5 + len(characters)] == sorted(characters)
    assert {"the", "##ing"} <= set(vocabulary)
    tokenizer = WordPieceTokenizer(vocabulary)
    assert not any((row == tokenizer.unk_id).numpy().any() for row in tokenizer.tokenize(reviews[:100]))


def test_the_same_texts_give_the_same_vocabulary_in_every_process(reviews, tmp_path):
    texts = reviews[:200]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    program = (
        "import json, sys; from keras_transformer.text.vocabulary import train_wordpiece; "
        "print(json.dumps(train_wordpiece(json.load(open(sys.argv[1])), 1500)))"
    )
    here = train_wordpiece(iter(texts), 1500)
    command = [sys.executable, "-c", program, str(tmp_path / "texts.json")]
    output = subprocess.run(command, check=True, capture_output=True, timeout=400, text=True).stdout
    assert json.loads(output) == here
    assert train_wordpiece(reversed(texts), 1500) == here


def test_the_alphabet_keeps_the_most_frequent_characters():
    vocabulary = train_wordpiece(["aaa bb bb c", "a b"], vocabulary_size=20, limit_alphabet=2)
    assert {t for t in vocabulary if len(t) == 1} == {"a", "b"}
    assert not any("c" in t for t in vocabulary[5:])


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "no words"),
        (["", " \x00\u200b"], {}, "no words"),
        (["abc"], {"vocabulary_size": 8}, r"need \(10\)\. Received: 8"),
        (["abc"], {"min_frequency": 0}, "Received: 0"),
        (["abc"], {"limit_alphabet": 0}, "Received: 2 and 0"),
    ],
)
def test_what_cannot_be_learned_is_refused(texts, options, message):
    with pytest.raises(ValueError, match=message):
        train_wordpiece(texts, **options)


def test_a_file_gives_back_what_was_saved(tmp_path):
    vocabulary = [*SPECIAL, "a", "##é", "中", "\u3000", "\u2028x", "##", "\x85"]
    save_vocabulary(vocabulary, tmp_path / "vocab.txt")
    assert load_vocabulary(tmp_path / "vocab.txt") == vocabulary
    assert (tmp_path / "vocab.txt").read_bytes().endswith(b"##\n\xc2\x85\n")
    assert [p.name for p in tmp_path.iterdir()] == ["vocab.txt"]


def test_line_ends_of_windows_and_a_missing_last_one_are_read(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join([*SPECIAL, "a", "b"]).encode())
    assert load_vocabulary(path) == [*SPECIAL, "a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n".join([*SPECIAL, "a", "", "b"]), r"1 blank or broken \(the first at line 7\)"),
        ("\n".join([*SPECIAL, "a", " "]) + "\n", r"1 blank or broken"),
        ("\n".join([*SPECIAL, "a", "b", "a"]), r"1 more than once \('a'\)"),
        ("\n".join(["[PAD]", "[UNK]", "a"]), r"3 tokens, without \[CLS\], \[SEP\], \[MASK\]"),
        ("a\n\na", r"1 blank.*; 1 more than once \('a'\); without \[PAD\]"),
        ("", r"1 blank.*without \[PAD\]"),
        (b"[PAD]\n\xff\xfe", "UTF-8 text file"),
    ],
)
def test_a_broken_file_is_refused_in_one_error(content, message, tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        load_vocabulary(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_said():
    with pytest.raises(FileNotFoundError, match=r"Received: nowhere/vocab\.txt"):
        load_vocabulary("nowhere/vocab.txt")


@pytest.mark.parametrize("token", ["", " ", "a\nb", "a\r", 3])
def test_tokens_that_no_line_can_hold_are_not_saved(token, tmp_path):
    with pytest.raises(ValueError, match="Received"):
        save_vocabulary([*SPECIAL, token], tmp_path / "vocab.txt")
    assert list(tmp_path.iterdir()) == []
