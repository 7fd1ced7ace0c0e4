"""ONNX files, run in ONNX Runtime: every kind of model, int8, what they store, and what is refused."""

import builtins
import shutil

import numpy as np
import pytest

from keras_transformer.export import export_pipeline, onnx_file, verify
from keras_transformer.export.checks import token_batch
from keras_transformer.export.signatures import Contract
from keras_transformer.export.speed import measure_speed
from tests.export.tiny_pipeline import VOCABULARY, make_pipeline

pytest.importorskip("tf2onnx")
KINDS = {
    "single_label": {"temperature": 1.5},
    "multi_label": {"class_names": ("action", "comedy", "drama"), "threshold": (0.4, 0.5, 0.6)},
    "regression": {"class_names": ("stars",)},
}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A pipeline, the folder of its export in both precisions, and the report; the held-out labels are Keras' own."""
    from keras_transformer import data

    pipeline = make_pipeline(num_layers=2, temperature=1.5)
    words = ["good", "bad", "great", "story", "not", "film", "actor", "it"]
    texts = [f"the {words[i % 8]} film was {words[i // 8]}" for i in range(64)]
    labels = pipeline.logits(texts).argmax(axis=1)
    held_out = data.Examples(texts, labels, [str(i) for i in range(64)], pipeline.class_names)
    folder = tmp_path_factory.mktemp("onnx") / "export"
    report = export_pipeline(
        pipeline, folder, "onnx", precisions=["float32", "float16", "int8"], held_out=held_out, speed=True
    )
    return pipeline, folder, report


def test_both_precisions_are_written_verified_and_measured(single):
    _, folder, report = single
    assert report["written"] == ["onnx/tokens.onnx", "onnx/tokens_int8.onnx"]
    whole, small = report["artefacts"]
    assert whole["format"] == small["format"] == "onnx"
    assert whole["deviations"]["largest"] <= 1e-4
    assert small["deviations"]["share"] <= 0.1
    assert whole["held_out"]["flips"] == 0
    assert set(small["speed"]["threads"]) == {"1", "2"}
    assert whole["operators"]["stored"]["Erf"] == 2
    assert "MatMulInteger" in small["operators"]["stored"]
    assert "partitions" not in whole
    assert [(entry["precision"], entry["reason"]) for entry in report["refused"]] == [
        ("float16", "it comes in float32, int8.")
    ]
    assert sorted(path.name for path in (folder / "onnx").iterdir()) == [
        "check.jsonl",
        "contract.json",
        "tokenizer_config.json",
        "tokens.onnx",
        "tokens_int8.onnx",
        "vocab.txt",
    ]
    assert [entry["format"] for entry in verify.verify(folder)] == ["onnx", "onnx"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_any_length_give_what_keras_gives(kind, tmp_path):
    options = dict(KINDS[kind])
    pipeline = make_pipeline(kind, options.pop("class_names", ("negative", "positive")), **options)
    export_pipeline(pipeline, tmp_path / "export", ["onnx"])
    takes_text, run = onnx_file.open_onnx(tmp_path / "export" / "onnx" / "tokens.onnx", 1)
    assert not takes_text
    texts = ["a good film", "it was not a great story and the actor was bad", "good"]
    rows = pipeline.packer.tokens(texts).to_list()
    contract = Contract.load(tmp_path / "export" / "onnx")
    for chosen in (rows[:1], rows, rows[1:2]):
        outputs = run(**token_batch(chosen, max(map(len, chosen))))
        expected = pipeline.logits([texts[rows.index(row)] for row in chosen])
        np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4)
        for name, values in contract.expected(expected).items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(outputs[name], values, atol=1e-4)
            else:
                assert np.vectorize(bytes.decode, otypes=[object])(outputs[name]).tolist() == values.tolist()


