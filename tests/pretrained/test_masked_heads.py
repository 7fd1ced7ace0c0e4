"""Heads for masked tokens, and next-token losses, against transformers on the same batches of our objectives."""

import json

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keras_transformer import models, objectives, pretrained
from keras_transformer.corpus import TokenStore
from keras_transformer.models import EncoderConfig, MaskedLanguageModel, TransformerEncoder
from tests.pretrained.small_models import CASES, write

TOLERANCE = 1e-4
FAMILIES = {
    "bert": "BertForMaskedLM",
    "distilbert-masked": "DistilBertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
    "electra": "ElectraForMaskedLM",
    "electra-one-width": "ElectraForMaskedLM",
    "albert": "AlbertForMaskedLM",
    "albert-groups": "AlbertForMaskedLM",
}


def write_masked(case, folder, monkeypatch, **fields):
    """Writes the masked-token model of a case of `small_models`, with random weights, biases and norms."""
    _, config, sizes = CASES[case]
    monkeypatch.setitem(CASES, "masked", (FAMILIES[case], config, sizes))
    write("masked", folder, **fields)
    return folder


def corpus(vocabulary_size=100):
    random = np.random.default_rng(0)
    documents = [[random.integers(5, vocabulary_size, n).tolist() for n in (9, 14, 6)] for _ in range(20)]
    return TokenStore.of(documents, vocabulary_size)


def specials(vocabulary_size=100):
    # Padding is no token of these rows; RoBERTa and its kin would count positions from it.
    return objectives.Specials(vocabulary_size, 1, start_ids=[2], end_ids=[3], mask_id=4)


def losses_of_transformers(folder, architecture, token_ids, labels):
    """The mean loss with these labels (-100 where there is none), and the logits."""
    import torch
    import transformers

    model, info = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    with torch.no_grad():
        outputs = model.eval()(input_ids=torch.tensor(token_ids).long(), labels=torch.tensor(labels).long())
    return float(outputs.loss), outputs.logits.numpy(), info


def our_loss(objective, model, batch, name):
    inputs, labels, weights = batch
    values = objective.outputs()[name].loss.call(labels[name], model(inputs)[name])
    return float(np.sum(np.array(values) * weights[name]) / weights[name].sum())


def scattered(batch):
    """Labels for every token, -100 for those that are not masked."""
    inputs, labels, weights = batch
    result = np.full(inputs["token_ids"].shape, -100)
    rows, slots = np.nonzero(weights["masked"])
    result[rows, inputs["masked_positions"][rows, slots]] = labels["masked"][rows, slots]
    return result


@pytest.mark.parametrize("case", FAMILIES)
def test_the_masked_loss_is_that_of_transformers(case, tmp_path, monkeypatch):
    folder = write_masked(case, tmp_path / "theirs", monkeypatch)
    objective = objectives.MaskedTokens(corpus(), specials(), row_length=30, rate=0.3, crossing=True)
    batch = objective.batch(0, np.arange(8))
    model = pretrained.load_masked_language_model(folder)
    assert {tensor.name for tensor in model.inputs} == set(batch[0])
    expected, logits, _ = losses_of_transformers(folder, FAMILIES[case], batch[0]["token_ids"], scattered(batch))
    assert abs(our_loss(objective, model, batch, "masked") - expected) <= TOLERANCE
    assert expected > 1
    places = batch[0]["masked_positions"]
    theirs = np.take_along_axis(logits, places[..., None], axis=1)
    ours = np.array(model(batch[0])["masked"])
    assert np.abs(ours - theirs)[batch[2]["masked"] > 0].max() <= TOLERANCE
    assert theirs.std() > 0.3

    # And back: transformers reads what we write, without a tensor too few or too many.
    model_type = json.loads((folder / "config.json").read_text())["model_type"]
    pretrained.save_huggingface(model, None, tmp_path / "ours", model_type=model_type)
    again, _, info = losses_of_transformers(tmp_path / "ours", FAMILIES[case], batch[0]["token_ids"], scattered(batch))
    assert not any(info.values())
    assert again == expected
    copy = pretrained.load_masked_language_model(tmp_path / "ours")
    np.testing.assert_array_equal(np.array(copy(batch[0])["masked"]), ours)
    assert copy.get_config() == model.get_config()


@pytest.mark.parametrize("case", ["gpt2", "llama"])
def test_the_next_token_loss_is_that_of_transformers(case, tmp_path):
    write(case, tmp_path)
    objective = objectives.NextToken(corpus(), specials(), row_length=30, crossing=True)
    batch = objective.batch(0, np.arange(8))
    model = objective.create_model(pretrained.load_decoder(tmp_path))
    token_ids = batch[0]["token_ids"]
    expected, _, _ = losses_of_transformers(tmp_path, CASES[case][0], token_ids, token_ids)
    assert abs(our_loss(objective, model, batch, "next_token") - expected) <= TOLERANCE
    assert expected > 1


