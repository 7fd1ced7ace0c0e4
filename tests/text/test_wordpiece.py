"""Token ids against Hugging Face's fast tokenizer, text by text."""

import itertools
import random
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from keras_transformer.text import WordPieceTokenizer, save_vocabulary
from keras_transformer.text.alphabet import Alphabet
from tests.text.conftest import encode
from tests.text.hard_strings import HARD, TEXTS

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def differences(tokenizer, hugging_face, texts):
    pairs = zip(texts, tokenizer.tokenize(texts).to_list(), hugging_face(texts), strict=True)
    return [(text, ours, theirs) for text, ours, theirs in pairs if ours != theirs]


def bert(vocabulary, **normalizer):
    """A Hugging Face tokenizer over any vocabulary and settings."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return lambda texts: encode(tokenizer, texts)


# The reviews.


def plain_op(vocabulary):
    """FastBertTokenizer as the library builds it."""
    import tensorflow_text

    return tensorflow_text.FastBertTokenizer(
        list(vocabulary), token_out_type=tf.int32, lower_case_nfd_strip_accents=True
    )


def test_ids_of_2000_raw_reviews_equal_hugging_face(minilm_tokenizer, hugging_face, reviews):
    # Those with characters that the op's own tables get wrong, and an even sample of the rest.
    strange = [t for t in reviews if set(t) & set("\x85\x96\x97´½¨…ß")][:500]
    texts = strange + reviews[:: len(reviews) // 1500]
    assert len(texts) >= 2000
    assert differences(minilm_tokenizer, hugging_face, texts) == []
    assert len(differences(plain_op(minilm_tokenizer.vocabulary), hugging_face, strange[:50])) > 0


@pytest.mark.slow
def test_ids_of_all_25000_raw_reviews_equal_hugging_face(minilm_tokenizer, hugging_face, reviews):
    plain = plain_op(minilm_tokenizer.vocabulary)
    wrong_without_us = 0
    for i in range(0, len(reviews), 1000):
        texts = reviews[i : i + 1000]
        expected = hugging_face(texts)
        assert minilm_tokenizer.tokenize(texts).to_list() == expected
        wrong_without_us += sum(a != b for a, b in zip(plain.tokenize(texts).to_list(), expected, strict=True))
    assert wrong_without_us == 273  # the figure in docs/text.md


# Hard strings.


@pytest.mark.parametrize("kind", HARD)
def test_ids_of_hard_strings_equal_hugging_face(kind, minilm_tokenizer, hugging_face):
    assert differences(minilm_tokenizer, hugging_face, HARD[kind]) == []


def test_every_code_point_inside_and_outside_a_word_equals_hugging_face(minilm_tokenizer, hugging_face):
    texts = [f"a{chr(c)}b {chr(c)}" for c in range(0x30000) if not 0xD800 <= c < 0xE000]
    texts += [f"a{chr(c)}b {chr(c)}" for c in range(0x30000, 0x110000, 97)]
    texts += [f"a{chr(c)}b {chr(c)}" for c in range(0xE0000, 0xE0200)]
    for i in range(0, len(texts), 50_000):
        assert differences(minilm_tokenizer, hugging_face, texts[i : i + 50_000]) == []


def random_texts(seed, count, parts, most=40):
    rng = random.Random(seed)
    return ["".join(rng.choices(parts, k=rng.randrange(most))) for _ in range(count)]


def test_random_mixtures_equal_hugging_face(minilm_tokenizer, hugging_face):
    parts = [*"abcxyzAEIOU .,!?-'\"[]#@\t\n\u0301éßİı中文한국กאا\u200b\u00a0\ufffd\x00😀—…"]
    parts += ["[MASK]", "[SEP]", "[MA", "SK]", " the", " film"]
    assert differences(minilm_tokenizer, hugging_face, random_texts(0, 3000, parts)) == []


def test_random_bytes_equal_hugging_face(minilm_tokenizer, hugging_face):
    rng = np.random.default_rng(0)
    common = np.frombuffer(b" aeT\xe4\xbd\xa0\xc3\xa9\xf0\x9f\x98\x80[]", np.uint8)
    texts = [np.where(rng.random(40) < 0.3, rng.integers(0, 256, 40), rng.choice(common, 40)) for _ in range(3000)]
    texts = [t.astype(np.uint8).tobytes() for t in texts]
    assert differences(minilm_tokenizer, hugging_face, texts) == []


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "chinese"), [*itertools.product([True, False], [True, False, None], [True, False])]
)
def test_every_setting_equals_hugging_face(lowercase, strip_accents, chinese):
    # Among them tokens that no text reaches under one setting or another.
    words = "the The film Film é É ##é ##S ß ı ##İ 中 文 ##中 ##文 中文 ! ... ##! — 한 국 ᄒ ##ᅡ ##ᆫ ᅡ ก ##า ##\u0301"
    vocabulary = [*SPECIAL, *words.split(), *"abcdfiImMsklT", *(f"##{c}" for c in "abefhilmsTE"), "##", "#", "x" * 101]
    ours = WordPieceTokenizer(vocabulary, lowercase, strip_accents, chinese)
    reference = bert(vocabulary, lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=chinese)
    parts = [*"the Film éÉßıİ中文한국กาas!—.#x[]", "e\u0301", "a\u0301", "[MASK]", "...", "一"]
    assert differences(ours, reference, TEXTS + random_texts(1, 800, parts, most=12)) == []


def test_random_vocabularies_equal_hugging_face():
    rng = random.Random(0)
    for _ in range(6):
        letters = rng.sample("abcdeéßи中文!.", 8)
        pieces = {"".join(rng.choices(letters, k=rng.randrange(1, 5))) for _ in range(25)}
        vocabulary = [
            *SPECIAL,
            *sorted(pieces),
            *sorted("##" + p for p in rng.sample(sorted(pieces), len(pieces) // 2)),
        ]
        reference = bert(vocabulary, lowercase=True)
        texts = random_texts(rng.random(), 200, [*letters, *letters, " "], most=30)
        assert differences(WordPieceTokenizer(vocabulary), reference, texts) == []


def test_a_vocabulary_with_thousands_of_letters_equals_hugging_face():
    """More letters than two bytes can tell apart: the private alphabet takes three."""
    letters = [chr(c) for c in range(0xAC00, 0xAC00 + 4000)]
    vocabulary = [*SPECIAL, *letters, *(f"##{c}" for c in letters[::2])]
    tokenizer = WordPieceTokenizer(vocabulary, strip_accents=False)
    assert Alphabet.of(vocabulary, True, False, True).width == 3
    texts = random_texts(2, 500, [*letters[:40], *letters[-40:], " "], most=12)
    texts += [letters[0] * n for n in (99, 100, 101)]
    assert differences(tokenizer, bert(vocabulary, lowercase=True, strip_accents=False), texts) == []


@pytest.mark.parametrize("limit", [1, 5, 200])
def test_the_word_limit_counts_characters(limit):
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = [*SPECIAL, "a", "é", "##a", "##é", "aaaaaa", "##aaa", "!"]
    reference = Tokenizer(
        models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]", max_input_chars_per_word=limit)
    )
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ours = WordPieceTokenizer(vocabulary, lowercase=False, max_characters_per_word=limit)
    texts = [c * n for c in "aé" for n in range(1, 9)] + ["a!é", "aé" * 100, "aé" * 100 + "a", "aaaaaa! aaaaaaa"]
    assert differences(ours, lambda texts: encode(reference, texts), texts) == []


def test_transformers_agrees_for_a_folder_that_we_wrote(tmp_path, minilm_tokenizer):
    from transformers import AutoTokenizer

    from keras_transformer.text import TextPacker

    for lowercase, strip_accents in ((True, None), (False, True)):
        tokenizer = minilm_tokenizer
        if not lowercase:
            tokenizer = WordPieceTokenizer(minilm_tokenizer.vocabulary, lowercase, strip_accents)
        TextPacker(tokenizer, max_length=32).save(tmp_path)
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        texts = [t for t in TEXTS if isinstance(t, str)]
        expected = theirs(texts, add_special_tokens=False)["input_ids"]
        assert tokenizer.tokenize(texts).to_list() == expected
        ids = theirs.pad_token_id, theirs.unk_token_id, theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id
        ours = tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id
        assert ours == ids


# The differences that remain, each with a line in docs/text.md.


def test_known_difference_kept_marks_in_another_order():
    """Decomposition also sorts marks that follow each other. The op sees one character at a time."""
    marks = "\u302e", "\U0001d165"  # a Hangul tone and a musical stem: marks that BERT does not strip
    vocabulary = [*SPECIAL, "a", *(f"##{m}" for m in marks)]
    text = "a" + "".join(marks)
    assert unicodedata.normalize("NFD", text) != text
    assert WordPieceTokenizer(vocabulary).tokenize([text]).to_list() == [[5, 6, 7]]
    assert bert(vocabulary, lowercase=True)([text]) == [[5, 7, 6]]


def test_the_known_difference_needs_letters_that_minilm_does_not_have(minilm_tokenizer):
    alphabet = Alphabet.of(minilm_tokenizer.vocabulary, True, True, True)
    assert [c for c in alphabet.letters if unicodedata.combining(c)] == []


def test_known_difference_lone_surrogates_are_dropped(minilm_tokenizer, hugging_face):
    """They are no characters: Hugging Face raises an error."""
    assert minilm_tokenizer.tokenize(["fi\ud800lm"]).to_list() == minilm_tokenizer.tokenize(["film"]).to_list()
    with pytest.raises(Exception, match=r"surrogate|TextEncodeInput"):
        hugging_face(["fi\ud800lm"])


def test_known_difference_flags_of_special_tokens_are_not_obeyed():
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = [*SPECIAL, "film", "s", "[", "]", "mask"]
    ours = WordPieceTokenizer(vocabulary)
    for flag, text in (("single_word", "film[MASK]s"), ("normalized", "film [mask]")):
        theirs = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
        theirs.normalizer = normalizers.BertNormalizer()
        theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        options = {"normalized": False, flag: True}
        theirs.add_special_tokens([AddedToken(token, special=True, **options) for token in SPECIAL])
        assert ours.tokenize([text]).to_list() != encode(theirs, [text])


# Special tokens in the text.


def test_split_special_tokens_treats_them_as_plain_text():
    vocabulary = [*SPECIAL, "[", "]", "mask", "sep", "film"]
    texts = ["[MASK] film[SEP]", "[mask]"]
    assert WordPieceTokenizer(vocabulary).tokenize(texts).to_list() == [[4, 9, 3], [5, 7, 6]]
    plain = WordPieceTokenizer(vocabulary, split_special_tokens=True)
    assert plain.tokenize(texts).to_list() == [[5, 7, 6, 9, 5, 8, 6], [5, 7, 6]]


def test_special_tokens_of_other_names():
    names = dict(
        zip(
            ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
            "<p> <u> <s> </s> <mask>".split(),
            strict=True,
        )
    )
    tokenizer = WordPieceTokenizer(["film", *names.values(), "<", ">"], special_tokens=names)
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (
        1,
        2,
        3,
        4,
        5,
    )
    assert tokenizer.tokenize(["film<mask></s> <x> <MASK>"]).to_list() == [[0, 5, 4, 6, 2, 7, 6, 2, 7]]


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("mask_token", "mask", "begins and ends with ASCII punctuation"),
        ("mask_token", "[SEP][", "must not overlap"),
        ("mask_token", "<[SEP]>", "must not overlap"),
        ("mask_token", "[MASK][", "must not overlap"),
        ("eos_token", "[EOS]", "special_tokens may name"),
    ],
)
def test_special_tokens_that_cannot_be_found_are_refused(name, token, message):
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer([*SPECIAL, token, "film"], special_tokens={name: token})
    if name == "mask_token":
        WordPieceTokenizer([*SPECIAL, token, "film"], special_tokens={name: token}, split_special_tokens=True)


# Offsets.


def test_offsets_of_ascii_give_back_the_text(minilm_tokenizer):
    text = "The actors' unbelievable performances, [MASK] 10/10!!"
    ids, starts, ends = minilm_tokenizer.tokenize_with_offsets([text])
    tokens = [minilm_tokenizer.vocabulary[i].removeprefix("##") for i in ids[0]]
    words = [text[s:e] for s, e in zip(starts[0], ends[0], strict=True)]
    assert [w.lower() if w != "[MASK]" else w for w in words] == tokens
    assert len(tokens) == 12


def test_offsets_of_accents_cover_the_accents(minilm_tokenizer):
    for text in ("un café brûlé 中 naïveté", "un cafe\u0301 bru\u0302le\u0301 中 nai\u0308vete\u0301"):
        data = text.encode()
        ids, starts, ends = minilm_tokenizer.tokenize_with_offsets([text])
        for token, start, end in zip(ids[0].numpy(), starts[0], ends[0], strict=True):
            piece = unicodedata.normalize("NFD", data[start:end].decode())
            stripped = "".join(c for c in piece if not unicodedata.combining(c))
            assert stripped == minilm_tokenizer.vocabulary[token].removeprefix("##")
        covered = b"".join(data[s:e] for s, e in zip(starts[0], ends[0], strict=True))
        assert covered == data.replace(b" ", b"")


def test_offsets_are_in_order_and_inside_the_text(minilm_tokenizer):
    texts = [t if isinstance(t, bytes) else t.encode() for t in TEXTS]
    _, starts, ends = minilm_tokenizer.tokenize_with_offsets(texts)
    for text, row_starts, row_ends in zip(texts, starts.to_list(), ends.to_list(), strict=True):
        edges = [edge for pair in zip(row_starts, row_ends, strict=True) for edge in pair]
        assert edges == sorted(edges)
        assert all(0 <= edge <= len(text) for edge in edges)
        # Several tokens of one character (the letters of a Korean syllable) begin together; the last one ends it.
        for start, end, following in zip(row_starts, row_ends, [*row_starts[1:], None], strict=False):
            assert start < end or following == start


def test_unknown_words_keep_their_offsets(minilm_tokenizer):
    ids, starts, ends = minilm_tokenizer.tokenize_with_offsets(["a " + "x" * 101 + " b"])
    assert ids.to_list()[0][1] == minilm_tokenizer.unk_id
    assert (starts.to_list()[0][1], ends.to_list()[0][1]) == (2, 103)


# The interface.


def test_one_text_gives_a_plain_row(minilm_tokenizer):
    row = minilm_tokenizer.tokenize("a good film")
    assert row.shape == (3,)
    assert row.dtype == tf.int32
    assert minilm_tokenizer.tokenize(["a good film"]).to_list() == [row.numpy().tolist()]


def test_no_texts_give_no_rows(minilm_tokenizer):
    assert minilm_tokenizer.tokenize([]).to_list() == []


@pytest.mark.parametrize("texts", [3, [1, 2], [["a"], ["b"]], None, ["a", None], tf.constant([1])])
def test_what_is_no_text_is_refused(texts, minilm_tokenizer):
    with pytest.raises(ValueError, match="Received"):
        minilm_tokenizer.tokenize(texts)


def test_detokenize_joins_pieces(minilm_tokenizer):
    texts = ["The unbelievable actors!", "", "[MASK] films"]
    ids = minilm_tokenizer.tokenize(texts)
    joined = [t.decode() for t in minilm_tokenizer.detokenize(ids).numpy()]
    assert joined == ["the unbelievable actors !", "", "[MASK] films"]
    padded = tf.concat([[[minilm_tokenizer.cls_id]] * 3, ids.to_tensor()], 1)
    assert minilm_tokenizer.detokenize(padded)[2] == b"[CLS] [MASK] films"
    assert minilm_tokenizer.detokenize(padded, skip_special_tokens=True)[2] == b"films"
    assert minilm_tokenizer.detokenize(ids[0]) == b"the unbelievable actors !"


def test_a_path_and_a_list_give_the_same(tmp_path):
    vocabulary = [*SPECIAL, "film"]
    save_vocabulary(vocabulary, tmp_path / "words.txt")
    assert WordPieceTokenizer(tmp_path / "words.txt").vocabulary == tuple(vocabulary)
    assert WordPieceTokenizer(str(tmp_path / "words.txt")).vocabulary_size == 6
    with pytest.raises(FileNotFoundError, match="no vocabulary file"):
        WordPieceTokenizer(tmp_path / "none.txt")


@pytest.mark.parametrize(("words", "lowercase"), [([], False), (["Film", "##É"], True)])
def test_a_vocabulary_that_no_text_reaches_is_refused(words, lowercase):
    with pytest.raises(ValueError, match="no token that a text could contain"):
        WordPieceTokenizer([*SPECIAL, *words], lowercase)


def test_a_token_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="does not have this token"):
        WordPieceTokenizer([*SPECIAL, "film"]).token_to_id("filme")


def test_a_tokenizer_can_be_built_inside_a_function():
    @tf.function(autograph=False)
    def build_and_use(texts):
        return WordPieceTokenizer([*SPECIAL, "film"]).tokenize(texts).to_tensor()

    assert build_and_use(tf.constant(["film [SEP]"])).numpy().tolist() == [[5, 3]]
