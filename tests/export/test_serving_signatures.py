"""The signatures of a SavedModel for TensorFlow Serving: what they are called, what they take and what they answer."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.stand_in_servable import Refused, Servable
from keras_transformer.export import export_pipeline, functions, runners, saved_model, tasks, verify
from keras_transformer.export.checks import read_checks, write_checks
from keras_transformer.export.serving import ServingOptions
from keras_transformer.export.serving.messages import message
from keras_transformer.export.serving.tensors import example, to_proto
from keras_transformer.export.signatures import Contract
from tests.export.tiny_pipeline import TEXTS, make_pipeline

TEXT = {"text": ("DT_STRING", [-1])}
EXAMPLES = {"inputs": ("DT_STRING", [-1])}
TOKENS = {name: ("DT_INT32", [-1, -1]) for name in ("input_word_ids", "input_mask", "input_type_ids")}
SERVED = {
    "single_label": {
        "probabilities": ("DT_FLOAT", [-1, 2]),
        "label": ("DT_STRING", [-1]),
        "score": ("DT_FLOAT", [-1]),
    },
    "multi_label": {"probabilities": ("DT_FLOAT", [-1, 2]), "labels": ("DT_STRING", [-1, 2])},
    "regression": {"values": ("DT_FLOAT", [-1, 1])},
}
OUTPUTS = {"single_label": 2, "multi_label": 2, "regression": 1}

# Loads models as the server does, and answers with every signature. It imports only TensorFlow and TF Text (which
# import Keras on their own).
V1_LOADER = """
import base64, json, sys
import tensorflow as tf, tensorflow_text

def decoded(key, value):
    return [base64.b64decode(v) for v in value] if key in ("text", "inputs") else value

def answers_of(folder, asked):
    answers = {}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        for name, inputs in asked.items():
            definition = meta_graph.signature_def[name]
            feed = {definition.inputs[key].name: decoded(key, value) for key, value in inputs.items()}
            fetched = session.run({key: info.name for key, info in definition.outputs.items()}, feed)
            answers[name] = {
                key: [str(v) for v in value.ravel()] if value.dtype == object else value.tolist()
                for key, value in fetched.items()
            }
    return answers

