"""Files for MediaPipe: their metadata, read back without MediaPipe, the ids that it makes, and what is refused."""

import json
import zipfile

import numpy as np
import pytest

from keras_transformer.export import mediapipe, mediapipe_metadata, runners, tflite_file, verify
from keras_transformer.export.checks import read_checks, token_batch
from keras_transformer.export.mediapipe_tokens import mediapipe_ids
from keras_transformer.export.signatures import Contract
from keras_transformer.text import TextPacker, WordPieceTokenizer
from tests.export.tiny_pipeline import LETTERS, VOCABULARY, WORDS, make_pipeline

IDS = {token: i for i, token in enumerate(VOCABULARY)}


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(temperature=1.5)


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    from keras_transformer.export import export_pipeline

    folder = tmp_path_factory.mktemp("mediapipe") / "export"
    report = export_pipeline(pipeline, folder, ["mediapipe"], precisions=["float32", "int4"])
    assert report["written"] == [
        f"mediapipe/{stem}{ending}.tflite" for stem in ("classifier", "embedder") for ending in ("", "_int4")
    ]
    assert report["refused"] == []
    return folder / "mediapipe"


def contract_of(pipeline, **changes):
    fields = {
        "kind": pipeline.kind,
        "class_names": pipeline.class_names,
        "max_length": pipeline.packer.max_length,
        "truncation": pipeline.packer.truncation,
    }
    return Contract(**fields | changes)


@pytest.mark.parametrize(
    "text", ["The film was good!", "", "bad", "a (not) great-story... " * 20, "xyz qed\tactor\n\rit"]
)
def test_ascii_text_gets_the_ids_of_our_tokenizer(pipeline, text):
    assert mediapipe_ids(text, IDS, 24) == pipeline.packer.tokens([text]).to_list()[0]


def test_beyond_ascii_the_ids_are_those_of_mediapipe():
    unknown, cls, sep = IDS["[UNK]"], IDS["[CLS]"], IDS["[SEP]"]
    # No accent is stripped, so the word is unknown; white space beyond ASCII belongs to the word.
    assert mediapipe_ids("caf\u00e9 a", IDS, 24) == [cls, unknown, IDS["a"], sep]
    assert mediapipe_ids("a\u00a0film", IDS, 24) == [cls, unknown, sep]
    assert mediapipe_ids("a很a\u201ca", IDS, 24) == [cls, IDS["a"], unknown, IDS["a"], unknown, IDS["a"], sep]
    assert mediapipe_ids("b" * 100, IDS, 24)[1] == IDS["b"]
    assert mediapipe_ids("b" * 101, IDS, 24) == [cls, unknown, sep]
    assert mediapipe_ids("a " * 50, IDS, 24) == [cls, *[IDS["a"]] * 22, sep]


def test_metadata_is_what_the_schema_of_mediapipe_demands(folder):
    model = tflite_file.read_model(folder / "classifier_int4.tflite")
    entries = {entry.name: entry.buffer for entry in model.metadata}
    data = np.asarray(model.buffers[entries[b"TFLITE_METADATA"]].data).tobytes()
    assert data[4:8] == b"M001"
    root = _table(data)
    assert root.string(0) == "text classifier"
    assert root.string(7) == "1.1.0"
    (graph,) = root.tables(3)
    graph_inputs = [model.subgraphs[0].tensors[i].name.decode() for i in model.subgraphs[0].inputs]
    named = dict(zip([tensor.string(0) for tensor in graph.tables(2)], graph_inputs, strict=True))
    assert named == {
        "ids": "serving_default_input_word_ids:0",
        "mask": "serving_default_input_mask:0",
        "segment_ids": "serving_default_input_type_ids:0",
    }
    (scores,) = graph.tables(3)
    assert scores.string(0) == "probabilities"
    (labels,) = scores.tables(6)
    # TENSOR_AXIS_LABELS and VOCABULARY of the schema; 4 is BertTokenizerOptions.
    assert (labels.string(0), labels.byte(2)) == ("labels.txt", 2)
    (unit,) = graph.tables(5)
    assert unit.byte(0) == 4
    (vocabulary,) = unit.table(1).tables(0)
    assert (vocabulary.string(0), vocabulary.byte(2)) == ("vocab.txt", 5)


def test_vocabulary_and_labels_lie_uncompressed_in_the_file(folder, pipeline):
    files = mediapipe_metadata.read_attached(folder / "classifier.tflite")
    assert files == {"vocab.txt": VOCABULARY, "labels.txt": ["negative", "positive"]}
    assert mediapipe_metadata.read_attached(folder / "embedder.tflite") == {"vocab.txt": VOCABULARY}
    with zipfile.ZipFile(folder / "classifier.tflite") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_metadata_lie_beside_the_file_as_json(folder):
    given = json.loads((folder / "classifier.metadata.json").read_text())
    assert given["name"] == "text classifier"
    (graph,) = given["subgraph_metadata"]
    assert sorted(tensor["name"] for tensor in graph["input_tensor_metadata"]) == ["ids", "mask", "segment_ids"]
    (output,) = graph["output_tensor_metadata"]
    assert output["associated_files"] == [{"name": "labels.txt", "type": 2}]
    assert graph["input_process_units"] == [
        {"options_type": 4, "options": {"vocab_file": [{"name": "vocab.txt", "type": 5}]}}
    ]
    embedder = json.loads((folder / "embedder_int4.metadata.json").read_text())
    assert "associated_files" not in embedder["subgraph_metadata"][0]["output_tensor_metadata"][0]


def test_a_file_without_metadata_is_named(exported):
    with pytest.raises(ValueError, match="has no metadata"):
        mediapipe_metadata.read_metadata(exported.tokens)


