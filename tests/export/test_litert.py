"""Files of few bits: what they store, how they are run, and when they are refused. One export serves most tests."""

import json

import numpy as np
import pytest

from keras_transformer.export import accuracy, low_bits, operators, runners, tflite_file, verify
from keras_transformer.export.checks import read_checks, token_batch
from keras_transformer.export.precision import PRECISIONS, choose
from keras_transformer.export.signatures import Contract
from keras_transformer.export.tflite import precision_of
from tests.export.tiny_pipeline import make_pipeline

CHOSEN = ("float16", "int8", "int4_table", "int4", "full_int8")
FEW = ("int8", "int4")
FORMATS = ("tflite_tokens", "tflite_dynamic", "tflite_text")


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(num_layers=2, temperature=1.5)


@pytest.fixture(scope="module")
def phone(pipeline, tmp_path_factory):
    """The folder of an export in all low precisions, and its report; the held-out labels are what Keras says."""
    from keras_transformer import data
    from keras_transformer.export import export_pipeline

    words = ["good", "bad", "great", "story", "not", "film", "actor", "it"]
    texts = [f"the {words[i % 8]} film was {words[i // 8]}" for i in range(64)]
    labels = pipeline.logits(texts).argmax(axis=1)
    held_out = data.Examples(texts, labels, [str(i) for i in range(64)], pipeline.class_names)
    folder = tmp_path_factory.mktemp("phone") / "export"
    report = export_pipeline(pipeline, folder, ["tflite_tokens"], precisions=CHOSEN, held_out=held_out)
    # A second call would replace the folder: the other files go beside it, and are moved into it.
    other = export_pipeline(pipeline, folder.parent / "other", FORMATS[1:], precisions=FEW, held_out=held_out)
    for entry in other["artefacts"]:
        (folder.parent / "other" / entry["path"]).rename(folder / entry["path"])
    return folder, report, [*report["artefacts"], *other["artefacts"]]


def entry_of(phone, path):
    return next(entry for entry in phone[2] if entry["path"] == path)


def test_rows_are_rounded_as_by_hand():
    values = np.array([[1.0, -7.0, 3.4], [0.5, 0.0, -0.3], [0.0, 0.0, 0.0]])
    integers, scales = low_bits.quantize_rows(values, bits=4)
    assert integers.tolist() == [[1, -7, 3], [7, 0, -4], [0, 0, 0]]
    np.testing.assert_allclose(scales, [1, 0.5 / 7, 1 / 7], rtol=1e-6)
    assert low_bits.pack(integers[:1], 4).tolist() == [0x91, 0x03]
    assert low_bits.pack(integers[:1], 8).tolist() == [1, 249, 3]


def test_the_search_finds_scales_with_a_smaller_error():
    values = np.random.default_rng(0).standard_t(3, (200, 64))
    errors = {}
    for search in (False, True):
        integers, scales = low_bits.quantize_rows(values, 4, search)
        assert np.abs(integers).max() <= 7
        errors[search] = ((integers * scales[:, None] - values) ** 2).sum(axis=1)
    assert (errors[True] <= errors[False] + 1e-9).all()
    assert errors[True].sum() < 0.9 * errors[False].sum()


def test_every_file_agrees_with_keras_as_closely_as_its_bits_allow(phone, pipeline):
    folder, _, entries = phone
    expected = {f"tflite/tokens_{name}.tflite" for name in CHOSEN[:4]}
    expected |= {f"tflite/{stem}_{name}.tflite" for stem in ("tokens_dynamic", "text") for name in FEW}
    assert {entry["path"] for entry in entries} >= expected
    means = {}
    for name in expected:
        entry = entry_of(phone, name)
        means[name] = entry["deviations"]["mean"]
        assert entry["precision"] in name
        assert entry["bytes"] == (folder / name).stat().st_size
        assert 0 < entry["deviations"]["share"] <= PRECISIONS[entry["precision"]].deviation
    for stem in ("tokens", "tokens_dynamic", "text"):
        assert means[f"tflite/{stem}_int8.tflite"] < means[f"tflite/{stem}_int4.tflite"]
    assert means["tflite/tokens_float16.tflite"] < means["tflite/tokens_int4.tflite"] / 10


