"""Packers of all tokenizers: the rows of Hugging Face, on disk and back, in a SavedModel."""

import json

import numpy as np
import pytest
import tensorflow as tf
import transformers

from keras_transformer.text import Frame, TextPacker, load_tokenizer
from tests.text.subword_texts import HARD
from tests.text.test_packer import assert_same

FOLDERS = ("gpt2_folder", "roberta_folder", "albert_folder", "t5_folder", "llama_folder")
FRAMES = {
    "gpt2_folder": Frame(),
    "roberta_folder": Frame(("<s>",), ("</s>",)),
    "albert_folder": Frame(("[CLS]",), ("[SEP]",)),
    "t5_folder": Frame((), ("</s>",)),
    "llama_folder": Frame(("<s>",), ()),
}
TEXTS = ["A fine film!", "", "It was a very long film about café life, and nobody liked the end of it. " * 4, "中 😀"]


@pytest.fixture(params=FOLDERS)
def folder(request, tmp_path):
    return request.getfixturevalue(request.param)


@pytest.fixture
def packer(folder):
    return TextPacker.load(folder)


def their_rows(folder, texts, **options):
    """Ids of transformers; its Llama class puts <s> before a text if it is told to, as published folders do."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if "Llama" in type(tokenizer).__name__:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, add_bos_token=True)
    return tokenizer(texts, **options)["input_ids"]


def test_the_frame_is_that_of_the_class(request):
    for name, frame in FRAMES.items():
        packer = TextPacker.load(request.getfixturevalue(name))
        assert packer.frame == frame
        assert len(packer.frame) == len(frame.before) + len(frame.after)


def test_rows_are_those_of_transformers(folder, packer, reviews):
    texts = [*reviews[:20], *TEXTS]
    assert packer.whole(texts).to_list() == their_rows(folder, texts)
    short = TextPacker(packer.tokenizer, max_length=24)
    assert short.tokens(texts).to_list() == their_rows(folder, texts, truncation=True, max_length=24)


@pytest.mark.parametrize("truncation", ["head", "head_tail", "windows"])
def test_rows_are_cut_between_the_tokens_of_the_frame(truncation, packer):
    ids = packer.tokenizer.tokenize(TEXTS).to_list()
    before, after = ([packer.tokenizer.id_of(t) for t in side] for side in (packer.frame.before, packer.frame.after))
    budget = 11 - len(packer.frame)
    expected, examples = [], []
    for example, tokens in enumerate(ids):
        pieces = [tokens]
        if len(tokens) > budget and truncation == "head":
            pieces = [tokens[:budget]]
        elif len(tokens) > budget and truncation == "head_tail":
            head = round(0.25 * budget)
            pieces = [tokens[:head] + tokens[len(tokens) - budget + head :]]
        elif truncation == "windows":
            step = budget // 2
            pieces = [tokens[i : i + budget] for i in range(0, max(len(tokens) - budget, 0) + step, step)]
        expected += [[*before, *piece, *after] for piece in pieces]
        examples += [example] * len(pieces)
    packer = TextPacker(packer.tokenizer, max_length=11, truncation=truncation)
    rows, example_ids = packer.windows(TEXTS)
    assert rows.to_list() == expected
    assert example_ids.numpy().tolist() == examples
    packed = packer(TEXTS, length=13)
    padded = np.full((len(expected), 13), packer.pad_id)
    for row, tokens in zip(padded, expected, strict=True):
        row[: len(tokens)] = tokens
    np.testing.assert_array_equal(packed["token_ids"], padded)
    np.testing.assert_array_equal(packed["padding_mask"].numpy().sum(1), [len(tokens) for tokens in expected])
    assert_same(packer.pack(rows, 13), {name: value.numpy() for name, value in packed.items()})


def test_packers_are_saved_and_loaded_by_us_and_by_transformers(folder, packer, tmp_path):
    packer = TextPacker(packer.tokenizer, max_length=20, truncation="head_tail", head_fraction=0.5)
    packer.save(tmp_path)
    again = TextPacker.load(tmp_path)
    assert type(again.tokenizer) is type(packer.tokenizer)
    assert again.get_config() == packer.get_config()
    assert json.loads(json.dumps(packer.get_config())) == packer.get_config()
    texts = [*TEXTS, *HARD[:40]]
    assert again.tokens(texts).to_list() == packer.tokens(texts).to_list()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.model_max_length == 20
    assert theirs(TEXTS)["input_ids"] == packer.whole(TEXTS).to_list()
    assert TextPacker.load(tmp_path, max_length=9, truncation="head").max_length == 9
    with pytest.raises(ValueError, match=r"can be replaced\. Received: \['length'\]"):
        TextPacker.load(tmp_path, length=9)


def test_a_saved_model_packs_as_the_packer_does(packer, tmp_path):
    packer = TextPacker(packer.tokenizer, max_length=16, truncation="head_tail")
    module = tf.Module()
    module.packer = packer
    signature = [tf.TensorSpec([None], tf.string, "texts")]
    module.pack = tf.function(lambda texts: packer(texts), input_signature=signature)
    tf.saved_model.save(module, str(tmp_path), signatures=module.pack)
    texts = [*TEXTS, b"caf\xe9 film", *HARD[:40]]
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    expected = packer(texts)
    assert_same(
        {name: serve(texts=tf.constant(texts))[name] for name in expected},
        {name: value.numpy() for name, value in expected.items()},
    )


def test_bytes_that_are_not_utf_8_do_not_stop_a_batch(packer):
    assert packer.tokens([b"a\xffb", "film"]).to_list() == packer.tokens(["a\ufffdb", "film"]).to_list()


def test_no_texts_and_one_text(packer):
    assert packer([])["token_ids"].shape == (0, len(packer.frame))
    assert packer("film")["token_ids"].shape.rank == 1
    np.testing.assert_array_equal(packer("film")["token_ids"], packer(["film"])["token_ids"][0])


def test_none_of_them_goes_into_tflite(packer):
    supported, reason = packer.tflite_supported()
    assert not supported
    assert reason.endswith(f"Send token ids (a {type(packer.tokenizer).__name__} makes them before).")


@pytest.mark.parametrize("fixture", ["gpt2_folder", "roberta_folder"])
def test_a_row_has_room_for_its_frame_and_a_token(fixture, request):
    tokenizer = load_tokenizer(request.getfixturevalue(fixture))
    least = len(Frame.of(tokenizer)) + 1
    assert TextPacker(tokenizer, max_length=least).tokens(["film"]).shape[0] == 1
    with pytest.raises(ValueError, match=rf"at least {least}: .*one token.*Received: {least - 1}"):
        TextPacker(tokenizer, max_length=least - 1)
    with pytest.raises(ValueError, match=r"The vocabulary does not have this token\. Received: '\[CLS\]'"):
        TextPacker(tokenizer, frame=Frame(before=("[CLS]",)))
    with pytest.raises(ValueError, match=r"before must be a list of tokens.*Received: '<s>'"):
        TextPacker(tokenizer, frame={"before": "<s>"})


def test_a_folder_says_its_frame(llama_folder, gpt2_folder):
    """What published folders have: flags in tokenizer_config.json, a post-processor in tokenizer.json."""
    llama, gpt2 = load_tokenizer(llama_folder), load_tokenizer(gpt2_folder)
    flags = {"add_bos_token": True, "add_eos_token": True}
    assert Frame.of_folder(llama, flags, {}) == Frame(("<s>",), ("</s>",))
    assert Frame.of_folder(llama, {"add_bos_token": False}, {}) == Frame()
    assert Frame.of_folder(gpt2, {"add_bos_token": True}, {}) == Frame(("<|endoftext|>",))
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "bos", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"bos": {"id": "bos", "ids": [1], "tokens": ["<s>"]}},
    }
    nothing = {"type": "ByteLevel", "trim_offsets": True}
    assert Frame.of_folder(gpt2, {}, {"post_processor": template}) == Frame(("<s>",))
    assert Frame.of_folder(gpt2, {}, {"post_processor": nothing}) == Frame()
    both = {"type": "Sequence", "processors": [nothing, template]}
    assert Frame.of_folder(gpt2, {}, {"post_processor": both}) == Frame(("<s>",))
    roberta = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}
    assert Frame.of_folder(llama, {}, {"post_processor": roberta}) == Frame(("<s>",), ("</s>",))
