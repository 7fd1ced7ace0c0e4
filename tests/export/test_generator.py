"""A text generator as a SavedModel: verified before it is written, from Python and from the command line."""

import json
import shutil

import keras
import pytest
import tensorflow as tf

from keras_transformer.export import VerificationError, export_generator, generator, runners, verify
from keras_transformer.export.__main__ import main
from keras_transformer.generation import GenerationConfig, Sample
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import DecoderConfig, TransformerDecoder
from keras_transformer.pipelines import TextGenerationPipeline
from keras_transformer.text import TextPacker, WordPieceTokenizer
from tests.export.tiny_pipeline import VOCABULARY

PROMPTS = ["the film was", "a story", "good"]


@pytest.fixture(scope="module")
def pipeline():
    keras.utils.set_random_seed(5)
    config = DecoderConfig(
        vocabulary_size=len(VOCABULARY),
        hidden_dim=16,
        num_layers=1,
        max_length=48,
        tie_embeddings=False,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=32),
        initializer_range=0.5,
    )
    packer = TextPacker(WordPieceTokenizer(VOCABULARY), frame={"before": ["[CLS]"]})
    return TextGenerationPipeline(TransformerDecoder(config), packer, GenerationConfig(max_new_tokens=8))


@pytest.fixture(scope="module")
def written(pipeline, tmp_path_factory):
    """The folder of an export, and its report."""
    folder = tmp_path_factory.mktemp("generator") / "export"
    return folder, export_generator(pipeline, folder)


def test_it_serves_what_generate_says(pipeline, written, tmp_path):
    folder, report = written
    assert report["written"] == ["saved_model/1"]
    (entry,) = report["artefacts"]
    assert entry["checks"] == len(generator.PROMPTS)
    assert json.loads((folder / "report.json").read_text()) == report
    serve = runners.open_saved_model(folder / "saved_model" / "1")["serving_default"]
    found = [text.decode() for text in serve(text=PROMPTS)["text"]]
    assert found == pipeline.generate(PROMPTS)
    assert len(set(found)) == len(PROMPTS)
    again = shutil.copytree(folder, tmp_path / "again")
    assert export_generator(pipeline, again)["written"] == ["saved_model/2"]
    with pytest.raises(FileExistsError, match="2 exists"):
        export_generator(pipeline, again, version=2)


def test_a_seed_comes_with_the_request(pipeline, tmp_path):
    drawn = TextGenerationPipeline(
        pipeline.model, pipeline.packer, GenerationConfig(max_new_tokens=8, sampler=Sample(top_k=20))
    )
    export_generator(drawn, tmp_path)
    serve = runners.open_saved_model(tmp_path / "saved_model" / "1")["serving_default"]
    for seed in (1, 2):
        expected = drawn.generate(PROMPTS, sampler=Sample(top_k=20, seed=seed))
        assert [text.decode() for text in serve(text=PROMPTS, seed=seed)["text"]] == expected


def test_a_wrong_text_is_noticed(pipeline, written, tmp_path, monkeypatch):
    shutil.copytree(written[0], tmp_path / "good")
    version = tmp_path / "good" / "saved_model" / "1"
    assert verify.verify(tmp_path / "good")[0]["checks"] == len(generator.PROMPTS)
    file = version / "assets.extra" / generator.GENERATION_FILE
    checks = json.loads(file.read_text())
    file.write_text(json.dumps(checks | {"texts": ["wrong", *checks["texts"][1:]]}))
    with pytest.raises(VerificationError, match=r"another text than its check says: .* instead of 'wrong'"):
        verify.verify(version)
    monkeypatch.setattr(generator, "_expected", lambda pipeline, prompts: ["wrong"] * len(prompts))
    with pytest.raises(VerificationError, match="not usable"):
        export_generator(pipeline, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_the_command_exports_and_verifies_it(pipeline, tmp_path, capsys):
    pipeline.save(tmp_path / "run")
    assert main([f"--run={tmp_path / 'run'}"]) == 0
    assert "verified on 5 texts" in capsys.readouterr().out
    assert main([f"--verify={tmp_path / 'run' / 'export'}"]) == 0
    assert "verified on 5 texts" in capsys.readouterr().out
    assert main([f"--run={tmp_path / 'run'}", "--formats=tflite"]) == 1
    assert "exported as a SavedModel only" in capsys.readouterr().err
    assert main([f"--run={tmp_path / 'run'}", "--serving_dtype=bfloat16"]) == 1
    assert "--serving_dtype=bfloat16" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "run" / "export")
    (tmp_path / "run" / "model.keras").unlink()
    assert main([f"--run={tmp_path / 'run'}"]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_the_graph_holds_no_python(written):
    from keras_transformer.export.operators import saved_model_operators

    version = written[0] / "saved_model" / "1"
    operators = saved_model_operators(version)
    assert "While" in operators or "StatelessWhile" in operators
    assert not [name for name in operators if "PyFunc" in name]
    loaded = tf.saved_model.load(str(version))
    (output,) = loaded.signatures["serving_default"].structured_outputs
    assert output == "text"
