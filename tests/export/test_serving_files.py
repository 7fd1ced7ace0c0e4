"""What lies around a SavedModel for the server: warm-up records, batching, configuration, and what damage does."""

import itertools
import shutil

import numpy as np
import pytest
import yaml
from google.protobuf import text_format

from benchmarks.stand_in_servable import Batcher, Refused, Servable, batching_parameters
from keras_transformer.export import VerificationError, export_pipeline, exporter, verify
from keras_transformer.export.serving import ServingOptions, files, warmup
from keras_transformer.export.serving.messages import message
from keras_transformer.export.serving.tensors import from_proto, to_proto
from tests.export.tiny_pipeline import make_pipeline

SIZES = (1, 2, 8)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """An export under another name."""
    pipeline = make_pipeline(temperature=9.0)
    folder = tmp_path_factory.mktemp("reviews")
    options = ServingOptions("reviews", batch_sizes=SIZES, batch_timeout_micros=500, num_batch_threads=2)
    report = export_pipeline(pipeline, folder, ["saved_model"], serving=options)
    return pipeline, folder, report


@pytest.fixture
def version(reviews, tmp_path):
    """A copy of the version folder, to be damaged."""
    return shutil.copytree(reviews[1] / "saved_model" / "1", tmp_path / "1")


def records(version):
    """The warm-up records, read by TensorFlow."""
    import tensorflow as tf

    path = version / "assets.extra" / "tf_serving_warmup_requests"
    parse = message("PredictionLog").FromString
    return [parse(record) for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]


def write(version, logs):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def texts_of(log):
    if log.WhichOneof("log_type") == "predict_log":
        return [text.decode() for text in from_proto(log.predict_log.request.inputs["text"])]
    examples = log.classify_log.request.input.example_list.examples
    return [entry.features.feature["text"].bytes_list.value[0].decode() for entry in examples]


def test_warmup_covers_every_batch_size_with_short_medium_and_longest_texts(reviews):
    pipeline, folder, report = reviews
    logs = records(folder / "saved_model" / "1")
    assert 1 <= len(logs) <= 1000
    assert report["artefacts"][0]["warmup_requests"] == len(logs)
    for kind, signature in (("predict_log", "serving_default"), ("classify_log", "classify")):
        seen = []
        for log in logs:
            if log.WhichOneof("log_type") != kind or getattr(log, kind).request.model_spec.signature_name != signature:
                continue
            texts = texts_of(log)
            lengths = set(pipeline.packer.tokens(texts).row_lengths().numpy().tolist())
            assert len(lengths) == 1
            seen.append((len(texts), lengths.pop()))
        # [CLS], one word, [SEP]; a quarter of the longest row; the longest row.
        assert seen == list(itertools.product(SIZES, (3, 6, 24))), "from the shortest to the longest"
    others = [
        log.predict_log.request
        for log in logs
        if log.WhichOneof("log_type") == "predict_log" and log.predict_log.request.model_spec.signature_name == "tokens"
    ]
    assert [from_proto(request.inputs["input_word_ids"]).shape for request in others] == [(1, 3), (1, 24)]
    assert all(from_proto(request.inputs["input_mask"]).all() for request in others)


def test_the_stand_in_answers_every_warmup_record(reviews):
    """In the session and with the checks of the server: one record that fails would fail the load."""
    version = reviews[1] / "saved_model" / "1"
    servable = Servable(version)
    assert servable.warm_up(version) == reviews[2]["artefacts"][0]["warmup_requests"]
    # Every signature has run, so no client waits for the optimisation of its graph.
    assert len(servable.runners) == len([entry for entry in servable.definitions.values() if entry.inputs])


def test_regress_is_warmed_up_too(served):
    logs = records(served("regression").saved_model)
    sizes = [
        len(log.regress_log.request.input.example_list.examples)
        for log in logs
        if log.WhichOneof("log_type") == "regress_log"
    ]
    assert sizes == [1, 1, 1, 2, 2, 2, 8, 8, 8]


def test_too_many_warmup_records_are_refused(reviews, version):
    with pytest.raises(ValueError, match="at most 1000 warm-up records"):
        warmup.write_warmup(version, reviews[0].packer, ["good"], range(1, 200))
    texts = warmup.warmup_texts(reviews[0].packer, [" ", "\u200b", "good story", "story"])
    assert texts == ["story", " ".join(["story"] * 4), " ".join(["story"] * 22)]


