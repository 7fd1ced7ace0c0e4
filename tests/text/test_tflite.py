"""The packer as a `.tflite` that takes strings, without Flex operations, run by ai_edge_litert."""

import json
import subprocess
import sys

import numpy as np
import pytest

from keras_transformer.text import TextPacker
from tests.text.hard_strings import TEXTS

# Conversion and interpreter run in a process of their own: a crash in either is then a failed test.
PROGRAM = """
import json, pathlib, sys
import numpy as np, tensorflow as tf
from ai_edge_litert.interpreter import InterpreterWithCustomOps
from tensorflow_text import tflite_registrar
from keras_transformer.text import TextPacker

folder = pathlib.Path(sys.argv[1])
texts = np.load(folder / "texts.npz", allow_pickle=True)["texts"]
for name, length in json.loads(sys.argv[2]):
    packer = TextPacker.load(folder / name)
    module = tf.Module()
    module.packer = packer
    module.pack = tf.function(
        lambda text: packer(text, length=length), input_signature=[tf.TensorSpec([None], tf.string, "text")]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.pack.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = True
    content = converter.convert()

    interpreter = InterpreterWithCustomOps(
        model_content=content, custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS
    )
    run = interpreter.get_signature_runner()
    results = {}
    for key, batches in (("together", [texts]), ("alone", [texts[i : i + 1] for i in range(len(texts))])):
        for i, batch in enumerate(batches):
            results |= {f"{key}/{i}/{output}": value for output, value in run(text=batch).items()}
    np.savez(folder / name / "results.npz", **results)
    operators = sorted({operator["op_name"] for operator in interpreter._get_ops_details()})
    (folder / name / "facts.json").write_text(json.dumps({"operators": operators, "bytes": len(content)}))
"""


def check(folder, tokenizer, reviews, cases):
    # Short ones, all hard ones, and reviews of which most are cut.
    texts = [t if isinstance(t, bytes) else t.encode() for t in [*TEXTS, *reviews[:40], "word " * 100_000, ""]]
    np.savez(folder / "texts.npz", texts=np.array(texts, object))
    packers = {truncation: TextPacker(tokenizer, max_length=64, truncation=truncation) for truncation, _ in cases}
    for truncation, packer in packers.items():
        assert packer.tflite_supported() == (True, "")
        packer.save(folder / truncation)
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder), json.dumps(cases)], check=True, timeout=500)

    for truncation, length in cases:
        packer = packers[truncation]
        results = np.load(folder / truncation / "results.npz")
        for name, values in packer(texts, length=length).items():
            np.testing.assert_array_equal(results[f"together/0/{name}"], values)
        for i, text in enumerate(texts):
            for name, values in packer([text], length=length).items():
                np.testing.assert_array_equal(results[f"alone/{i}/{name}"], values)
        facts = json.loads((folder / truncation / "facts.json").read_text())
        assert [o for o in facts["operators"] if "Flex" in o] == []
        custom = {o for o in facts["operators"] if not o.isupper()}
        assert custom == {"FastBertNormalize", "FastWordpieceTokenizeWithOffsets", "TFText>ByteSplitWithOffsets"}
        assert facts["bytes"] < 2_600_000  # docs/text.md: 2.4 MB for the 30,522 tokens of BERT


def test_a_tflite_packs_as_the_packer_does(tmp_path, minilm_tokenizer, reviews):
    check(tmp_path, minilm_tokenizer, reviews, [("head", 64), ("head_tail", 64)])


@pytest.mark.slow
def test_a_tflite_of_any_length_packs_as_the_packer_does(tmp_path, minilm_tokenizer, reviews):
    check(tmp_path, minilm_tokenizer, reviews, [("head", None), ("head_tail", None)])
