"""Specials of real tokenizers, found against what the tokenizers themselves say of texts."""

import numpy as np
import pytest
import sentencepiece
import tokenizers

from keras_transformer.objectives import Specials
from keras_transformer.text import ByteLevelBPETokenizer, Frame, SentencePieceTokenizer, TextPacker, WordPieceTokenizer

TEXTS = ["a good film", "good films and bad films", "an unwatchable film", "films filmed by film makers"] * 4


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    trainer = tokenizers.ByteLevelBPETokenizer()
    trainer.train_from_iterator(TEXTS, vocab_size=300, show_progress=False, special_tokens=["<|endoftext|>"])
    trainer.save_model(str(folder))
    return folder


@pytest.fixture(scope="module")
def sentence_piece(tmp_path_factory):
    path = tmp_path_factory.mktemp("spiece") / "spiece.model"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS), model_writer=file, vocab_size=40, minloglevel=2, pad_id=0, eos_id=1,
            unk_id=2, bos_id=-1, hard_vocab_limit=False,
        )  # fmt: skip
    return path


def word_piece():
    words = ["a", "good", "film", "##s", "##ed", "bad", "##", "#"]
    return WordPieceTokenizer(["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])


def words_of(specials, ids):
    """The number of words that the ids have, some of them of several tokens."""
    words = int(specials.begins_word[np.asarray(ids)].sum())
    assert words < len(ids)
    return words


def test_word_piece():
    tokenizer = word_piece()
    specials = Specials.of(tokenizer)
    assert (specials.pad_id, specials.start_ids, specials.end_ids, specials.mask_id) == (0, (3,), (4,), 5)
    assert np.flatnonzero(~specials.maskable).tolist() == [0, 1, 2, 3, 4, 5]
    assert words_of(specials, tokenizer.tokenize("good films filmed")) == 3
    assert specials.begins_word[tokenizer.id_of("##")]  # a token of two signs is no suffix
    assert (specials.sentinel_ids, specials.vocabulary_size) == ((), 14)


def test_byte_level(byte_level):
    files = byte_level / "vocab.json", byte_level / "merges.txt"
    tokenizer = ByteLevelBPETokenizer(*files, special_tokens={"eos_token": "<|endoftext|>"})
    specials = Specials.of(tokenizer)
    end = tokenizer.id_of("<|endoftext|>")
    assert (specials.start_ids, specials.end_ids, specials.pad_id) == ((), (end,), end)
    assert specials.mask_id is None
    assert np.flatnonzero(~specials.maskable).tolist() == [end]
    # The first word has no blank in front of it: it begins where the text does.
    assert words_of(specials, tokenizer.tokenize("good films and goodness")[1:]) == 3
    roberta = ByteLevelBPETokenizer(
        *files,
        special_tokens={"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>"}
        | {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"},
    )
    specials = Specials.of(roberta)
    assert specials.start_ids == (roberta.id_of("<s>"),)
    assert specials.decoder_start_id == specials.end_ids[0] == roberta.id_of("</s>")
    assert specials.mask_id == roberta.id_of("<mask>")
    assert not specials.maskable[[roberta.id_of(t) for t in ("<s>", "</s>", "<pad>", "<unk>", "<mask>")]].any()


def test_sentence_piece(sentence_piece):
    extra = [f"<extra_id_{i}>" for i in reversed(range(12))]
    tokenizer = SentencePieceTokenizer(sentence_piece, added_tokens=extra)
    specials = Specials.of(tokenizer)
    assert specials.sentinel_ids == tuple(tokenizer.id_of(f"<extra_id_{i}>") for i in range(12))
    assert (specials.start_ids, specials.end_ids, specials.decoder_start_id) == ((), (1,), 0)
    ids = tokenizer.tokenize("good films unwatchable")
    assert words_of(specials, ids) == 3
    assert specials.maskable[np.asarray(ids)].all()
    assert not specials.maskable[[0, 1, 2, *specials.sentinel_ids]].any()
    assert specials.maskable.sum() == tokenizer.vocabulary_size - 3 - 12


def test_sentinels_that_the_vocabulary_lacks():
    tokenizer = word_piece()
    specials = Specials.of(tokenizer, num_sentinels=3, vocabulary_size=17)
    assert specials.sentinel_ids == (16, 15, 14)
    assert specials.vocabulary_size == 17
    assert specials.maskable.sum() == 8
    assert not specials.maskable[14:].any()
    assert Specials.of(tokenizer, num_sentinels=2).sentinel_ids == (13, 12)  # reserved among its own
    with pytest.raises(ValueError, match=r"must be free .* num_sentinels=9, special tokens \[5\] among"):
        Specials.of(tokenizer, num_sentinels=9)
    with pytest.raises(ValueError, match=r"reserve <extra_id_0> to <extra_id_4>.*num_sentinels=5.*Received: 3"):
        specials.check_sentinels("Span corruption", 5)
    with pytest.raises(ValueError, match=r"can have no fewer. Received: vocabulary_size=5"):
        Specials.of(tokenizer, vocabulary_size=5)


def test_the_frame_of_a_packer_counts():
    packer = TextPacker(word_piece(), frame=Frame(before=("[CLS]", "[UNK]")))
    specials = Specials.of(packer)
    assert (specials.start_ids, specials.end_ids) == ((3, 2), ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad_id": 9}, r"from 0 to 8, the vocabulary. Received: \[9"),
        ({"end_ids": (3, -1)}, r"Received: \[-1"),
        ({"maskable": np.ones(8, bool)}, r"maskable must have shape \(9,\). Received: shape \(8,\)"),
        ({"begins_word": np.ones((9, 1), bool)}, r"begins_word must have shape \(9,\)"),
        ({"maskable": np.zeros(9, bool)}, "Received: 9 tokens, all special"),
    ],
)
def test_ids_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Specials(**{"vocabulary_size": 9, "pad_id": 0} | arguments)


def test_a_missing_mask_token_is_named():
    with pytest.raises(ValueError, match=r"Masking needs a token that hides others.*Received: mask_id=None"):
        Specials(9, 0).check_mask("Masking")