def test_the_kernels_of_xnnpack_run_token_files_as_a_whole(phone, exported):
    for entry in phone[2]:
        if entry["format"] != "tflite_text" and entry["precision"] != "full_int8":
            assert 1 <= entry["partitions"] <= 2, entry["path"]
    assert operators.xnnpack_partitions(exported.tokens) <= 2
    assert operators.xnnpack_partitions(exported.text) > 2


def test_token_files_need_only_builtin_operators(phone):
    for entry in phone[2]:
        if entry["format"] != "tflite_text":
            assert entry["operators"]["custom"] == {}
            assert entry["operators"]["subgraphs"] == 1
            assert not {"VAR_HANDLE", "READ_VARIABLE"} & set(entry["operators"]["builtin"])
    fixed = entry_of(phone, "tflite/tokens_int4.tflite")["operators"]["builtin"]
    assert not {"SHAPE", "PACK", "FILL", "REDUCE_PROD"} & set(fixed)
    assert fixed["EMBEDDING_LOOKUP"] == 1


def test_the_int4_table_is_that_of_keras_rounded_by_row(phone, pipeline):
    model = tflite_file.read_model(phone[0] / "tflite" / "tokens_int4_table.tflite")
    graph = tflite_file.Graph(model)
    lookup = next(op for op in graph.operators if graph.name_of(op) == "EMBEDDING_LOOKUP")
    stored = graph.graph.tensors[lookup.inputs[1]]
    packed = np.asarray(model.buffers[stored.buffer].data)
    table = np.array(pipeline.model.encoder.embeddings.tokens.table)
    assert packed.size == table.size / 2
    halves = np.stack([packed & 15, packed >> 4], axis=1).reshape(table.shape).astype(np.int8)
    integers = np.where(halves > 7, halves - 16, halves)
    scales = np.asarray(stored.quantization.scale)[:, None]
    assert scales.shape == (len(table), 1)
    # Half a step, where the scale does not cut the value off.
    inside = np.abs(integers) < 7
    assert inside.mean() > 0.5
    assert (np.abs(integers * scales - table)[inside] <= scales.repeat(table.shape[1], 1)[inside] * 0.501).all()


def test_large_constants_are_stored_in_int8(exported, tmp_path, monkeypatch):
    def positions(graph):
        return [i for i in graph.constants("float32") if graph.sizes(i)[-2:] == [24, 16]]

    # The table of positions has only 384 elements here.
    monkeypatch.setattr(low_bits, "LARGE", 384)
    model = tflite_file.read_model(exported.tokens)
    graph = tflite_file.Graph(model)
    (stored,) = positions(graph)
    values = graph.values(stored)
    low_bits.quantize_constants(graph)
    assert positions(graph) == []
    assert graph.dtype(stored) == "int8"
    step = np.abs(values).max(axis=-1, keepdims=True) / 127
    assert (np.abs(graph.values(stored) - values) <= 0.501 * step).all()
    tflite_file.write_model(model, tmp_path / "small.tflite")
    ids = token_batch([[2, 5, 6, 3]], 24)
    given = [runners.open_tflite(path)[1](**ids)["logits"] for path in (exported.tokens, tmp_path / "small.tflite")]
    np.testing.assert_allclose(given[0], given[1], atol=0.1)
    assert (given[0] != given[1]).all()


