"""Every way in which a pretrained folder can be wrong gives one clear error."""

import json
import os
import pickle

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_transformer import pretrained


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_tensors(folder, **changes):
    """Replaces tensors; None removes one."""
    path = folder / "model.safetensors"
    tensors = load_file(path) | {name.replace("__", "."): value for name, value in changes.items()}
    save_file({name: value for name, value in tensors.items() if value is not None}, path)


def fails(folder, *parts, error=ValueError, load=pretrained.load_encoder):
    """Asserts that loading fails with one line that says all `parts`."""
    with pytest.raises(error) as caught:
        load(folder)
    message = str(caught.value)
    for part in (str(folder), *parts):
        assert str(part) in message, message
    assert "\n" not in message


@pytest.mark.parametrize("model_type", ["xlnet", "mistral", None])
def test_other_architectures(model_type, write_bert):
    folder = write_bert()
    edit_config(folder, model_type=model_type)
    with pytest.raises(ValueError, match=rf"'bert', .* 't5' can be loaded\. Received: model_type={model_type!r}"):
        pretrained.load_encoder(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("quantization_config", {"bits": 8}),
        ("hidden_act", "gelu_10"),
    ],
)
def test_variants_of_bert_that_we_do_not_compute(field, value, write_bert):
    folder = write_bert()
    edit_config(folder, **{field: value})
    with pytest.raises(ValueError, match=rf"{field}.*Received: .*{str(value)[:4]}"):
        pretrained.load_encoder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl", "model.pt", "weights.pth"])
def test_a_pickle_is_refused_and_not_opened(name, write_bert, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    folder = write_bert()
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    fails(folder, name, "a pickle", "Nothing is unpickled", "safetensors")
    fails(folder / name, "a pickle")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["bert_model.ckpt.index", "model.ckpt", "tf_model.h5"])
def test_tensorflow_checkpoints_are_refused(name, write_bert):
    folder = write_bert()
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\0")
    fails(folder, name, "Refused", "safetensors")


def test_safetensors_win_over_a_pickle_beside_them(write_bert):
    folder = write_bert()
    (folder / "pytorch_model.bin").write_bytes(b"\0")
    assert pretrained.load_encoder(folder).config.num_layers == 3


def test_missing_files(write_bert, tmp_path):
    fails(tmp_path / "nothing", "No such folder", error=FileNotFoundError)
    folder = write_bert()
    fails(folder / "model.safetensors", "a folder", "not a file")
    (folder / "model.safetensors").unlink()
    fails(folder, "no weights", "model.safetensors", error=FileNotFoundError)
    (folder / "config.json").unlink()
    fails(folder, "no config.json", error=FileNotFoundError)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]"])
def test_damaged_config(content, write_bert):
    folder = write_bert()
    (folder / "config.json").write_bytes(content)
    fails(folder, "config.json", "JSON")


