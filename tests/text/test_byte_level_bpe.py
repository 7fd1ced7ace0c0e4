"""Byte-level BPE, against the Hugging Face tokenizers that read the same files."""

import json
import random
import shutil

import pytest
import tensorflow as tf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from keras_transformer.text import ByteLevelBPETokenizer
from keras_transformer.text.byte_level import bytes_to_letters
from tests.text.subword_texts import HARD, first_difference, mixtures

SPECIAL = {"gpt2": ["<|endoftext|>"], "roberta": ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]}


def reference(folder, special_tokens=(), add_prefix_space=False):
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, lstrip=t == "<mask>", special=True) for t in special_tokens])
    return tokenizer


@pytest.fixture(params=["gpt2", "roberta"])
def pair(request, gpt2_folder, roberta_folder):
    """Ours, Hugging Face's, and the special tokens."""
    special = SPECIAL[request.param]
    folder = gpt2_folder if request.param == "gpt2" else roberta_folder
    return ByteLevelBPETokenizer.load(folder), reference(folder, special, request.param == "roberta"), special


def check(ours, theirs, texts):
    expected = theirs.encode_batch(texts, add_special_tokens=False)
    ids, starts, ends = (values.to_list() for values in ours.tokenize_with_offsets(texts))
    assert first_difference(texts, ids, [e.ids for e in expected]) is None
    # A token that is only the blank of add_prefix_space comes from no character; there Hugging Face has the first one.
    found = [list(zip(a, b, strict=True)) for a, b in zip(starts, ends, strict=True)]
    ranges = [
        [pair if pair[0] == pair[1] else other for pair, other in zip(row, e.offsets, strict=True)]
        for row, e in zip(found, expected, strict=True)
    ]
    assert first_difference(texts, found, ranges) is None
    empty = {ids[i][j] for i, row in enumerate(found) for j, (a, b) in enumerate(row) if a == b}
    assert empty <= ({ours.id_of("Ġ")} if ours.add_prefix_space else set())


def test_ids_and_offsets_equal_hugging_face(pair, reviews):
    ours, theirs, special = pair
    check(ours, theirs, HARD + mixtures(3, 500) + mixtures(4, 700, special))
    check(ours, theirs, reviews[:: len(reviews) // 100])


@pytest.mark.slow
def test_ids_and_offsets_of_10000_reviews_equal_hugging_face(pair, reviews):
    ours, theirs, _ = pair
    for i in range(0, 10_000, 1000):
        check(ours, theirs, reviews[i * 2 : i * 2 + 2000 : 2])


def test_text_of_a_range_is_the_text_of_the_token(pair, reviews):
    ours, _, _ = pair
    text = reviews[3]
    ids, starts, ends = (values.numpy() for values in ours.tokenize_with_offsets(text))
    tokens = ours.detokenize(ids[:, None]).numpy()
    for token, start, end in zip(tokens, starts, ends, strict=True):
        assert token.decode().strip() == text[start:end].strip()


def test_all_tokens_of_a_split_character_have_the_whole_character(gpt2_folder):
    tokenizer = ByteLevelBPETokenizer.load(gpt2_folder)
    _, starts, ends = tokenizer.tokenize_with_offsets("x😀y")
    assert list(zip(starts.numpy(), ends.numpy(), strict=True)) == [(0, 1), *[(1, 2)] * 4, (2, 3)]
    _, starts, ends = tokenizer.tokenize_with_offsets("x😀y", unit="bytes")
    assert list(zip(starts.numpy(), ends.numpy(), strict=True)) == [(0, 1), *[(1, 5)] * 4, (5, 6)]


def test_every_text_is_decoded_to_itself(gpt2_folder, reviews):
    tokenizer = ByteLevelBPETokenizer.load(gpt2_folder)
    texts = [*HARD, *mixtures(5, 700, SPECIAL["gpt2"]), *reviews[::200]]
    assert tokenizer.detokenize(tokenizer.tokenize(texts)).numpy().tolist() == [text.encode() for text in texts]


@pytest.mark.parametrize("skip", [False, True])
def test_decoding_any_ids_equals_hugging_face(pair, skip):
    ours, theirs, _ = pair
    rng = random.Random(0)
    rows = [rng.choices(range(ours.vocabulary_size), k=rng.randrange(12)) for _ in range(500)]
    rows += [rng.choices(range(300), k=rng.randrange(12)) for _ in range(500)]  # bytes: broken UTF-8
    decoded = ours.detokenize(tf.ragged.constant(rows, tf.int32), skip_special_tokens=skip).numpy()
    expected = [theirs.decode(row, skip_special_tokens=skip) for row in rows]
    assert first_difference(rows, [text.decode() for text in decoded], expected) is None


@pytest.mark.parametrize("name", ["gpt2", "roberta"])
def test_hugging_face_reads_what_was_saved(name, gpt2_folder, roberta_folder, tmp_path):
    from transformers import AutoTokenizer

    ours = ByteLevelBPETokenizer.load(gpt2_folder if name == "gpt2" else roberta_folder)
    ours.save(tmp_path / "folder")
    again = ByteLevelBPETokenizer.load(tmp_path / "folder")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "folder")
    texts = HARD + mixtures(6, 500, SPECIAL[name])
    expected = theirs(texts, add_special_tokens=False)["input_ids"]
    assert first_difference(texts, ours.tokenize(texts).to_list(), expected) is None
    assert again.tokenize(texts).to_list() == expected
    assert again.get_config() == ours.get_config()
    assert (len(theirs), theirs.eos_token_id) == (ours.vocabulary_size, ours.eos_id)


def test_a_folder_with_only_tokenizer_json_is_loaded(roberta_folder, tmp_path):
    theirs = reference(roberta_folder, SPECIAL["roberta"], add_prefix_space=True)
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = ByteLevelBPETokenizer.load(tmp_path)
    assert ours.mask_id == 4
    check(ours, theirs, mixtures(7, 300, SPECIAL["roberta"]))


def test_added_tokens_strip_and_come_after_the_vocabulary(gpt2_folder):
    tokens = [AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True), AddedToken("<le>"), "<le"]
    theirs = reference(gpt2_folder, SPECIAL["gpt2"])
    theirs.add_special_tokens(tokens[:3])
    theirs.add_tokens(tokens[3:])
    flags = [{"content": "<left>", "lstrip": True}, {"content": "<right>", "rstrip": True}, {"content": "<le>"}]
    ours = ByteLevelBPETokenizer(
        gpt2_folder / "vocab.json",
        gpt2_folder / "merges.txt",
        special_tokens={"eos_token": "<|endoftext|>"},
        added_tokens=[*flags, {"content": "<le", "special": False}],
    )
    texts = mixtures(8, 1000, ["<left>", "<right>", "<le>", "<le", "<|endoftext|>"])
    check(ours, theirs, texts)
    assert ours.vocabulary_size == 3004
    rows = ours.tokenize(texts)
    skipped = ours.detokenize(rows, skip_special_tokens=True).numpy()
    assert [t.decode() for t in skipped] == [theirs.decode(row) for row in rows.to_list()]


