"""Rows against a packer written in plain Python over Hugging Face's ids."""

import functools
import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_transformer.text import TextPacker
from tests.text.hard_strings import TEXTS

CLS, SEP = 101, 102
NAMES = ("token_ids", "segment_ids", "padding_mask")


def reference_rows(ids, max_length, truncation="head", head_fraction=0.25, stride=None):
    """Rows of [CLS] .. [SEP] and whose each is, the way a person would write it."""
    budget = max_length - 2
    rows, examples = [], []
    for example, tokens in enumerate(ids):
        if truncation == "windows":
            step = stride or budget // 2
            pieces, start = [tokens[:budget]], 0
            while start + budget < len(tokens):
                start += step
                pieces.append(tokens[start : start + budget])
        elif len(tokens) <= budget:
            pieces = [tokens]
        elif truncation == "head":
            pieces = [tokens[:budget]]
        else:
            head = round(head_fraction * budget)
            pieces = [tokens[:head] + tokens[len(tokens) - (budget - head) :]]
        rows += [[CLS, *piece, SEP] for piece in pieces]
        examples += [example] * len(pieces)
    return rows, examples


def padded(rows, length):
    token_ids = np.array([row + [0] * (length - len(row)) for row in rows], np.int32).reshape(len(rows), length)
    mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int32).reshape(len(rows), length)
    return {"token_ids": token_ids, "segment_ids": np.zeros_like(mask), "padding_mask": mask}


def assert_same(inputs, expected):
    assert tuple(inputs) == NAMES
    for name in NAMES:
        assert inputs[name].dtype == tf.int32
        np.testing.assert_array_equal(inputs[name], expected[name], err_msg=name)


@pytest.fixture(scope="module")
def texts(reviews):
    return [*reviews[:12], *TEXTS]