def test_buffers_are_aligned_and_writing_is_deterministic(phone, tmp_path):
    source = phone[0] / "tflite" / "tokens_int4.tflite"
    tflite_file.write_model(tflite_file.read_model(source), tmp_path / "again.tflite")
    data = source.read_bytes()
    assert (tmp_path / "again.tflite").read_bytes() == data
    model = tflite_file.schema().Model.GetRootAs(data, 0)
    places = [
        buffer._tab.Vector(buffer._tab.Offset(4))
        for buffer in (model.Buffers(i) for i in range(model.BuffersLength()))
        if not buffer.DataIsNone()
    ]
    assert len(places) > 20
    assert not [place for place in places if place % tflite_file.ALIGNMENT]


def test_a_dynamic_file_takes_any_length_and_cuts_what_is_too_long(phone, pipeline):
    path = phone[0] / "tflite" / "tokens_dynamic_int8.tflite"
    assert operators.fixed_length(path) is None
    assert operators.fixed_length(phone[0] / "tflite" / "tokens_int8.tflite") == 24
    run = runners.open_tflite(path)[1]
    fixed = runners.open_tflite(phone[0] / "tflite" / "tokens_int8.tflite")[1]
    row = pipeline.packer.tokens(["the film was good"]).to_list()[0]
    short = run(**token_batch([row], len(row)))["logits"]
    np.testing.assert_allclose(short, fixed(**token_batch([row], 24))["logits"], atol=2e-2)
    # Too long a row gets what the packer makes of its text: the end is cut, [SEP] stays.
    text = "the film was not bad and " * 40
    long = [row[0], *pipeline.packer.tokenizer.tokenize([text]).to_list()[0], row[-1]]
    (cut,) = pipeline.packer.tokens([text]).to_list()
    assert (len(long), len(cut)) == (242, 24)
    np.testing.assert_allclose(
        run(**token_batch([long], len(long)))["logits"], run(**token_batch([cut], 24))["logits"], atol=1e-6
    )


def test_int4_text_is_answered_alike_alone_and_among_others(phone, pipeline):
    run = runners.open_tflite(phone[0] / "tflite" / "text_int4.tflite")[1]
    texts = ["the film was good", "", "a bad story " * 40, "it was great"]
    together = run(text=texts)["logits"]
    for i, text in enumerate(texts):
        np.testing.assert_allclose(run(text=[text])["logits"][0], together[i], atol=1e-4)
    tokens = runners.open_tflite(phone[0] / "tflite" / "tokens_int4.tflite")[1]
    rows = accuracy.rows_of(pipeline.packer, texts)
    alone = [tokens(**token_batch(row, 24))["logits"][0] for row in rows]
    spread = np.abs(together - together.mean(axis=0)).mean()
    assert np.abs(np.asarray(alone) - together).mean() < 0.1 * spread


def test_the_report_has_the_accuracy(phone):
    folder, report, _ = phone
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))
    for entry in report["artefacts"]:
        assert entry["held_out"]["texts"] == 64
        assert entry["held_out"]["keras_score"] == 1.0
    page = (folder / "report.html").read_text()
    for entry in report["artefacts"]:
        assert entry["path"] in page
    assert "http" not in page
    assert "<script" not in page


def test_latency_and_memory_are_measured_in_another_process(phone, tmp_path):
    from keras_transformer.export.report_html import html_of
    from keras_transformer.export.speed import measure_speed

    entry = entry_of(phone, "tflite/tokens_int8.tflite")
    found = measure_speed(phone[0] / entry["path"], calls=5)
    assert (found["calls"], found["padded"]) == (5, 24)
    assert found["tokens"] <= 24
    assert set(found["threads"]) == {"1", "2"}
    for times in found["threads"].values():
        assert 0 < times["p50"] <= times["p90"] <= times["p99"]
    assert found["megabytes"] > 0
    page = html_of({"artefacts": [entry | {"speed": found}], "refused": [], "written": [], "versions": {}})
    assert "Latency and memory" in page
    assert f"{found['threads']['1']['p50']:.1f}" in page
    with pytest.raises(FileNotFoundError, match="cannot be verified"):
        measure_speed(tmp_path / "none.tflite")


