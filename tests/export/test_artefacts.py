"""What the written files hold and answer. One export serves all tests of this file."""

import collections
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from keras_transformer.export import differences, operators, runners, verify
from keras_transformer.export.checks import read_checks, token_batch, write_checks
from keras_transformer.export.signatures import Contract
from tests.export.tiny_pipeline import make_pipeline

NUM_LAYERS = 2
# Operators of TF Text 2.20, which TensorFlow Serving links.
TF_TEXT = {"FastBertNormalize", "FastWordpieceTokenizeWithOffsets", "TFText>ByteSplitWithOffsets"}
HARD = ["", "good", "x" * 100_000, "the film was bad. " * 4000, b"\xff\xfe good \x80", "[MASK] [SEP] film", "很好 😀"]

FRESH = """
import json, sys
import tensorflow as tf, tensorflow_text
loaded = tf.saved_model.load(sys.argv[1])
assert not [name for name in sys.modules if name.startswith("keras_transformer")]
rows = json.load(sys.stdin)
text = loaded.signatures["serving_default"](text=tf.constant([row["text"] for row in rows]))
answers = {name: value.numpy().tolist() for name, value in text.items() if name != "label"}
answers["label"] = [value.decode() for value in text["label"].numpy()]
answers["logits"] = []
for row in rows:
    ids = tf.constant(row["rows"])
    tokens = {"input_word_ids": ids, "input_mask": tf.ones_like(ids), "input_type_ids": tf.zeros_like(ids)}
    answers["logits"] += loaded.signatures["tokens"](**tokens)["logits"].numpy().tolist()
print(json.dumps(answers))
"""


def served_by_saved_model(exported, texts):
    return runners.open_saved_model(exported.saved_model)["serving_default"](text=texts)


def served_by_tflite(exported, texts):
    return runners.open_tflite(exported.text)[1](text=texts)


