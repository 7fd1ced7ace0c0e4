"""Tokens are put together to the words of the text, whatever the packer kept of it."""

import numpy as np
import pytest

from keras_transformer.explain import integrated_gradients
from keras_transformer.explain.words import read_rows
from keras_transformer.text import ByteLevelBPETokenizer, SentencePieceTokenizer, TextPacker

SENTENCES = ["the film was good", "the plot, the cast and the music were bad", "it wasn't a film"] * 3


def words(packer, text):
    """The words of each row, as they stand in the text, in the order of the tokens."""
    rows, (spans,) = read_rows(packer, [text])
    return [[text[slice(*spans[i])] if i >= 0 else None for i in row.words.tolist()] for row in rows]


def test_pieces_of_a_word_belong_together(make_packer):
    (found,) = words(make_packer(), "The film wasn't goodly!")
    assert found == [None, "The", "film", "wasn't", "wasn't", "wasn't", "wasn't", "goodly", "goodly", "!", None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GOOD Cäst", ["GOOD", "Cäst"]),
        ("ca\u0300st 中国 film", ["ca\u0300st", "中", "国", "film"]),
        ("film\u00a0😀 plot", ["film", "😀", "plot"]),
        ("a<br />b", ["a", "<", "br", "/", ">", "b"]),
        ("'bad' d’actor", ["'", "bad", "'", "d’actor"]),
        ("the [MASK] cast", ["the", "[", "cast"]),
        ("film \ud800 plot", ["film", "\ud800", "plot"]),
    ],
)
def test_positions_count_characters_of_the_text(make_packer, text, expected):
    (found,) = words(make_packer(), text)
    assert list(dict.fromkeys(word for word in found if word and word != "\ud800")) == [
        word for word in dict.fromkeys(expected) if word != "\ud800"
    ]


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
def test_head_and_tail_are_found(make_packer, fraction):
    letters = list("abcdefghijklmnopqrst")
    packer = make_packer(max_length=12, truncation="head_tail", head_fraction=fraction)
    (found,) = words(packer, " ".join(letters))
    head = round(fraction * 10)
    assert found[1:-1] == letters[:head] + letters[len(letters) - (10 - head) :]


def test_a_row_holds_the_tokens_that_the_packer_gives(make_packer):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["good", "bad", "film", "goodly", "don't"], n)) for n in (0, 3, 40, 41)]
    for options in ({}, {"truncation": "head_tail"}, {"truncation": "windows"}, {"truncation": "windows", "stride": 7}):
        packer = make_packer(max_length=16, **options)
        rows, spans = read_rows(packer, texts)
        inputs = packer(texts)
        names = np.array(packer.tokenizer.vocabulary)
        for row, ids, mask in zip(rows, inputs["token_ids"].numpy(), inputs["padding_mask"].numpy(), strict=True):
            np.testing.assert_array_equal(row.token_ids, ids[mask > 0])
            text = texts[row.example]
            for token, word in zip(names[row.token_ids], row.words.tolist(), strict=True):
                assert (word < 0) == token.startswith("[")
                if word >= 0:
                    assert token.removeprefix("##") in text[slice(*spans[row.example][word])]


@pytest.fixture(params=["byte_level_bpe", "sentence_piece", "unigram"])
def subword_packer(request, tmp_path):
    """Tokenizers whose pieces begin with the blank before a word, in the frame <s> .. </s>."""
    if request.param == "byte_level_bpe":
        import tokenizers

        trainer = tokenizers.ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<mask>"]
        trainer.train_from_iterator(SENTENCES, vocab_size=300, special_tokens=special, show_progress=False)
        trainer.save_model(str(tmp_path))
        names = dict(zip(["bos_token", "pad_token", "eos_token", "mask_token"], special, strict=True))
        tokenizer = ByteLevelBPETokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt", special_tokens=names)
    else:
        import sentencepiece

        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES),
            model_prefix=str(tmp_path / "spiece"),
            vocab_size=60,
            hard_vocab_limit=False,
            model_type="unigram" if request.param == "unigram" else "bpe",
            control_symbols="<pad>",
            minloglevel=2,
        )
        tokenizer = SentencePieceTokenizer(tmp_path / "spiece.model", special_tokens={"pad_token": "<pad>"})
    return TextPacker(tokenizer, max_length=32, frame={"before": ["<s>"], "after": ["</s>"]})


def test_a_piece_belongs_to_the_word_after_its_blank(subword_packer):
    (found,) = words(subword_packer, "the film wasn't  bad,the cast was good ")
    assert found[0] is None
    assert found[-1] is None
    inside = list(dict.fromkeys(found[1:-1]))
    assert inside == ["the", "film", "wasn't", "bad", ",", "cast", "was", "good"]


def test_words_of_other_tokenizers_add_up(subword_packer, make_model):
    model = make_model(vocabulary_size=400)
    (found,) = integrated_gradients(model, subword_packer, "the film wasn't bad")
    assert [word.word for word in found.words] == ["the", "film", "wasn't", "bad"]
    assert found.special == 0
    change = found.logit - found.baseline_logit
    assert sum(word.score for word in found.words) == pytest.approx(change, rel=0.05)