def test_a_damaged_file_of_few_bits_is_caught(phone, pipeline, tmp_path):
    import shutil

    shutil.copytree(phone[0] / "tflite", tmp_path / "tflite")
    path = tmp_path / "tflite" / "tokens_int4.tflite"
    verify.verify(path)
    model = tflite_file.read_model(path)
    graph = tflite_file.Graph(model)
    lookup = next(op for op in graph.operators if graph.name_of(op) == "EMBEDDING_LOOKUP")
    buffer = model.buffers[graph.graph.tensors[lookup.inputs[1]].buffer]
    buffer.data = np.roll(buffer.data, 80)
    tflite_file.write_model(model, path)
    with pytest.raises(verify.VerificationError, match="of their spread on average"):
        verify.verify(path)


def test_the_loss_of_accuracy_is_judged_with_the_chance_in_it():
    contract = Contract("single_label", ("no", "yes"))
    labels = np.zeros(1000, int)
    expected = np.tile([1.0, 0.0], (1000, 1))
    expected[:100] = [0.0, 1.0]
    worse = expected.copy()
    worse[100:140] = [0.0, 1.0]
    found = accuracy.compare(worse, expected, labels, contract)
    assert (found["texts"], found["flips"], found["largest"]) == (1000, 40, 1.0)
    np.testing.assert_allclose([found["score"], found["keras_score"], found["lost"]], [0.86, 0.9, 4.0])
    np.testing.assert_allclose(found["chance"], 100 * 2 * 40**0.5 / 1000)
    assert "it loses 4.00 points of accuracy on 1000 held-out texts (86.00 % instead of 90.00 %)" in accuracy.refusal(
        found, PRECISIONS["int8"]
    )
    assert accuracy.refusal(found, PRECISIONS["float32"]) is None
    few = expected.copy()
    few[100:102] = [0.0, 1.0]
    assert accuracy.refusal(accuracy.compare(few, expected, labels, contract), PRECISIONS["int8"]) is None


def test_a_file_that_loses_too_much_is_not_written(tmp_path):
    from keras_transformer import data
    from keras_transformer.export import export_pipeline

    pipeline = make_pipeline()
    texts = list(pipeline.check_texts)
    logits = pipeline.logits(texts)
    held_out = data.Examples(texts, logits.argmax(1), [str(i) for i in range(len(texts))], pipeline.class_names)
    strict = {"tflite_tokens": ["full_int8"]}
    with pytest.raises(ValueError, match="Nothing can be written: it needs held-out texts"):
        export_pipeline(pipeline, tmp_path / "out", list(strict), precisions="full_int8")
    assert not (tmp_path / "out").exists()
    # The stored logits are those of another model: in few bits this is a refusal, and nothing is left.
    checks = [(text, (-values).tolist()) for text, values in zip(texts, logits, strict=True)]
    with pytest.raises(verify.VerificationError, match="Nothing can be written: the signature serving_default differs"):
        export_pipeline(
            pipeline, tmp_path / "out", ["tflite_tokens"], precisions=["int8"], checks=checks, held_out=held_out
        )
    assert not (tmp_path / "out").exists()


def test_unknown_precisions_are_named():
    with pytest.raises(ValueError, match=r"precisions must be some of float32.*'int7'"):
        choose(["int8", "int7"])
    with pytest.raises(ValueError, match="precisions must be some of"):
        choose([])
    assert [precision.name for precision in choose(["int8", "int8", "float32"])] == ["int8", "float32"]


def test_a_file_from_elsewhere_counts_as_float32(phone, exported, tmp_path):
    assert precision_of(exported.tokens).name == "float32"
    assert precision_of(phone[0] / "tflite" / "tokens_int4.tflite").name == "int4"
    model = tflite_file.read_model(phone[0] / "tflite" / "tokens_int4.tflite")
    model.description = "MLIR Converted."
    tflite_file.write_model(model, tmp_path / "other.tflite")
    assert precision_of(tmp_path / "other.tflite").name == "float32"
    assert len(read_checks(phone[0] / "tflite")) == 12
