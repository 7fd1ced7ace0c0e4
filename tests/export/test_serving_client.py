"""The client against a server on the official messages: answers, bad input, and errors over gRPC and REST."""

import concurrent.futures
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

from benchmarks import serving_soak
from benchmarks.stand_in_server import StandIn
from keras_transformer.export import client
from tests.export.tiny_pipeline import TEXTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLENTY = 120.0
HARD = {
    "empty": "",
    "blank": " \t\n",
    "hundred_thousand_characters": "x" * 100_000,
    "hundred_thousand_in_words": "the film was bad. " * 5600,
    "invalid_utf8": b"\xff\xfe good \x80 film",
    "null_bytes": "good\x00film\x00",
    "only_null": b"\x00",
    "right_to_left": "\u202eפילם טוב مرحبا",
    "emoji": "👍🏽 great 👨‍👩‍👧 film 😀",
    "surrogate": "good \ud800 film",
    "special_tokens": "[CLS] [MASK] [SEP] [PAD]",
    "combining": "e\u0301" * 200,
}


@pytest.fixture(scope="module")
def alone(served):
    """The single-label model, every request by itself."""
    stand_in = StandIn(served("single_label").folder / "saved_model", "reviews", labels={"stable": 1})
    yield stand_in, served("single_label").pipeline
    stand_in.close()


@pytest.fixture(scope="module")
def batching(served):
    """The single-label model, requests batched."""
    folder = served("single_label").folder / "saved_model"
    stand_in = StandIn(folder, "reviews", batching=True, labels={"stable": 1})
    yield stand_in, served("single_label").pipeline
    stand_in.close()


@pytest.fixture(params=["alone", "batching"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def regression(served):
    stand_in = StandIn(served("regression").folder / "saved_model", "stars")
    yield stand_in, served("regression").pipeline
    stand_in.close()


def url(stand_in, protocol):
    return f"grpc://localhost:{stand_in.grpc_port}" if protocol == "grpc" else f"http://localhost:{stand_in.rest_port}"


@pytest.fixture(params=["grpc", "rest"])
def reviews(request, server):
    """A client, and the pipeline that the model comes from."""
    with client.connect(url(server[0], request.param), "reviews", timeout=PLENTY, batch_size=8) as asked:
        yield asked, server[1]


def test_predict_gives_what_the_pipeline_gives(reviews):
    asked, pipeline = reviews
    texts = [*TEXTS, "good", "a bad actor", "not"] * 2
    answer = asked.predict(texts)
    expected = pipeline.predict(texts)
    assert answer["label"].tolist() == [row["label"] for row in expected]
    assert {type(label) for label in answer["label"]} == {str}
    np.testing.assert_allclose(answer["score"], [row["score"] for row in expected], atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], pipeline.probabilities(texts), atol=1e-5)
    assert answer["probabilities"].dtype == np.float32
    np.testing.assert_allclose(asked.predict(texts, "text_logits")["logits"], pipeline.logits(texts), atol=1e-4)


def test_classify_embed_and_tokens(reviews):
    asked, pipeline = reviews
    expected = pipeline.predict(TEXTS)
    for given, row in zip(asked.classify(TEXTS), expected, strict=True):
        assert given == pytest.approx(row["probabilities"], abs=1e-5)
    vectors = asked.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 16)
    assert vectors.dtype == np.float32
    # The head is one product away.
    kernel, bias = (np.array(weight) for weight in pipeline.model.head.weights)
    np.testing.assert_allclose(vectors @ kernel + bias, pipeline.logits(TEXTS), atol=1e-4)
    packed = pipeline.packer(TEXTS[:3])
    inputs = {
        "input_word_ids": packed["token_ids"].numpy(),
        "input_mask": packed["padding_mask"].numpy(),
        "input_type_ids": packed["segment_ids"].numpy(),
    }
    np.testing.assert_allclose(asked.call(inputs, "tokens")["logits"], pipeline.logits(TEXTS[:3]), atol=1e-4)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_regress(regression, protocol):
    stand_in, pipeline = regression
    with client.connect(url(stand_in, protocol), "stars", timeout=PLENTY) as asked:
        np.testing.assert_allclose(asked.regress(TEXTS), pipeline.logits(TEXTS)[:, 0], atol=1e-4)
        values = asked.predict(TEXTS)
        assert set(values) == {"values"}
        np.testing.assert_allclose(values["values"], pipeline.logits(TEXTS), atol=1e-4)
        with pytest.raises(client.SignatureError, match="signature 'classify'"):
            asked.classify(["good"])