def test_configuration_is_what_the_server_parses(reviews):
    _, folder, _ = reviews
    parsed = {
        name: text_format.Parse((folder / path).read_text(), message(name)())
        for name, path in (
            ("BatchingParameters", "saved_model/1/batching_params.pbtxt"),
            ("ModelServerConfig", "serving/models.config"),
            ("MonitoringConfig", "serving/monitoring.config"),
        )
    }
    batching = parsed["BatchingParameters"]
    assert list(batching.allowed_batch_sizes) == list(SIZES)
    assert (batching.max_batch_size.value, batching.batch_timeout_micros.value) == (8, 500)
    assert (batching.num_batch_threads.value, batching.max_enqueued_batches.value) == (2, 100)
    assert not batching.pad_variable_length_inputs
    same = text_format.Parse((folder / "serving/batching.config").read_text(), message("BatchingParameters")())
    assert same == batching
    (config,) = parsed["ModelServerConfig"].model_config_list.config
    assert (config.name, config.base_path, config.model_platform) == ("reviews", "/models/reviews", "tensorflow")
    monitoring = parsed["MonitoringConfig"].prometheus_config
    assert monitoring.enable
    assert monitoring.path == "/monitoring/prometheus/metrics"
    # The comment of models.config shows lines that may be put into it.
    text = (folder / "serving/models.config").read_text()
    shown = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#   "))
    pinned = text_format.Parse(shown, message("ModelConfig")())
    assert list(pinned.model_version_policy.specific.versions) == [1, 2]
    assert dict(pinned.version_labels) == {"stable": 1}


def test_the_compose_file_mounts_what_the_configuration_names(reviews):
    _, folder, _ = reviews
    compose = yaml.safe_load((folder / "serving/docker-compose.yml").read_text())
    (service,) = compose["services"].values()
    assert service["image"].startswith("tensorflow/serving:2.")
    mounts = dict(entry.split(":")[:2] for entry in service["volumes"])
    inside = {target: (folder / "serving" / source).resolve() for source, target in mounts.items()}
    assert inside["/models/reviews"] == (folder / "saved_model").resolve()
    flags = dict(argument.removeprefix("--").split("=") for argument in service["command"])
    for flag in ("model_config_file", "monitoring_config_file", "batching_parameters_file"):
        place, _, name = flags[flag].rpartition("/")
        assert (inside[place] / name).is_file(), flag
    assert flags["enable_batching"] == "true"
    assert service["ports"] == ["8500:8500", "8501:8501"]


def test_a_second_export_leaves_the_configuration_alone(reviews, tmp_path):
    pipeline, folder, _ = reviews
    shutil.copytree(folder, tmp_path / "export")
    path = tmp_path / "export" / "serving" / "models.config"
    path.write_text(path.read_text() + "# mine\n")
    report = export_pipeline(pipeline, tmp_path / "export", ["saved_model"], serving=ServingOptions(batch_sizes=(1,)))
    assert report["written"] == ["saved_model/2"]
    assert path.read_text().endswith("# mine\n")
    batching = batching_parameters(tmp_path / "export" / "saved_model" / "2")
    assert list(batching.allowed_batch_sizes) == [1]


def test_a_version_that_would_not_load_is_not_written(reviews, tmp_path, monkeypatch):
    """A warm-up request that the model cannot answer: found by the rehearsal, before the rename."""
    original = exporter.write_warmup

    def with_a_wrong_record(version, *arguments):
        original(version, *arguments)
        log = message("PredictionLog")()
        log.predict_log.request.model_spec.signature_name = "regress"
        write(version, [*records(version), log])

    monkeypatch.setattr(exporter, "write_warmup", with_a_wrong_record)
    with pytest.raises(VerificationError, match=r"a server would not load it: .*asks for the signature 'regress'"):
        export_pipeline(reviews[0], tmp_path / "out", ["saved_model"], serving=ServingOptions(batch_sizes=(1,)))
    assert list(tmp_path.iterdir()) == []


def damage_record(version):
    """One byte in the middle of a record: its checksum no longer fits."""
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_records(version):
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(path.read_bytes()[:-5])


def empty_records(version):
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"")