answers = {folder: answers_of(folder, asked) for folder, asked in json.load(sys.stdin).items()}
strange = [name for name in sys.modules if name.split(".")[0] in ("keras_transformer", "keras_hub", "keras_nlp")]
assert not strange, strange
print(json.dumps(answers))
"""


def definitions(version):
    from tensorflow.core.protobuf import saved_model_pb2

    parsed = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    return {name: entry for name, entry in parsed.meta_graphs[0].signature_def.items() if entry.inputs}


def described(tensors):
    from tensorflow.core.framework import types_pb2

    return {
        name: (types_pb2.DataType.Name(info.dtype), [dim.size for dim in info.tensor_shape.dim])
        for name, info in tensors.items()
    }


@pytest.mark.parametrize("kind", SERVED)
def test_signatures_of_each_kind_of_model(served, kind):
    outputs = {"logits": ("DT_FLOAT", [-1, OUTPUTS[kind]])}
    expected = {
        "serving_default": (TEXT, SERVED[kind], "predict"),
        "tokens": (TOKENS, SERVED[kind] | outputs, "predict"),
        "text_logits": (TEXT, outputs, "predict"),
        "embed": (TEXT, {"embedding": ("DT_FLOAT", [-1, 16])}, "predict"),
    }
    if kind == "regression":
        expected["regress"] = (EXAMPLES, {"outputs": ("DT_FLOAT", [-1])}, "regress")
    else:
        scores = {"classes": ("DT_STRING", [-1, 2]), "scores": ("DT_FLOAT", [-1, 2])}
        expected["classify"] = (EXAMPLES, scores, "classify")
    found = {
        name: (described(entry.inputs), described(entry.outputs), entry.method_name.removeprefix("tensorflow/serving/"))
        for name, entry in definitions(served(kind).saved_model).items()
    }
    assert found == expected


def requests_of(pipeline, kind, texts):
    """What the process below asks each signature for."""
    import base64

    def encoded(values):
        return [base64.b64encode(value).decode() for value in values]

    examples = {"inputs": encoded([example(text).SerializeToString() for text in texts])}
    text = {"text": encoded([text.encode() for text in texts])}
    packed = pipeline.packer(texts)
    names = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
    return {
        "serving_default": text,
        "text_logits": text,
        "embed": text,
        "tokens": {place: packed[name].numpy().tolist() for place, name in names.items()},
        "regress" if kind == "regression" else "classify": examples,
    }


@pytest.fixture(scope="module")
def answered(served):
    """The answers of each kind of model to `[*TEXTS, ""]`, from one process."""
    folders = {kind: str(served(kind).saved_model) for kind in SERVED}
    asked = {folders[kind]: requests_of(served(kind).pipeline, kind, [*TEXTS, ""]) for kind in SERVED}
    result = subprocess.run(
        [sys.executable, "-c", V1_LOADER],
        input=json.dumps(asked),
        env={**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"},
        cwd=served("single_label").folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    answers = json.loads(result.stdout)
    return {kind: answers[folder] for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", SERVED)
def test_the_session_loader_in_a_process_without_us_gives_every_answer(served, answered, kind):
    pipeline, texts, answers = served(kind).pipeline, [*TEXTS, ""], answered[kind]
    logits, probabilities = pipeline.logits(texts), pipeline.probabilities(texts)
    np.testing.assert_allclose(answers["text_logits"]["logits"], logits, atol=1e-4)
    np.testing.assert_allclose(answers["tokens"]["logits"], logits, atol=1e-4)
    if kind == "regression":
        np.testing.assert_allclose(answers["serving_default"]["values"], logits, atol=1e-4)
        np.testing.assert_allclose(answers["regress"]["outputs"], logits[:, 0], atol=1e-4)
        return
    np.testing.assert_allclose(answers["serving_default"]["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_allclose(answers["classify"]["scores"], probabilities, atol=1e-5)
    assert answers["classify"]["classes"] == [str(name.encode()) for name in pipeline.class_names] * len(texts)
    if kind == "single_label":
        labels = [str(answer["label"].encode()) for answer in pipeline.predict(texts)]
        assert answers["serving_default"]["label"] == labels


@pytest.mark.parametrize("kind", SERVED)
def test_the_checks_of_the_server_pass(served, kind):
    """predict_util.cc, classifier.cc and regressor.cc, method names included, as an old or strict server does it."""
    pipeline, servable = served(kind).pipeline, Servable(served(kind).saved_model, check_method_names=True)
    request = message("PredictRequest")()
    request.inputs["text"].ParseFromString(_strings(TEXTS))
    answer = servable.predict(request)
    assert set(answer) == set(SERVED[kind])
    request.output_filter.append(sorted(answer)[0])
    assert list(servable.predict(request)) == [sorted(answer)[0]]
    if kind == "regression":
        given = servable.regress(_examples("RegressionRequest", "regress"))
        np.testing.assert_allclose(given, pipeline.logits(TEXTS)[:, 0], atol=1e-4)
        with pytest.raises(Refused, match="No signature was found with the name: classify"):
            servable.classify(_examples("ClassificationRequest", "classify"))
        return
    given = servable.classify(_examples("ClassificationRequest", "classify"))
    assert [[label for label, _ in row] for row in given] == [list(pipeline.class_names)] * len(TEXTS)
    np.testing.assert_allclose([[score for _, score in row] for row in given], pipeline.probabilities(TEXTS), atol=1e-5)
    # Asked for by the wrong API, a signature is refused by its method name.
    with pytest.raises(Refused, match="method_name to be tensorflow/serving/classify"):
        servable.classify(_examples("ClassificationRequest", "serving_default"))
    with pytest.raises(Refused, match="Input is empty"):
        servable.classify(_examples("ClassificationRequest", "classify", texts=()))


def _strings(texts):
    return to_proto(list(texts)).SerializeToString()


def _examples(name, signature, texts=TEXTS):
    request = message(name)()
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend(example(text) for text in texts)
    return request


def test_every_signature_tells_the_same_of_a_text(served):
    """Texts, examples and token ids, cut and padded by the packer: the scores agree to the last digits."""
    pipeline, run = served("single_label").pipeline, runners.open_saved_model(served("single_label").saved_model)
    packed = {name: value.numpy() for name, value in pipeline.packer(TEXTS).items()}
    tokens = dict(zip(TOKENS, (packed["token_ids"], packed["padding_mask"], packed["segment_ids"]), strict=True))
    expected = run["serving_default"](text=TEXTS)["probabilities"]
    assert np.ptp(expected[:, 0]) > 0.01
    examples = [example(text).SerializeToString() for text in TEXTS]
    np.testing.assert_allclose(run["tokens"](**tokens)["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(run["classify"](inputs=examples)["scores"], expected, atol=1e-6)


def test_several_regressed_values_have_no_regress_signature(tmp_path):
    pipeline = make_pipeline("regression", ("plot", "cast"))
    export_pipeline(pipeline, tmp_path, ["saved_model"], serving=ServingOptions(batch_sizes=(1,)))
    assert "regress" not in definitions(tmp_path / "saved_model" / "1")


def _keras_states(pipeline, texts):
    """Hidden states and mask of texts, each alone."""
    for text in texts:
        inputs = {name: value.numpy() for name, value in pipeline.packer([text]).items()}
        yield np.array(pipeline.model.encoder(inputs)["sequence_output"][0], "float64")


def test_embed_is_the_mean_of_the_hidden_states_where_that_is_the_pooling(served):
    pipeline = served("single_label").pipeline
    run = runners.open_saved_model(served("single_label").saved_model)["embed"]
    expected = [states.mean(axis=0) for states in _keras_states(pipeline, TEXTS)]
    np.testing.assert_allclose(run(text=TEXTS)["embedding"], expected, atol=1e-5)


@pytest.mark.parametrize("embedding", functions.EMBEDDINGS)
def test_embed_of_a_model_that_reads_the_first_token(embedding, tmp_path):
    """`pooled` is what the head reads, pooler included; `mean` is the mean whatever the model's own pooling."""
    import keras

    from keras_transformer.models import TextClassifier, TransformerEncoder

    pipeline = make_pipeline()
    config = pipeline.model.encoder.config
    keras.utils.set_random_seed(4)
    encoder = TransformerEncoder(dataclasses.replace(config, pooler=True))
    model = TextClassifier(encoder, num_outputs=2, pooling="first")
    model.head.kernel.assign(keras.random.normal(model.head.kernel.shape, seed=3))
    contract = Contract("single_label", ("a", "b"), max_length=24)
    saved_model.write_saved_model(model, pipeline.packer, contract, tmp_path / "1", embedding)
    pipeline.model = model
    vectors = runners.open_saved_model(tmp_path / "1")["embed"](text=TEXTS)["embedding"]
    states = list(_keras_states(pipeline, TEXTS))
    if embedding == "mean":
        np.testing.assert_allclose(vectors, [rows.mean(axis=0) for rows in states], atol=1e-5)
        return
    kernel, bias = (np.array(weight, "float64") for weight in encoder.pooler.weights)
    np.testing.assert_allclose(vectors, [np.tanh(rows[0] @ kernel + bias) for rows in states], atol=1e-5)