def test_the_file_says_what_it_takes(single):
    import onnx

    model = onnx.load(single[1] / "onnx" / "tokens.onnx")
    sizes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert sizes == {
        **{name: ["batch", "length"] for name in ("input_word_ids", "input_mask", "input_type_ids")},
        **{"logits": ["batch", 2], "probabilities": ["batch", 2], "label": ["batch"], "score": ["batch"]},
    }
    assert onnx_file.onnx_precision(single[1] / "onnx" / "tokens_int8.onnx").name == "int8"
    onnx.helper.set_model_props(model, {})
    del model.metadata_props[:]
    elsewhere = single[1].parent / "elsewhere.onnx"
    onnx.save(model, str(elsewhere))
    assert onnx_file.onnx_precision(elsewhere).name == "float32"


def test_matrices_are_stored_in_eight_bits(single):
    import onnx

    def matrices(file, *types):
        stored = onnx.load(single[1] / "onnx" / file).graph.initializer
        return [tuple(weight.dims) for weight in stored if len(weight.dims) == 2 and weight.data_type in types]

    types = onnx.TensorProto
    whole, small = matrices("tokens.onnx", types.FLOAT), matrices("tokens_int8.onnx", types.INT8, types.UINT8)
    # Six products a layer and the head, and the three tables, of which that of positions is cut, not looked up.
    assert len(whole) == 2 * 6 + 1 + 3
    assert matrices("tokens_int8.onnx", types.FLOAT) == [(24, 16)]
    assert sorted([*small, (24, 16)]) == sorted(whole)
    assert (len(VOCABULARY), 16) in small


def test_swapped_inputs_would_be_noticed(single):
    pipeline, folder, _ = single
    run = onnx_file.open_onnx(folder / "onnx" / "tokens.onnx")[1]
    batch = token_batch(pipeline.packer.tokens(["a good film"]).to_list(), 12)
    swapped = batch | {"input_mask": batch["input_type_ids"], "input_type_ids": batch["input_mask"]}
    assert np.abs(run(**batch)["logits"] - run(**swapped)["logits"]).max() > 0.01


def test_a_damaged_file_is_named(single, tmp_path):
    folder = shutil.copytree(single[1] / "onnx", tmp_path / "onnx")
    (folder / "tokens_int8.onnx").unlink()
    path = folder / "tokens.onnx"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"tokens\.onnx (cannot be loaded as|is not) an ONNX model"):
        verify.verify(folder)
    with pytest.raises(ValueError, match="is not an ONNX model"):
        onnx_file.onnx_operators(path)
    with pytest.raises(ValueError, match="cannot be loaded as an ONNX model"):
        measure_speed(path)


def test_other_weights_are_noticed(single, tmp_path):
    import onnx
    from onnx import numpy_helper

    folder = shutil.copytree(single[1] / "onnx", tmp_path / "onnx")
    model = onnx.load(folder / "tokens.onnx")
    table = max(model.graph.initializer, key=lambda weight: np.prod(weight.dims))
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) * np.float32(1.01), table.name))
    onnx.save(model, str(folder / "tokens.onnx"))
    with pytest.raises(verify.VerificationError, match="differs from the stored check values"):
        verify.verify_one(folder / "tokens.onnx")


def test_what_cannot_be_written_is_refused_before_anything_is(single, tmp_path, monkeypatch):
    pipeline = single[0]
    with pytest.raises(ValueError, match=r"onnx comes in float32, int8\. Received: int4"):
        export_pipeline(pipeline, tmp_path / "export", ["onnx"], precisions=["int4"])
    plain = builtins.__import__

    def without(name, *arguments, **options):
        if name == "tf2onnx":
            raise ImportError("No module named 'tf2onnx'", name="tf2onnx")
        return plain(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"tf2onnx is missing\. Run: pip install .keras-transformer-toolkit\[onnx\]"):
        export_pipeline(pipeline, tmp_path / "export", ["onnx"])
    assert not (tmp_path / "export").exists()