def test_the_same_model_gives_the_same_bytes(folder, pipeline, tmp_path):
    (tmp_path / "classifier.tflite").write_bytes((folder / "classifier.tflite").read_bytes())
    mediapipe.attach_to(tmp_path / "classifier.tflite", pipeline, pipeline.class_names)
    assert (tmp_path / "classifier.tflite").read_bytes() == (folder / "classifier.tflite").read_bytes()


def test_the_interpreter_gives_the_probabilities_and_vectors_of_keras(folder, pipeline):
    import keras

    texts = ["The film was good!", "a", "bad story " * 40, ""]
    classify = runners.open_tflite(folder / "classifier.tflite")[1]
    embed = runners.open_tflite(folder / "embedder.tflite")[1]
    rows = [mediapipe_ids(text, IDS, 10**6) for text in texts]
    given = np.concatenate([classify(**token_batch([row], len(row)))["probabilities"] for row in rows])
    assert given.shape == (4, 2)
    np.testing.assert_allclose(given, pipeline.probabilities(texts), atol=1e-5)
    vectors = np.concatenate([embed(**token_batch([row], len(row)))["embedding"] for row in rows])
    pooled = keras.Model(pipeline.model.input, pipeline.model.head_dropout.input)
    np.testing.assert_allclose(vectors, pooled(dict(pipeline.packer(texts))), atol=1e-5)


def test_an_export_for_mediapipe_can_be_verified_again(folder):
    entries = {entry["path"].split("/")[-1]: entry for entry in verify.verify(folder)}
    assert entries["classifier.tflite"]["format"] == "mediapipe_classifier"
    assert entries["embedder_int4.tflite"]["format"] == "mediapipe_embedder"
    assert entries["embedder_int4.tflite"]["precision"] == "int4"
    assert entries["embedder.tflite"]["deviations"]["flips"] is None
    assert len(read_checks(folder)) == entries["embedder.tflite"]["checks"] == 12


def _with_tokenizer(pipeline, vocabulary=VOCABULARY, truncation="head", **options):
    from keras_transformer.pipelines import TextPipeline

    packer = TextPacker(WordPieceTokenizer(vocabulary, **options), max_length=24, truncation=truncation)
    return TextPipeline(pipeline.model, packer, pipeline.class_names)


SWAPPED = ["[UNK]", "[PAD]", *VOCABULARY[2:]]
REFUSED = {
    "cased": ({"lowercase": False}, "this vocabulary is cased"),
    "head_tail": ({"truncation": "head_tail"}, "keeps the beginning of a long text.*'head_tail'"),
    "windows": ({"truncation": "windows"}, "keeps the beginning of a long text.*'windows'"),
    "chinese": ({"tokenize_chinese_chars": False}, "splits Chinese text"),
    "long words": ({"max_characters_per_word": 50}, "words of more than 100 bytes"),
    "padding": ({"vocabulary": SWAPPED}, r"padding is the first token of the vocabulary, which here is '\[UNK\]'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_mediapipe_would_get_wrong_is_refused(pipeline, name, tmp_path):
    import re

    options, message = REFUSED[name]
    other = _with_tokenizer(pipeline, **options)
    reason = mediapipe.classifier_refused(other, contract_of(other))
    assert re.search(message, reason), reason
    assert mediapipe.embedder_refused(other, contract_of(other)) == reason


def test_heads_without_classes_are_refused_before_anything_is_written(pipeline, tmp_path):
    from keras_transformer.export import export_pipeline

    assert mediapipe.classifier_refused(pipeline, contract_of(pipeline)) is None
    single = contract_of(pipeline, kind="multi_label", class_names=("spam",))
    assert "a single logit" in mediapipe.classifier_refused(pipeline, single)
    assert mediapipe.embedder_refused(pipeline, single) is None
    line = contract_of(pipeline, class_names=("a\nb", "c"))
    assert "end of line" in mediapipe.classifier_refused(pipeline, line)
    regression = make_pipeline("regression", ("stars",))
    with pytest.raises(ValueError, match="this is a regression"):
        export_pipeline(regression, tmp_path / "out", ["mediapipe_classifier"])
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive_is_named(folder, tmp_path):
    data = (folder / "classifier.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(data[:-30])
    with pytest.raises(ValueError, match="cannot be read"):
        mediapipe_metadata.read_attached(tmp_path / "cut.tflite")
    assert len(WORDS) + len(LETTERS) + 5 == len(VOCABULARY)


class _table:
    """Reads a FlatBuffer by the numbers of its fields, independently of the code that wrote it."""

    def __init__(self, data, place=None):
        self.data = data
        self.place = self._u32(0) if place is None else place

    def _u32(self, place):
        return int.from_bytes(self.data[place : place + 4], "little")

    def _field(self, number):
        vtable = self.place - int.from_bytes(self.data[self.place : self.place + 4], "little", signed=True)
        size = int.from_bytes(self.data[vtable : vtable + 2], "little")
        if 4 + 2 * number >= size:
            return None
        offset = int.from_bytes(self.data[vtable + 4 + 2 * number : vtable + 6 + 2 * number], "little")
        return self.place + offset if offset else None

    def byte(self, number):
        return self.data[self._field(number)]

    def string(self, number):
        start = self._field(number) + self._u32(self._field(number))
        return self.data[start + 4 : start + 4 + self._u32(start)].decode()

    def table(self, number):
        return _table(self.data, self._field(number) + self._u32(self._field(number)))

    def tables(self, number):
        start = self._field(number) + self._u32(self._field(number))
        places = [start + 4 + 4 * i for i in range(self._u32(start))]
        return [_table(self.data, place + self._u32(place)) for place in places]