def test_added_tokens_may_be_white_space(gpt2_folder):
    theirs = reference(gpt2_folder, ["  ", "    ", "\n\n"])
    arguments = {"vocabulary": gpt2_folder / "vocab.json", "merges": gpt2_folder / "merges.txt"}
    ours = ByteLevelBPETokenizer(**arguments, added_tokens=["  ", "    ", "\n\n"])
    check(ours, theirs, mixtures(12, 500, ["  ", "   ", "\n", "\n\n"]))
    with pytest.raises(ValueError, match=r"takes the white space beside it.*Received: '<x>' and '\\n'\."):
        ByteLevelBPETokenizer(**arguments, added_tokens=[{"content": "<x>", "lstrip": True}, "\n"])


def test_special_tokens_are_plain_text_where_they_are_split(gpt2_folder):
    ours = ByteLevelBPETokenizer(
        gpt2_folder / "vocab.json",
        gpt2_folder / "merges.txt",
        special_tokens={"eos_token": "<|endoftext|>"},
        split_special_tokens=True,
    )
    check(ours, reference(gpt2_folder), mixtures(9, 300, SPECIAL["gpt2"]))


def test_merges_that_are_not_in_the_order_of_training_equal_hugging_face():
    letters = bytes_to_letters()
    rng = random.Random(0)
    for _ in range(4):
        tokens, merges = ["a", "b", "c"], []
        for _ in range(25):
            left, right = rng.choices(tokens, k=2)
            merges.append((left, right))
            tokens.append(left + right)
        vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*letters, *tokens]))}
        merges = list(dict.fromkeys(merges))
        rng.shuffle(merges)
        theirs = Tokenizer(models.BPE(vocabulary, merges))
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        ours = ByteLevelBPETokenizer(vocabulary, [" ".join(merge) for merge in merges])
        check(ours, theirs, ["".join(rng.choices("abc", k=rng.randrange(30))) for _ in range(150)])


def test_ids_come_from_a_saved_model_that_takes_text(pair, tmp_path):
    ours, theirs, special = pair
    module = tf.Module()
    module.tokenizer = ours
    module.tokenize = tf.function(lambda t: ours.tokenize(t), input_signature=[tf.TensorSpec([None], tf.string)])
    module.text = tf.function(
        lambda i: ours.detokenize(i), input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)]
    )
    tf.saved_model.save(module, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path))
    texts = ["", "x", *mixtures(10, 300, special)]
    rows = served.tokenize(tf.constant(texts))
    assert rows.to_list() == [e.ids for e in theirs.encode_batch(texts, add_special_tokens=False)]
    assert served.text(rows).numpy().tolist() == ours.detokenize(rows).numpy().tolist()
    assert served.tokenize(tf.constant([], tf.string)).to_list() == []
    with pytest.raises(tf.errors.InvalidArgumentError, match="Every id must be from 0 to"):
        served.text(tf.ragged.constant([[10**6]], tf.int32))