def test_windows_of_a_text_share_one_answer_in_every_signature(tmp_path):
    pipeline = make_pipeline(truncation="windows", temperature=9.0)
    report = export_pipeline(pipeline, tmp_path, ["saved_model"], serving=ServingOptions(batch_sizes=(1, 2)))
    assert report["written"] == ["saved_model/1"]
    run = runners.open_saved_model(tmp_path / "saved_model" / "1")
    # More windows than are computed at a time, and texts of one window between them.
    texts = ["the film was bad. " * 60, "good", "", "a great story and actor " * 20]
    counts = np.bincount(pipeline.packer.windows(texts)[1].numpy())
    assert counts[0] > functions.ROWS_AT_A_TIME
    assert counts[1] == counts[2] == 1
    answers, expected = run["serving_default"](text=texts), pipeline.predict(texts)
    assert [label.decode() for label in answers["label"]] == [answer["label"] for answer in expected]
    np.testing.assert_allclose(answers["score"], [answer["score"] for answer in expected], atol=1e-5)
    texts = ["the film was bad. " * 20, "good"]
    scores = run["classify"](inputs=[example(text).SerializeToString() for text in texts])["scores"]
    np.testing.assert_allclose(scores, pipeline.probabilities(texts), atol=1e-5)
    rows, owners = pipeline.packer.windows(texts)
    states = [np.array(pipeline.model.encoder(_row(row))["sequence_output"][0]).mean(axis=0) for row in rows.to_list()]
    first = np.mean([state for state, owner in zip(states, owners.numpy(), strict=True) if owner == 0], axis=0)
    np.testing.assert_allclose(run["embed"](text=texts)["embedding"], [first, states[-1]], atol=1e-5)