@pytest.mark.parametrize("name", HARD)
def test_a_bad_row_is_answered_and_does_not_hurt_the_others(reviews, name):
    asked, pipeline = reviews
    alone = asked.predict(["good film", "a bad story"])["probabilities"]
    together = asked.predict(["good film", HARD[name], "a bad story"])["probabilities"]
    np.testing.assert_allclose(together[[0, 2]], alone, atol=1e-6)
    text = HARD[name].replace("\ud800", "?") if isinstance(HARD[name], str) else HARD[name]
    np.testing.assert_allclose(together[1], pipeline.probabilities([text])[0], atol=1e-5)
    scores = asked.classify([HARD[name], "good film"])
    np.testing.assert_allclose(list(scores[1].values()), alone[0], atol=1e-6)
    np.testing.assert_allclose(list(scores[0].values()), together[1], atol=1e-6)


def test_hard_texts_differ_so_that_the_test_above_means_something(alone):
    probabilities = alone[1].probabilities([text for name, text in HARD.items() if name != "surrogate"])[:, 0]
    assert len(set(np.round(probabilities, 4))) >= 5


def together(ask, pipeline):
    """Asks for 64 texts from 16 threads, and compares the probabilities."""
    words = ["good", "bad", "the film was", "a great story and actor", "not it"]
    texts = [" ".join(words[j % 5] for j in range(i, i + 1 + i % 9)) for i in range(64)]
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, texts))
    np.testing.assert_allclose(answers, pipeline.probabilities(texts), atol=1e-5)


@pytest.mark.parametrize("batching", [False, True], ids=["alone", "batching"])
def test_many_clients_at_once_get_their_own_answers(served, batching):
    """With the server in a process of its own, as servers are."""
    folder, pipeline = served("single_label").folder / "saved_model", served("single_label").pipeline
    with serving_soak.running_server(folder, batching) as (_, ports):
        for address in (f"grpc://localhost:{ports['grpc']}", f"http://localhost:{ports['rest']}"):
            with client.connect(address, timeout=PLENTY) as asked:
                together(lambda text, asked=asked: asked.predict([text])["probabilities"][0], pipeline)


def test_batches_are_formed_of_the_requests_of_several_clients(batching):
    stand_in, pipeline = batching
    servable = stand_in.servables[1]
    definition = servable.definitions["serving_default"]
    inputs, output = definition.inputs["text"].name, definition.outputs["probabilities"].name
    before = servable.batcher.batches
    together(lambda text: servable.run({inputs: np.array([text.encode()], object)}, [output])[0][0], pipeline)
    assert 8 <= servable.batcher.batches - before < 64


def test_metadata_and_versions(reviews):
    asked, _ = reviews
    assert asked.versions() == {1: "AVAILABLE"}
    signatures = asked.signatures()
    assert set(signatures) == {"serving_default", "tokens", "text_logits", "embed", "classify"}
    assert signatures["serving_default"] == {
        "inputs": {"text": ("string", [-1])},
        "outputs": {"probabilities": ("float32", [-1, 2]), "label": ("string", [-1]), "score": ("float32", [-1])},
    }


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_version_and_label_choose(alone, protocol):
    address = url(alone[0], protocol)
    for choice in ({"version": 1}, {"label": "stable"}):
        with client.connect(address, "reviews", timeout=PLENTY, **choice) as asked:
            assert asked.predict(["good"])["label"].shape == (1,)
    with client.connect(address, "reviews", version=7) as asked, pytest.raises(client.ModelNotFound, match="version 7"):
        asked.predict(["good"])
    with (
        client.connect(address, "reviews", label="new") as asked,
        pytest.raises(client.RequestRefused, match="label: new"),
    ):
        asked.predict(["good"])
    with pytest.raises(ValueError, match="a version or a label, not both"):
        client.connect(address, version=1, label="stable")