def test_broken_utf8_is_an_error_in_python_and_replaced_in_a_graph(gpt2_folder):
    tokenizer = ByteLevelBPETokenizer.load(gpt2_folder)
    broken = ["fine", b"caf\xe9 film \xf0\x9f\x98 \xed\xa0\x80"]
    with pytest.raises(ValueError, match=r"must be valid UTF-8.*Received: text 1 with b'caf.*at byte 3\."):
        tokenizer.tokenize(broken)
    rows = tf.function(lambda texts: tokenizer.tokenize(texts))(tf.constant(broken))
    assert rows.to_list() == tokenizer.tokenize(["fine", broken[1].decode("utf-8", "replace")]).to_list()


def test_one_text_gives_one_row(gpt2_folder):
    tokenizer = ByteLevelBPETokenizer.load(gpt2_folder)
    assert tokenizer.tokenize("a film").numpy().tolist() == tokenizer.tokenize(["a film"]).to_list()[0]
    assert tokenizer.detokenize(tokenizer.tokenize("a film")).numpy() == b"a film"
    assert tokenizer.tokenize([]).to_list() == []
    assert tokenizer.tokenize([""]).to_list() == [[]]
    assert tokenizer.detokenize([]).numpy() == b""


def test_special_ids_are_those_of_the_vocabulary(roberta_folder, gpt2_folder):
    roberta = ByteLevelBPETokenizer.load(roberta_folder)
    names = ("bos", "pad", "eos", "unk", "mask", "cls", "sep")
    assert [getattr(roberta, f"{name}_id") for name in names] == [0, 1, 2, 3, 4, 0, 2]
    assert roberta.id_of("Ġthe") == json.loads((roberta_folder / "vocab.json").read_text())["Ġthe"]
    with pytest.raises(ValueError, match="This tokenizer has no pad_token"):
        _ = ByteLevelBPETokenizer.load(gpt2_folder).pad_id
    with pytest.raises(ValueError, match=r"does not have this token\. Received: 'nonsense'"):
        roberta.id_of("nonsense")


def test_the_constructor_makes_the_same_of_the_config(pair):
    ours, _, special = pair
    again = ByteLevelBPETokenizer(**json.loads(json.dumps(ours.get_config())))
    texts = mixtures(11, 200, special)
    assert again.tokenize(texts).to_list() == ours.tokenize(texts).to_list()
    assert again.get_config() == ours.get_config()


def test_errors_say_what_was_wrong(gpt2_folder, roberta_folder, tmp_path):
    load = ByteLevelBPETokenizer.load
    with pytest.raises(FileNotFoundError, match="There is no folder with a tokenizer"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"vocab\.json and merges\.txt, or tokenizer\.json"):
        load(tmp_path)
    shutil.copy(gpt2_folder / "vocab.json", tmp_path)
    shutil.copy(roberta_folder / "merges.txt", tmp_path)
    with pytest.raises(ValueError, match=r"The merges do not fit the vocabulary.* at merge \d+, where"):
        load(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\nĠ t\nonly\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"two tokens with one blank between\. Received: 'only' at merge 1"):
        load(tmp_path)
    (tmp_path / "merges.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="must be UTF-8"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"a token for each of the 256 bytes\. Received: 2 tokens without 254"):
        ByteLevelBPETokenizer({"a": 0, "b": 1}, [])
    with pytest.raises(ValueError, match="ids of a vocabulary must be 0, 1, 2"):
        ByteLevelBPETokenizer({letter: i + 1 for i, letter in enumerate(bytes_to_letters())}, [])
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(ValueError, match=r"must be JSON. Received: .*vocab\.json"):
        load(tmp_path)
    tokenizer = load(gpt2_folder)
    for wrong in (3000, -1):
        with pytest.raises(ValueError, match=rf"from 0 to 2999, the vocabulary.*Received: {wrong}\."):
            tokenizer.detokenize([[1, wrong]])
    with pytest.raises(ValueError, match="unit must be"):
        tokenizer.tokenize_with_offsets("a", unit="words")
    with pytest.raises(ValueError, match="single_word=True"):
        ByteLevelBPETokenizer(
            gpt2_folder / "vocab.json", gpt2_folder / "merges.txt", added_tokens=[{"content": "x", "single_word": True}]
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, "without a normalizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "split words as GPT-2 does"),
        ({"model": {"type": "Unigram", "vocab": []}}, "Only BPE can be loaded"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": [], "ignore_merges": True}}, "ignore_merges=True"),
    ],
)
def test_another_kind_of_tokenizer_json_is_refused(change, message, gpt2_folder, tmp_path):
    reference(gpt2_folder).save(str(tmp_path / "tokenizer.json"))
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=message):
        ByteLevelBPETokenizer.load(tmp_path)