def _row(ids):
    ids = np.array([ids], "int32")
    return {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": 0 * ids + 1}


def test_an_example_without_text_gets_nan_and_its_neighbours_their_scores(served):
    run = runners.open_saved_model(served("single_label").saved_model)["classify"]
    good = [example(text) for text in ("good film", "bad")]
    no_text, two_texts, another = message("tensorflow.Example")(), example("a"), message("tensorflow.Example")()
    two_texts.features.feature["text"].bytes_list.value.append(b"b")
    another.features.feature["txt"].int64_list.value.append(3)
    alone = run(inputs=[entry.SerializeToString() for entry in good])
    rows = [no_text, good[0], two_texts, good[1], another]
    together = run(inputs=[entry.SerializeToString() for entry in rows])
    np.testing.assert_allclose(together["scores"][[1, 3]], alone["scores"], atol=1e-6)
    assert np.isnan(together["scores"][[0, 2, 4]]).all()
    assert together["classes"].tolist() == [[b"negative", b"positive"]] * 5
    assert np.isnan(run(inputs=[no_text.SerializeToString()])["scores"]).all()

    regress = runners.open_saved_model(served("regression").saved_model)["regress"]
    outputs = regress(inputs=[entry.SerializeToString() for entry in rows])["outputs"]
    np.testing.assert_array_equal(np.isnan(outputs), [True, False, True, False, True])


def test_the_vocabulary_and_the_model_stand_in_the_file_once(served):
    from keras_transformer.export import operators

    counts = operators.saved_model_operators(served("single_label").saved_model)
    assert counts["FastBertNormalize"] == counts["FastWordpieceTokenizeWithOffsets"] == 1
    assert counts["Erfc"] == 1  # the GELU of its one block


def test_labels_that_do_not_match_the_head_are_refused(tmp_path):
    pipeline = make_pipeline()
    contract = Contract("single_label", ("a", "b", "c"))
    with pytest.raises(
        ValueError, match=r"labels do not match the head, which has 2 outputs. Received: 3 labels, a, b"
    ):
        saved_model.write_saved_model(pipeline.model, pipeline.packer, contract, tmp_path / "1")
    pipeline.class_names = ("a", "b", "c")
    with pytest.raises(ValueError, match="labels do not match the head"):
        export_pipeline(pipeline, tmp_path / "out", ["saved_model"])
    assert list(tmp_path.iterdir()) == []


def test_bad_options_are_named():
    for options, text in (
        ({"model_name": "a/b"}, "model_name may hold"),
        ({"embedding": "last"}, "embedding must be"),
        ({"batch_sizes": (4, 2)}, "batch_sizes must be increasing"),
        ({"batch_sizes": ()}, "batch_sizes must be increasing"),
        ({"num_batch_threads": 0}, "num_batch_threads must be at least 1"),
    ):
        with pytest.raises(ValueError, match=text):
            ServingOptions(**options)
    with pytest.raises(ValueError, match="embedding must be one of pooled, mean"):
        functions.embedding_of(make_pipeline().model, "last")


@pytest.fixture
def counting_task():
    """A further task: how many of the model's outputs are positive."""

    def signatures(parts):
        import tensorflow as tf

        def count(logits):
            return {"positive": tf.reduce_sum(tf.cast(logits > 0, tf.int32), axis=1)}

        function = functions.text_function(parts.score, parts.packer, count)
        return {"serving_default": saved_model.Signature(function, functions.text_specs())}

    def difference(run, contract, checks, tolerance):
        given = run(text=[row["text"] for row in checks])["positive"]
        expected = [sum(value > 0 for value in row["logits"]) for row in checks]
        return float(np.abs(given - expected).max())

    task = tasks.Task(signatures, lambda contract: {"serving_default": difference})
    tasks.register_task("count", task, outputs=("positive",))
    yield
    tasks.unregister_task("count")


def test_a_further_task_plugs_in_with_its_signatures(counting_task, tmp_path):
    """It gets what every SavedModel gets: verification, warm-up records, a version folder."""

    class Counting(type(make_pipeline())):
        kind = "count"

    base = make_pipeline()
    pipeline = Counting(base.model, base.packer, base.class_names)
    pipeline.check_texts = base.check_texts
    report = export_pipeline(pipeline, tmp_path, ["saved_model"], serving=ServingOptions(batch_sizes=(1, 2)))
    version = tmp_path / "saved_model" / "1"
    assert set(definitions(version)) == {"serving_default"}
    assert report["artefacts"][0]["max_difference"] == {"serving_default": 0.0}
    assert report["artefacts"][0]["warmup_requests"] == 6
    checks = read_checks(version / "assets.extra")
    checks[0]["logits"] = [1.0, 1.0]
    write_checks(version / "assets.extra", checks)
    with pytest.raises(verify.VerificationError, match="serving_default differs"):
        verify.verify(version)
    with pytest.raises(ValueError, match="a task for this kind already"):
        tasks.register_task("count", tasks.TASKS["count"], ())
    with pytest.raises(ValueError, match=r"No signatures are known.*Received: 'tags'"):
        tasks.task_of("tags")