OPTIONS = [
    {"truncation": "head"},
    {"truncation": "head_tail"},
    {"truncation": "head_tail", "head_fraction": 0.0},
    {"truncation": "head_tail", "head_fraction": 1.0},
    {"truncation": "head_tail", "head_fraction": 0.6},
    {"truncation": "windows"},
    {"truncation": "windows", "stride": 1},
    {"truncation": "windows", "stride": 30},
    {"truncation": "windows", "stride": 7},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rows_equal_the_reference(options, minilm_tokenizer, hugging_face, texts):
    if options.get("stride") == 1:
        texts = texts[:2]
    packer = TextPacker(minilm_tokenizer, max_length=32, **options)
    rows, examples = reference_rows(hugging_face(texts), 32, **options)
    assert_same(packer(texts), padded(rows, 32))
    assert packer.tokens(texts).to_list() == rows
    windows, example_ids = packer.windows(texts)
    assert windows.to_list() == rows
    assert example_ids.dtype == tf.int32
    assert example_ids.numpy().tolist() == examples
    assert_same(packer.pack(windows), padded(rows, 32))
    assert_same(packer.pack(windows, 40), padded(rows, 40))


def test_length_none_is_the_longest_of_the_batch(minilm_tokenizer, hugging_face):
    packer = TextPacker(minilm_tokenizer, max_length=32)
    short = ["a film", "", "a very good film!"]
    rows, _ = reference_rows(hugging_face(short), 32)
    assert_same(packer(short), padded(rows, 7))
    assert packer([""])["token_ids"].numpy().tolist() == [[CLS, SEP]]


@pytest.mark.parametrize("truncation", ["head", "head_tail", "windows"])
@pytest.mark.parametrize("length", [3, 10, 32, 50])
def test_a_given_length_is_exact(length, truncation, minilm_tokenizer, hugging_face, texts):
    texts = texts[10:]
    packer = TextPacker(minilm_tokenizer, max_length=32, truncation=truncation)
    budget = min(length, 32) - 2
    rows, _ = reference_rows(hugging_face(texts), min(length, 32), truncation, stride=max(1, budget // 2))
    assert_same(packer(texts, length=length), padded(rows, length))


def test_every_token_is_in_a_window(minilm_tokenizer, hugging_face, reviews):
    for max_length, stride in itertools.product((5, 16, 33), (None, 1, 3)):
        packer = TextPacker(minilm_tokenizer, max_length=max_length, truncation="windows", stride=stride)
        rows, example_ids = packer.windows(reviews[:3])
        step = stride or (max_length - 2) // 2
        for example, tokens in enumerate(hugging_face(reviews[:3])):
            mine = [r[1:-1] for r, e in zip(rows.to_list(), example_ids.numpy(), strict=True) if e == example]
            rebuilt = mine[0][:]
            for window in mine[1:]:
                assert rebuilt[-(max_length - 2 - step) :] == window[: max_length - 2 - step] or step == max_length - 2
                rebuilt += window[max_length - 2 - step :]
            assert rebuilt == tokens


@pytest.mark.parametrize("truncation", ["head", "head_tail", "windows"])
def test_all_ways_to_call_agree(truncation, minilm_tokenizer, texts):
    texts = texts[:40]
    packer = TextPacker(minilm_tokenizer, max_length=24, truncation=truncation)
    expected = {name: values.numpy() for name, values in packer(texts, length=24).items()}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def packed(texts):
        return packer(texts, length=24)

    assert_same(packed(tf.constant(texts)), expected)
    assert packed.get_concrete_function().structured_outputs["token_ids"].shape.as_list() == [None, 24]
    assert_same(packer(np.array(texts, object), length=24), expected)

    dataset = tf.data.Dataset.from_tensor_slices(texts)
    one_by_one = list(dataset.map(lambda text: packer(text, length=24)))
    join = np.concatenate if truncation == "windows" else np.stack
    assert_same({name: tf.constant(join([o[name] for o in one_by_one])) for name in NAMES}, expected)
    batched = list(dataset.batch(7).map(lambda text: packer(text, length=24)))
    assert_same({name: tf.constant(np.concatenate([b[name] for b in batched])) for name in NAMES}, expected)
    # Without a length, each batch is as long as its longest row.
    for start, batch in zip(range(0, 40, 7), dataset.batch(7).map(packer), strict=True):
        assert_same(batch, {n: v.numpy() for n, v in packer(texts[start : start + 7]).items()})


def test_one_text_gives_one_row(minilm_tokenizer):
    packer = TextPacker(minilm_tokenizer, max_length=8)
    assert {name: values.shape for name, values in packer("a film").items()} == dict.fromkeys(NAMES, (4,))
    windows = TextPacker(minilm_tokenizer, max_length=8, truncation="windows")
    assert windows("a film " * 10)["token_ids"].shape == (6, 8)


@pytest.mark.parametrize("truncation", ["head", "head_tail", "windows"])
def test_no_texts_give_no_rows(truncation, minilm_tokenizer):
    packer = TextPacker(minilm_tokenizer, max_length=8, truncation=truncation)
    assert packer([])["token_ids"].shape == (0, 2)
    assert packer([], length=8)["padding_mask"].shape == (0, 8)
    rows, example_ids = packer.windows([])
    assert (rows.to_list(), example_ids.shape) == ([], (0,))


@pytest.mark.parametrize("truncation", ["head", "head_tail", "windows"])
def test_texts_of_100000_words(truncation, minilm_tokenizer):
    packer = TextPacker(minilm_tokenizer, max_length=512, truncation=truncation)
    # In a batch with others: padding all to the longest would take 100 times the memory.
    texts = ["first " + "film " * 99_998 + "last", *["a film"] * 200]
    rows, example_ids = packer.windows(texts)
    first, last = (minilm_tokenizer.token_to_id(t) for t in ("first", "last"))
    mine = [row.numpy() for row in rows[: rows.shape[0] - 200]]
    assert mine[0][1] == first
    assert (mine[-1][-2] == last) == (truncation != "head")
    # 255 new tokens a window after the first 510.
    assert len(mine) == (1 + -(-(100_000 - 510) // 255) if truncation == "windows" else 1)
    assert example_ids.numpy()[-1] == 200


# Another process that knows nothing of ours.
LOAD_AND_RUN = """
import pathlib, sys
import numpy as np, tensorflow as tf, tensorflow_text
texts = tf.constant(np.load(sys.argv[1] + "/texts.npz", allow_pickle=True)["texts"])
for path in pathlib.Path(sys.argv[1]).glob("*/saved_model.pb"):
    packed = tf.saved_model.load(str(path.parent)).signatures["serving_default"](texts=texts)
    np.savez(path.parent.with_suffix(".npz"), **packed)
assert not any(name.startswith("keras_transformer") for name in sys.modules)
"""


def test_a_saved_model_packs_as_the_packer_does(tmp_path, minilm_tokenizer, texts):
    texts = [t if isinstance(t, bytes) else t.encode() for t in texts]
    np.savez(tmp_path / "texts.npz", texts=np.array(texts, object))
    packers = {t: TextPacker(minilm_tokenizer, max_length=24, truncation=t) for t in ("head", "head_tail", "windows")}
    for truncation, packer in packers.items():
        module = tf.Module()
        module.packer = packer
        module.pack = tf.function(
            functools.partial(TextPacker.__call__, packer, length=None),
            input_signature=[tf.TensorSpec([None], tf.string, "texts")],
        )
        tf.saved_model.save(module, str(tmp_path / truncation), signatures=module.pack)
        assert list((tmp_path / truncation / "assets").glob("*")) == []
    subprocess.run([sys.executable, "-c", LOAD_AND_RUN, str(tmp_path)], check=True, timeout=500)
    for truncation, packer in packers.items():
        packed = np.load(tmp_path / f"{truncation}.npz")
        assert_same({name: tf.constant(packed[name]) for name in NAMES}, packer(texts))


def test_the_graph_holds_few_kinds_of_operations(minilm_tokenizer):
    """What TF Serving must know beside TensorFlow's own: three operations of TF Text."""
    packer = TextPacker(minilm_tokenizer, max_length=24)
    function = tf.function(packer).get_concrete_function(tf.TensorSpec([None], tf.string))
    kinds = {node.op for node in function.graph.as_graph_def().node}
    text_kinds = {k for k in kinds if k.startswith("TFText>") or k.startswith("Fast")}
    assert text_kinds == {"FastBertNormalize", "FastWordpieceTokenizeWithOffsets", "TFText>ByteSplitWithOffsets"}
    assert not [k for k in kinds if "Ragged" in k or "Lookup" in k or "Table" in k or "PyFunc" in k or "Assert" in k]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 2}, r"max_length must be an integer of at least 3.*Received: 2"),
        ({"max_length": 12.5}, r"Received: 12\.5"),
        ({"truncation": "tail"}, r"truncation must be one of.*Received: 'tail'"),
        ({"head_fraction": 1.5}, r"head_fraction must be from 0 to 1.*Received: 1\.5"),
        ({"stride": 0}, r"stride must be from 1 to max_length - 2 = 510.*Received: 0"),
        ({"stride": 511}, "Received: 511"),
        ({"tokenizer": "[UNK]"}, "tokenizer must be a WordPieceTokenizer, ByteLevelBPE.*Received: str"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message, minilm_tokenizer):
    with pytest.raises(ValueError, match=message):
        TextPacker(**{"tokenizer": minilm_tokenizer} | arguments)


def test_calls_that_would_lose_tokens_are_refused(minilm_tokenizer):
    packer = TextPacker(minilm_tokenizer, max_length=32, truncation="windows", stride=20)
    with pytest.raises(ValueError, match=r"stride 20 is more than the 8 tokens.*Received: length=10"):
        packer(["a film"], length=10)
    with pytest.raises(ValueError, match=r"length must be an integer of at least 3.*Received: 1"):
        packer(["a film"], length=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="longer than length=4"):
        packer.pack(packer.tokens(["a very good film"]), length=4)


def test_which_packers_go_into_tflite(minilm_tokenizer):
    for truncation, supported in (("head", True), ("head_tail", True), ("windows", False)):
        answer, reason = TextPacker(minilm_tokenizer, truncation=truncation).tflite_supported()
        assert (answer, bool(reason)) == (supported, not supported)