def test_a_fresh_process_needs_only_tensorflow_and_tf_text(exported):
    checks = read_checks(exported.saved_model / "assets.extra")
    result = subprocess.run(
        [sys.executable, "-c", FRESH, str(exported.saved_model)],
        input=json.dumps(checks),
        env={**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
        cwd=exported.folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    answers = json.loads(result.stdout)
    predicted = exported.pipeline.predict(exported.pipeline.check_texts)
    assert answers["label"] == [answer["label"] for answer in predicted]
    np.testing.assert_allclose(answers["score"], [answer["score"] for answer in predicted], atol=1e-5)
    named = [list(answer["probabilities"].values()) for answer in predicted]
    np.testing.assert_allclose(answers["probabilities"], named, atol=1e-5)
    np.testing.assert_allclose(answers["logits"], exported.pipeline.logits(exported.pipeline.check_texts), atol=1e-4)


def test_signatures_are_the_frozen_ones(exported):
    import tensorflow as tf

    signatures = tf.saved_model.load(str(exported.saved_model)).signatures
    assert set(signatures) == {"serving_default", "tokens", "text_logits", "embed", "classify"}
    text, tokens = signatures["serving_default"], signatures["tokens"]
    assert text.structured_input_signature[1] == {"text": tf.TensorSpec([None], tf.string, name="text")}
    shapes = {name: (spec.shape.as_list(), spec.dtype) for name, spec in text.structured_outputs.items()}
    served = {"probabilities": ([None, 2], tf.float32), "label": ([None], tf.string), "score": ([None], tf.float32)}
    assert shapes == served
    for name in ("input_word_ids", "input_mask", "input_type_ids"):
        spec = tokens.structured_input_signature[1][name]
        assert (spec.shape.as_list(), spec.dtype) == ([None, None], tf.int32)
    shapes = {name: (spec.shape.as_list(), spec.dtype) for name, spec in tokens.structured_outputs.items()}
    assert shapes == served | {"logits": ([None, 2], tf.float32)}
    assert signatures["text_logits"].structured_outputs["logits"].shape.as_list() == [None, 2]


@pytest.mark.parametrize("serve", [served_by_saved_model, served_by_tflite])
def test_a_text_is_answered_alike_alone_doubled_and_among_others(exported, serve):
    texts = [text if isinstance(text, bytes) else text.encode() for text in HARD]
    together = serve(exported, texts)["probabilities"]
    assert np.isfinite(together).all()
    few = [6, 5, 1, 0, 1, 0, 4]
    again = serve(exported, [texts[i] for i in few])["probabilities"]
    np.testing.assert_allclose(again, together[few], atol=1e-6)
    for i in (0, 1, 4):
        np.testing.assert_allclose(serve(exported, [texts[i]])["probabilities"][0], together[i], atol=1e-6)
    np.testing.assert_allclose(together, exported.pipeline.probabilities(texts), atol=1e-5)


def test_the_saved_model_gives_logits_of_raw_text(exported):
    outputs = runners.open_saved_model(exported.saved_model)["text_logits"](text=["The film!", "not great, bad"])
    assert set(outputs) == {"logits"}
    np.testing.assert_allclose(outputs["logits"], exported.pipeline.logits(["The film!", "not great, bad"]), atol=1e-4)


def test_the_cpu_runs_fused_kernels_in_both_signatures(exported):
    ids = np.array([[2, 5, 6, 3], [2, 7, 3, 0]], "int32")
    tokens = {"input_word_ids": ids, "input_mask": (ids > 0).astype("int32"), "input_type_ids": 0 * ids}
    for signature, inputs in (("tokens", tokens), ("serving_default", {"text": ["good", "bad film"]})):
        counts = operators.optimized_operators(exported.saved_model, signature, inputs)
        assert counts["_MklNativeFusedMatMul[BiasAdd,GeluExact]"] == NUM_LAYERS
        assert counts["_MklFusedBatchMatMulV2[Mul,Add]"] == NUM_LAYERS
        # Query, key, value, output and the second half of the feed-forward; and the head.
        assert counts["_MklNativeFusedMatMul[BiasAdd]"] == 5 * NUM_LAYERS + 1
        assert "MatMul" not in counts
        assert "Erfc" not in counts


def test_saved_model_holds_nothing_that_a_server_lacks(exported):
    counts = operators.saved_model_operators(exported.saved_model)
    assert {name for name in counts if "Fast" in name or ">" in name} == TF_TEXT
    forbidden = ("PyFunc", "Xla", "HashTable", "Random", "Regex", "Sentencepiece", "Dropout")
    # The saver itself matches a file name.
    found = [name for name in counts if name != "StaticRegexFullMatch" and any(word in name for word in forbidden)]
    assert not found
    assert b"_XlaMustCompile" not in (exported.saved_model / "saved_model.pb").read_bytes()
    assert not list((exported.saved_model).glob("assets/*"))


def test_saved_model_stores_every_weight_once(exported):
    weights = sum(np.prod(weight.shape) for weight in exported.pipeline.model.weights) * 4
    stored = (exported.saved_model / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert weights < stored + 100 < weights + 20_000


def test_token_file_needs_no_custom_operator_and_no_shapes(exported):
    found = operators.tflite_operators(exported.tokens)
    assert found["custom"] == {}
    assert found["subgraphs"] == 1
    assert not {"SHAPE", "PACK", "FILL", "REDUCE_PROD", "VAR_HANDLE", "READ_VARIABLE"} & set(found["builtin"])
    assert found["builtin"]["GELU"] == NUM_LAYERS
    weights = sum(np.prod(weight.shape) for weight in exported.pipeline.model.weights) * 4
    # A graph of this size takes some 30 kB; the weights must be there once.
    assert weights < exported.tokens.stat().st_size < 1.05 * weights + 40_000


def test_text_file_needs_only_operators_of_tf_text(exported):
    found = operators.tflite_operators(exported.text)
    assert set(found["custom"]) == TF_TEXT
    assert found["subgraphs"] == 1


def test_operators_are_those_that_the_interpreter_sees(exported):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(exported.tokens), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    seen = collections.Counter(operator["op_name"] for operator in interpreter._get_ops_details())
    assert operators.tflite_operators(exported.tokens)["builtin"] == dict(seen)


@pytest.mark.parametrize("file", ["tokens", "text"])
def test_tflite_files_give_the_logits_of_keras(exported, file):
    path = getattr(exported, file)
    contract, checks = Contract.load(path.parent), read_checks(path.parent)
    takes_text, run = runners.open_tflite(path)
    assert takes_text == (file == "text")
    expected = exported.pipeline.logits([check["text"] for check in checks])
    for check, logits in zip(checks, expected, strict=True):
        inputs = {"text": [check["text"]]} if takes_text else token_batch(check["rows"], contract.max_length)
        outputs = run(**inputs)
        assert set(outputs) == {"logits", "probabilities", "label", "score"}
        np.testing.assert_allclose(outputs["logits"], [logits], atol=1e-4)
        assert outputs["label"][0].decode() == exported.pipeline.class_names[logits.argmax()]


def test_the_token_file_runs_in_the_plain_interpreter(exported):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(exported.tokens)).get_signature_runner()
    ids = exported.pipeline.packer(["the film was good"], length=24)
    outputs = runner(
        input_word_ids=ids["token_ids"].numpy(),
        input_mask=ids["padding_mask"].numpy(),
        input_type_ids=ids["segment_ids"].numpy(),
    )
    np.testing.assert_allclose(outputs["logits"], exported.pipeline.logits(["the film was good"]), atol=1e-4)


def test_the_vocabulary_lies_beside_the_token_file(exported):
    from keras_transformer.text import TextPacker

    packer = TextPacker.load(exported.tokens.parent)
    text = ["Great film, not a bad story!"]
    assert packer.tokens(text).to_list() == exported.pipeline.packer.tokens(text).to_list()


def test_the_report_says_what_was_written(exported):
    report = exported.report
    assert report["written"] == ["saved_model/1", "tflite/tokens.tflite", "tflite/text.tflite"]
    assert report["refused"] == []
    for entry in report["artefacts"]:
        path = exported.folder / entry["path"]
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        assert entry["bytes"] == sum(file.stat().st_size for file in files)
        assert entry["checks"] == len(exported.pipeline.check_texts)
        assert 0 <= max(entry["max_difference"].values()) <= entry["tolerance"] == 1e-4
        assert entry["operators"]


def test_an_export_can_be_moved_and_verified_again(exported, tmp_path):
    shutil.copytree(exported.folder, tmp_path / "moved")
    entries = verify.verify(tmp_path / "moved")
    assert [entry["format"] for entry in entries] == ["saved_model", "tflite_text", "tflite_tokens"]
    assert set(entries[0]["max_difference"]) == {"serving_default", "tokens", "text_logits", "embed", "classify"}


def test_an_export_that_disagrees_is_caught(exported, tmp_path):
    folder = tmp_path / "1"
    shutil.copytree(exported.saved_model, folder)
    checks = read_checks(folder / "assets.extra")
    checks[7]["logits"][0] += 2e-4
    write_checks(folder / "assets.extra", checks)
    with pytest.raises(verify.VerificationError, match=r"tokens differs from the stored check values by 0\.0002"):
        verify.verify(folder)
    verify.verify(folder, tolerance=1e-3)
    checks[7]["logits"] = checks[7]["logits"][::-1]
    write_checks(folder / "assets.extra", checks)
    with pytest.raises(verify.VerificationError, match="serving_default differs"):
        verify.verify(folder)


def test_a_second_export_is_the_next_version_and_the_report_knows_both(exported, tmp_path):
    from keras_transformer.export import export_pipeline

    folder = tmp_path / "export"
    shutil.copytree(exported.folder, folder)
    pipeline = make_pipeline()
    report = export_pipeline(pipeline, folder, "saved_model")
    assert report["written"] == ["saved_model/2"]
    paths = [entry["path"] for entry in report["artefacts"]]
    assert paths == ["saved_model/1", "tflite/tokens.tflite", "tflite/text.tflite", "saved_model/2"]
    assert json.loads((folder / "report.json").read_text()) == report
    with pytest.raises(FileExistsError, match="2 exists"):
        export_pipeline(pipeline, folder, ["saved_model"], version=2)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["MODEL_CARD.md", "report.html", "report.json", "saved_model", "serving", "tflite"]


def test_swapping_mask_and_segments_is_caught(exported):
    """Both inputs are int32 of the same shape, so only the values can tell them apart."""
    contract, checks = Contract.load(exported.tokens.parent), read_checks(exported.tokens.parent)
    for run, length in (
        (runners.open_tflite(exported.tokens)[1], contract.max_length),
        (runners.open_saved_model(exported.saved_model)["tokens"], None),
    ):

        def swapped(input_word_ids, input_mask, input_type_ids, run=run):
            return run(input_word_ids=input_word_ids, input_mask=input_type_ids, input_type_ids=input_mask)

        assert differences.token_difference(run, contract, checks, 1, length) < 1e-4
        assert differences.token_difference(swapped, contract, checks, 1, length) > 0.1


def test_a_damaged_file_is_caught(exported, tmp_path):
    shutil.copytree(exported.tokens.parent, tmp_path / "tflite")
    path = tmp_path / "tflite" / "tokens.tflite"
    content = bytearray(path.read_bytes())
    # The token table: the longest run of weights. Its bytes stand in the file as they are.
    table = np.array(exported.pipeline.model.encoder.embeddings.tokens.table)
    start = content.find(table.tobytes())
    assert start > 0
    content[start : start + table.nbytes] = np.roll(table, 1, axis=0).tobytes()
    path.write_bytes(content)
    with pytest.raises(verify.VerificationError, match=r"tokens\.tflite.*differs from the stored check values"):
        verify.verify(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be loaded"):
        verify.verify(path)
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match="not a TFLite model"):
        operators.tflite_operators(path)


def test_a_damaged_saved_model_is_caught(exported, tmp_path):
    folder = tmp_path / "7"
    shutil.copytree(exported.saved_model, folder)
    (folder / "variables" / "variables.index").unlink()
    with pytest.raises(ValueError, match="cannot be loaded as a SavedModel"):
        verify.verify(folder)
    with pytest.raises(FileNotFoundError, match=r"No SavedModel and no \.tflite"):
        verify.verify(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no signature of that name"):
        operators.optimized_operators(exported.saved_model, "regress", {})


@pytest.mark.parametrize(
    ("content", "message"), [("", "needs rows"), ('{"text": "a"}\n', "needs rows"), ("{", "damaged")]
)
def test_damaged_check_texts_are_named(tmp_path, content, message):
    (tmp_path / "check.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_checks(tmp_path)
    with pytest.raises(FileNotFoundError, match="cannot be verified"):
        read_checks(tmp_path / "nowhere")