def test_next_tokens_of_packed_rows_have_the_loss_of_documents_alone(tmp_path):
    """transformers reads each document in a row of its own; the last row of a document may begin in its middle."""
    write("gpt2", tmp_path)
    objective = objectives.NextToken(corpus(), specials(), row_length=38)
    batch = objective.batch(0, np.arange(6))
    inputs, _, weights = batch
    total = 0.0
    for row in range(6):
        for number in range(1, inputs["example_ids"][row].max() + 1):
            here = inputs["example_ids"][row] == number
            token_ids = inputs["token_ids"][row, here][None]
            if here.sum() > 1:
                loss, _, _ = losses_of_transformers(tmp_path, "GPT2LMHeadModel", token_ids, token_ids)
                total += loss * (here.sum() - 1)
    model = objective.create_model(pretrained.load_decoder(tmp_path))
    assert abs(our_loss(objective, model, batch, "next_token") - total / weights["next_token"].sum()) <= TOLERANCE


def test_a_pretraining_checkpoint_has_the_head_too(tmp_path, write_bert):
    """BertForPreTraining holds a pooler and a head for sentences beside it."""
    folder = write_bert("BertForPreTraining")
    model = pretrained.load_masked_language_model(folder, packed=True, max_length=32, dropout=0.0, num_layers=2)
    config = model.backbone.config
    assert (config.pooler, config.max_length, config.dropout, config.num_layers) == (False, 32, 0.0, 2)
    assert model.packed
    tensors = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(np.array(model.masked_head.bias), tensors["cls.predictions.bias"])
    np.testing.assert_array_equal(
        np.array(model.masked_head.transform.kernel), tensors["cls.predictions.transform.dense.weight"].T
    )


def test_a_model_of_ours_with_a_pooler_is_written_without_it(tmp_path):
    config = EncoderConfig(vocabulary_size=50, num_layers=1, max_length=16, pooler=True, num_segments=0)
    model = MaskedLanguageModel(TransformerEncoder(config))
    pretrained.save_huggingface(model, None, tmp_path / "model", model_type="distilbert")
    copy = pretrained.load_masked_language_model(tmp_path / "model")
    np.testing.assert_array_equal(np.array(copy.masked_head.bias), np.array(model.masked_head.bias))
    assert not copy.backbone.config.pooler


def test_half_precision_and_shards(tmp_path, monkeypatch):
    folder = write_masked("bert", tmp_path, monkeypatch, dtype="bfloat16", shard="20KB")
    objective = objectives.MaskedTokens(corpus(), specials(), row_length=30, crossing=True)
    batch = objective.batch(0, np.arange(8))
    import torch
    import transformers

    theirs = transformers.BertForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        loss = theirs(
            input_ids=torch.tensor(batch[0]["token_ids"]).long(), labels=torch.tensor(scattered(batch)).long()
        ).loss
    model = pretrained.load_masked_language_model(folder)
    assert abs(our_loss(objective, model, batch, "masked") - float(loss)) <= TOLERANCE


def edit(folder, **tensors):
    path = folder / "model.safetensors"
    values = load_file(path)
    for name, value in tensors.items():
        values[name] = value
    save_file({name: value for name, value in values.items() if value is not None}, path, metadata={"format": "pt"})


def test_folders_without_the_head_are_refused(tmp_path, monkeypatch):
    write("bert", tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"no head for masked tokens that we have \(BertForMaskedLM, .*load_encoder"):
        pretrained.load_masked_language_model(tmp_path / "encoder")
    write("gpt2", tmp_path / "decoder")
    with pytest.raises(ValueError, match="no head for masked tokens"):
        pretrained.load_masked_language_model(tmp_path / "decoder")
    folder = write_masked("bert", tmp_path / "head", monkeypatch)
    edit(folder, **{"cls.predictions.transform.LayerNorm.bias": None})
    with pytest.raises(ValueError, match=r"lacks the tensor 'cls.predictions.transform.LayerNorm.bias'.* \(32,\)"):
        pretrained.load_masked_language_model(folder)


def test_a_kernel_of_its_own_is_refused_and_a_copy_is_not(tmp_path, monkeypatch):
    folder = write_masked("bert", tmp_path, monkeypatch)
    table = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    edit(folder, **{"cls.predictions.decoder.weight": table.copy()})
    assert pretrained.load_masked_language_model(folder).count_params() > 0
    edit(folder, **{"cls.predictions.decoder.weight": table + 1})
    with pytest.raises(
        ValueError, match=r"must be the table of the token embeddings.*'cls.predictions.decoder.weight'"
    ):
        pretrained.load_masked_language_model(folder)


def test_models_without_a_counterpart_are_refused(tmp_path):
    encoder = TransformerEncoder(EncoderConfig(vocabulary_size=50, num_layers=1, max_length=16))
    with pytest.raises(ValueError, match=r"BertForMaskedLM has the activation 'gelu'. Received: a model with 'tanh'"):
        pretrained.save_huggingface(MaskedLanguageModel(encoder, activation="tanh"), None, tmp_path / "model")
    with pytest.raises(ValueError, match="only a classifier has"):
        pretrained.save_huggingface(MaskedLanguageModel(encoder), None, tmp_path / "model", class_names=("a", "b"))
    with pytest.raises(ValueError, match="`model` must be one of TextClassifier, MaskedLanguageModel"):
        pretrained.save_huggingface(models.SentencePairModel(encoder), None, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_head_is_trained_and_saved_by_keras(tmp_path, monkeypatch):
    model = pretrained.load_masked_language_model(write_masked("albert", tmp_path / "theirs", monkeypatch))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    batch = objectives.MaskedTokens(corpus(), specials(), row_length=30, crossing=True).batch(0, [0])
    np.testing.assert_array_equal(np.array(again(batch[0])["masked"]), np.array(model(batch[0])["masked"]))