def test_wrong_models_and_signatures_are_named(reviews, server):
    asked, _ = reviews
    with pytest.raises(client.SignatureError, match=r"signatures\(\) lists what it has. Received: signature 'nix'"):
        asked.predict(["good"], "nix")
    with pytest.raises(client.SignatureError, match="txt"):
        asked.call({"txt": ["good"]})
    with pytest.raises(client.SignatureError, match="serving_default"):
        asked.classify(["good"], "serving_default")
    with pytest.raises(client.RequestRefused):
        asked.call({"text": [1, 2]})
    scheme = "grpc" if "Grpc" in type(asked).__name__ else "rest"
    with client.connect(url(server[0], scheme), "films") as other:
        for ask in (lambda: other.predict(["good"]), other.signatures, other.versions):
            with pytest.raises(client.ModelNotFound, match="has no model films"):
                ask()


@pytest.mark.parametrize(
    ("texts", "received"), [([], "no texts"), ("good", "the text 'good'"), (["good", None], "NoneType"), ([3], "int")]
)
def test_what_is_no_list_of_texts_is_refused_before_it_is_sent(texts, received):
    with client.connect("http://localhost:1") as asked:
        for ask in (asked.predict, asked.classify, asked.regress, asked.embed):
            with pytest.raises(ValueError, match=f"Received: {received}"):
                ask(texts)


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_not_there_is_named(scheme):
    port = free_port()
    with client.connect(f"{scheme}://127.0.0.1:{port}", timeout=20) as asked:
        for ask in (lambda: asked.predict(["good"]), asked.versions):
            with pytest.raises(client.ServerUnreachable, match=rf"answers at 127.0.0.1:{port}\. Is it running"):
                ask()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_does_not_answer_in_time_is_named(scheme):
    """A port that listens and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with client.connect(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3) as asked:
            with pytest.raises(client.DeadlineExceeded, match=r"did not answer in 0\.3 seconds") as error:
                asked.predict(["good"])
    assert isinstance(error.value, TimeoutError)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_slow_model_meets_the_deadline(server, protocol, monkeypatch):
    monkeypatch.setattr(server[0], "delay", 1.0)
    with client.connect(url(server[0], protocol), "reviews", timeout=0.2) as asked:
        with pytest.raises(client.DeadlineExceeded, match="raise the timeout"):
            asked.predict(["good"])
        monkeypatch.setattr(server[0], "delay", 0.0)
        asked.timeout = PLENTY
    # The client goes on after an error.
    with client.connect(url(server[0], protocol), "reviews", timeout=PLENTY) as asked:
        assert len(asked.predict(["good"])["label"]) == 1


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_full_queue_is_told_apart_from_a_missing_server(batching, protocol, monkeypatch):
    monkeypatch.setattr(batching[0].servables[1].batcher, "most", 0)
    with client.connect(url(batching[0], protocol), "reviews", timeout=PLENTY) as asked:
        with pytest.raises(client.ServerBusy, match="try again later"):
            asked.predict(["good"])


def test_another_server_on_the_port_is_told():
    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b"<html>Not found</html>")

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with client.connect(f"http://127.0.0.1:{other.server_port}") as asked:
            with pytest.raises(client.ServerUnreachable, match=r"is no REST port.*status 404, b'<html>"):
                asked.predict(["good"])
        other.shutdown()


def test_a_connection_that_the_server_closed_is_opened_again(alone):
    stand_in, _ = alone
    with client.connect(url(stand_in, "rest"), "reviews", timeout=PLENTY) as asked:
        asked.predict(["good"])
        # As a server that closes idle connections does.
        asked._kept.connection.sock.shutdown(socket.SHUT_RDWR)
        assert len(asked.predict(["good"])["label"]) == 1


@pytest.mark.parametrize("address", ["localhost:8500", "ftp://localhost:1", "grpc://", "http://host/path"])
def test_bad_addresses_are_named(address):
    with pytest.raises(ValueError, match=r"server must be grpc://HOST:PORT or http://HOST:PORT. Received: "):
        client.connect(address)
    with pytest.raises(ValueError, match="must be above 0"):
        client.connect("http://localhost:1", timeout=0)


@pytest.mark.parametrize(
    ("body", "path", "key"),
    [
        ({"instances": ["good film", "bad"]}, ":predict", "predictions"),
        ({"instances": [{"text": "good film"}, {"text": "bad"}]}, "/versions/1:predict", "predictions"),
        ({"instances": [{"b64": "Z29vZCBmaWxt"}, "bad"]}, ":predict", "predictions"),
        ({"inputs": {"text": ["good film", "bad"]}}, ":predict", "outputs"),
        ({"signature_name": "classify", "examples": [{"text": "good film"}, {"txt": "bad"}]}, ":classify", "results"),
    ],
    ids=["rows", "named_rows", "base64", "columns", "classify"],
)
def test_json_as_a_user_types_it(server, body, path, key):
    stand_in, pipeline = server
    request = urllib.request.Request(
        f"http://localhost:{stand_in.rest_port}/v1/models/reviews{path}", json.dumps(body).encode()
    )
    answer = json.loads(urllib.request.urlopen(request, timeout=PLENTY).read())[key]
    expected = pipeline.probabilities(["good film", "bad"])
    if key == "predictions":
        np.testing.assert_allclose([row["probabilities"] for row in answer], expected, atol=1e-5)
    elif key == "outputs":
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    else:
        np.testing.assert_allclose([score for _, score in answer[0]], expected[0], atol=1e-5)
        assert all(np.isnan(score) for _, score in answer[1]), "an example without text has no score"


@pytest.mark.parametrize(
    ("action", "body", "text"),
    [
        (":classify", {"signature_name": "classify", "examples": [{"text": 3}]}, "Data types don't match"),
        (":classify", {"signature_name": "classify", "examples": []}, "Input is empty"),
        (":predict", {"instances": [3]}, "not of expected type: string"),
        (":predict", {"rows": []}, "either 'instances' or 'inputs'"),
        (":predict", [], "has to be a JSON object"),
        (":ask", {}, "Malformed request"),
    ],
    ids=["numbers", "no_examples", "number", "no_rows", "list", "action"],
)
def test_wrong_json_is_refused_and_the_next_request_is_answered(alone, action, body, text):
    address = f"http://localhost:{alone[0].rest_port}/v1/models/reviews"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(address + action, json.dumps(body).encode()), timeout=PLENTY)
    assert error.value.code == 400
    assert text in json.loads(error.value.read())["error"]
    body = json.dumps({"instances": ["good"]}).encode()
    assert urllib.request.urlopen(urllib.request.Request(f"{address}:predict", body), timeout=PLENTY).status == 200


def test_the_client_needs_neither_tensorflow_nor_keras(alone):
    """Over both protocols, in a process of its own."""
    code = """