def record_without_request(version):
    write(version, [message("PredictionLog")()])


def record_without_values(version):
    log = message("PredictionLog")()
    log.predict_log.request.inputs["text"].dtype = 7
    write(version, [log])


def record_with_wrong_input(version):
    log = message("PredictionLog")()
    log.predict_log.request.inputs["txt"].CopyFrom(to_proto(["good"]))
    write(version, [log])


def damage_batching(version):
    (version / files.BATCHING_FILE).write_text("max_batch_size { value: }")


def wrong_batching(version):
    path = version / files.BATCHING_FILE
    path.write_text(path.read_text() + "allowed_batch_sizes: 64\n")


def padding_batching(version):
    path = version / files.BATCHING_FILE
    path.write_text(path.read_text() + "pad_variable_length_inputs: true\n")


def flip_weight(version):
    """The highest bits of one weight."""
    path = version / "variables" / "variables.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[403] ^= 0x7F
    path.write_bytes(content)


def cut_graph(version):
    path = version / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:-1000])


def rename_label(version):
    path = version / "assets.extra" / "contract.json"
    path.write_text(path.read_text().replace("positive", "glowing"))


def swap_labels(version):
    path = version / "assets.extra" / "contract.json"
    text = path.read_text()
    path.write_text(text.replace("positive", "x").replace("negative", "positive").replace('"x"', '"negative"'))


def drop_signature(version):
    """As if the graph were that of another model."""
    path = version / "assets.extra" / "contract.json"
    path.write_text(path.read_text().replace("single_label", "regression").replace('"negative",', ""))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (damage_record, "would not load it: tf_serving_warmup_requests is damaged"),
        (cut_records, "would not load it: tf_serving_warmup_requests is damaged"),
        (empty_records, "tf_serving_warmup_requests is empty"),
        (record_without_request, "record 1 of .* holds no request"),
        (record_without_values, "record 1 of .* is damaged"),
        (record_with_wrong_input, "record 1 of .* cannot be answered"),
        (damage_batching, "batching_params.pbtxt is damaged"),
        (wrong_batching, "allowed_batch_sizes must increase and end with max_batch_size"),
        (padding_batching, "pad_variable_length_inputs pads with the first token"),
        (flip_weight, "cannot be loaded as a SavedModel|differs from the stored check values"),
        (cut_graph, "cannot be loaded as a SavedModel"),
        (rename_label, "differs from the stored check values by inf"),
        (swap_labels, "differs from the stored check values"),
        (drop_signature, "a model of the kind regression has the signatures"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_damage_after_writing_is_one_clear_error(version, damage, text):
    damage(version)
    with pytest.raises(ValueError, match=text):
        verify.verify(version)


def test_a_removed_warmup_file_is_no_damage(version):
    """A server loads faster without it."""
    (version / "assets.extra" / "tf_serving_warmup_requests").unlink()
    (version / files.BATCHING_FILE).unlink()
    (entry,) = verify.verify(version)
    assert entry["warmup_requests"] == 0


def test_batching_fills_up_with_copies_and_cuts_them_off_again(reviews):
    """batching_session.cc: five texts become eight rows, the last three of which are copies."""
    version = reviews[1] / "saved_model" / "1"
    servable = Servable(version)
    texts = np.array([b"good", b"the film was bad", b"", b"a great story", b"not it"], object)
    definition = servable.definitions["serving_default"]
    names = [info.name for _, info in sorted(definition.outputs.items())]
    alone = servable.run({definition.inputs["text"].name: texts}, names)
    sizes = []
    original = servable.run_alone
    servable.run_alone = lambda inputs, outputs: (
        sizes.append(len(next(iter(inputs.values())))) or original(inputs, outputs)
    )
    servable.batcher = Batcher(servable, batching_parameters(version))
    batched = servable.run({definition.inputs["text"].name: texts}, names)
    assert sizes == [8]
    for value, expected in zip(batched, alone, strict=True):
        if value.dtype == object:
            assert value.tolist() == expected.tolist()
        else:
            np.testing.assert_allclose(value, expected, atol=1e-6)
    with pytest.raises(Refused, match="Task size 9 is larger than maximum input batch size 8"):
        servable.run({definition.inputs["text"].name: np.array([b"a"] * 9, object)}, names)