def test_sizes_in_the_config_that_cannot_be(write_bert):
    folder = write_bert()
    edit_config(folder, num_attention_heads=5)
    with pytest.raises(ValueError, match="num_heads=5"):
        pretrained.load_encoder(folder)
    edit_config(folder, num_attention_heads=4, hidden_size="large")
    with pytest.raises(ValueError, match=r"hidden_dim must be an integer above 0\. Received: 'large'"):
        pretrained.load_encoder(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_safetensors(keep, write_bert):
    folder = write_bert()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    fails(folder, "model.safetensors", "truncated", "Download or copy it again")


def test_files_that_are_no_safetensors(write_bert):
    folder = write_bert()
    path = folder / "model.safetensors"
    path.write_bytes(b"<html>404</html>" * 9)
    fails(folder, "model.safetensors", "no safetensors file")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 133\n")
    fails(folder, "Git LFS pointer", "git lfs pull")


def test_missing_tensor(write_bert):
    folder = write_bert()
    edit_tensors(folder, encoder__layer__1__attention__output__dense__weight=None)
    fails(folder, "lacks the tensor 'encoder.layer.1.attention.output.dense.weight'", "(32, 32)")


def test_wrong_shape_names_the_tensor_and_both_shapes(write_bert):
    folder = write_bert()
    edit_tensors(folder, encoder__layer__2__intermediate__dense__weight=np.zeros((32, 56), "float32"))
    fails(folder, "'encoder.layer.2.intermediate.dense.weight'", "expected shape (56, 32)", "Received: shape (32, 56)")
    folder = write_bert("BertForMaskedLM")
    edit_config(folder, vocab_size=51)
    fails(folder, "'bert.embeddings.word_embeddings.weight'", "(51, 32)", "Received: shape (50, 32)")


def test_the_same_tensor_twice(write_bert):
    folder = write_bert()
    edit_tensors(folder, bert__pooler__dense__bias=np.zeros(32, "float32"))
    fails(folder, "'pooler.dense.bias' twice")


def test_integer_weights(write_bert):
    folder = write_bert()
    edit_tensors(folder, encoder__layer__0__output__dense__bias=np.zeros(32, "int8"))
    with pytest.raises(ValueError, match=r"'encoder\.layer\.0\.output\.dense\.bias'.*quantized.*Received: dtype I8"):
        pretrained.load_encoder(folder)


def test_shards(write_bert, tmp_path):
    folder = write_bert(shard="20KB")
    index = folder / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    shards = sorted(set(values["weight_map"].values()))
    assert len(shards) > 2
    index.write_text(json.dumps(values | {"weight_map": {}}))
    fails(folder, "weight_map")
    index.write_text(json.dumps({"weight_map": values["weight_map"] | {"new.weight": shards[0]}}))
    fails(folder, f"{shards[0]!r} holds the tensor 'new.weight'")
    (tmp_path / "outside.safetensors").write_bytes((folder / shards[0]).read_bytes())
    index.write_text(json.dumps({"weight_map": {"new.weight": "../outside.safetensors"}}))
    fails(folder, "outside its folder")
    index.write_text(json.dumps(values))
    (folder / shards[1]).write_bytes((folder / shards[1]).read_bytes()[:-1])
    fails(folder, shards[1], "truncated")
    (folder / shards[1]).unlink()
    fails(folder, shards[1], error=FileNotFoundError)


def test_options_beyond_the_checkpoint(write_bert):
    folder = write_bert()
    with pytest.raises(ValueError, match=r"max_length can be at most .* 40\. Received: 41"):
        pretrained.load_encoder(folder, max_length=41)
    with pytest.raises(ValueError, match=r"num_layers can be at most .* 3\. Received: 4"):
        pretrained.load_encoder(folder, num_layers=4)
    with pytest.raises(ValueError, match="dropout"):
        pretrained.load_encoder(folder, dropout=1.5)
    with pytest.raises(ValueError, match=r"pooler\.dense\.weight"):
        pretrained.load_encoder(write_bert("BertForMaskedLM"), pooler=True)


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM", "BertForTokenClassification"])
def test_no_classification_head(architecture, write_bert):
    fails(write_bert(architecture), "no classification head", architecture, load=pretrained.load_classifier)


def test_head_of_another_size(write_bert):
    folder = write_bert("BertForSequenceClassification", num_labels=3)
    edit_config(folder, id2label={"0": "a", "1": "b"})
    fails(folder, "'classifier.weight'", "(2, 32)", "(3, 32)", load=pretrained.load_classifier)
    edit_config(folder, id2label={"0": "a", "1": "b", "2": "c"}, problem_type="ranking")
    with pytest.raises(ValueError, match=r"problem_type must be one of .* Received: 'ranking'"):
        pretrained.load_classifier(folder)
    edit_config(folder, id2label={"0": "a", "7": "b"})
    with pytest.raises(ValueError, match="id2label"):
        pretrained.load_class_names(folder)


def test_presets(write_backbone):
    folder, _ = write_backbone()
    fails(folder, "no BertTextClassifier", load=pretrained.load_classifier)
    path = folder / "model.weights.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    fails(folder, "model.weights.h5", "truncated")
    path.write_bytes(b"no hdf5")
    fails(folder, "model.weights.h5", "truncated")
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        del file["layers/transformer_encoder_1/_feedforward_layer_norm/vars/1"]
    fails(folder, "lacks 'transformer_layer_1/_feedforward_layer_norm/1'", "(32,)")
    path.write_bytes(whole)
    values = json.loads((folder / "config.json").read_text())
    edit_config(folder, config=values["config"] | {"intermediate_dim": 57})
    fails(folder, "'transformer_layer_0/_feedforward_intermediate_dense/0'", "(32, 57)", "Received: shape (32, 56)")
    edit_config(folder, config=values["config"])
    with h5py.File(path, "r+") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        group["0"] = np.zeros((32, 32), "int8")
    fails(folder, "layers/dense/vars/0", "Received: dtype int8")
    path.unlink()
    fails(folder, "no weights", error=FileNotFoundError)


def test_presets_of_other_backbones(write_backbone):
    folder, _ = write_backbone()
    edit_config(folder, class_name="GemmaBackbone")
    with pytest.raises(ValueError, match=r"BertBackbone, .* can be loaded\. Received: class_name='GemmaBackbone'"):
        pretrained.load_encoder(folder)