import json, sys
from keras_transformer.export import client
for address in sys.argv[1:]:
    with client.connect(address, "reviews", timeout=120) as asked:
        print(json.dumps(asked.predict(["good film"])["probabilities"].tolist()))
        asked.classify(["good film"]), asked.embed(["good film"]), asked.signatures()
print(json.dumps([name for name in ("tensorflow", "keras", "tensorflow_text") if name in sys.modules]))
"""
    addresses = [url(alone[0], "grpc"), url(alone[0], "rest")]
    result = subprocess.run(
        [sys.executable, "-c", code, *addresses],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    *answers, loaded = map(json.loads, result.stdout.splitlines())
    assert loaded == []
    for answer in answers:
        np.testing.assert_allclose(answer, alone[1].probabilities(["good film"]), atol=1e-5)


def test_grpc_without_grpcio_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ImportError, match="pip install grpcio, or use the REST port"):
        client.connect("grpc://localhost:8500")


def test_the_command_line_answers_texts_and_lines(alone, regression, capsys, monkeypatch):
    import io

    stand_in, pipeline = alone
    arguments = [f"--server={url(stand_in, 'rest')}", "--model=reviews", "--timeout=120"]
    assert client.main([*arguments, "good film", "bad"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in answers] == ["good film", "bad"]
    assert [answer["label"] for answer in answers] == [row["label"] for row in pipeline.predict(["good film", "bad"])]
    monkeypatch.setattr(sys, "stdin", io.StringIO("good film\nbad\n"))
    assert client.main([*arguments, "--signature=classify"]) == 0
    scores = [json.loads(line)["scores"] for line in capsys.readouterr().out.splitlines()]
    assert scores[0] == pytest.approx(pipeline.predict(["good film"])[0]["probabilities"], abs=1e-5)
    assert client.main([*arguments, "--status"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"] == {"1": "AVAILABLE"}
    stars = [f"--server={url(regression[0], 'grpc')}", "--model=stars", "--signature=regress", "--timeout=120"]
    assert client.main([*stars, "good"]) == 0
    value = json.loads(capsys.readouterr().out)["value"]
    assert value == pytest.approx(regression[1].logits(["good"])[0, 0], abs=1e-4)
    assert client.main([f"--server=http://127.0.0.1:{free_port()}", "good"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: No TensorFlow Serving answers")
