"""Recipes: JSON, overrides, identity, and the errors a person gets for a slip."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from keras_transformer.training import Recipe, load_recipe
from keras_transformer.training.recipes import NAMED


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_recipe_survives_json(name):
    recipe = load_recipe(name)
    assert Recipe.from_dict(json.loads(recipe.to_json())) == recipe


def test_every_field_can_be_overridden_and_changes_the_identity():
    """With another value of its own type, written as text; so no field is left out of the identity."""
    other = {
        "model.kind": "regression",
        "model.pooling": "first",
        "model.position": "sincos",
        "model.tokenizer": "byte_level_bpe",
        "model.word_vector_scale": "raw",
        "pretrain.objective": "masked",
        "pretrain.ema_decay": "0.5",
        "pretrain.mask_rate": "0.2",
        "pretrain.mask_unit": "span",
        "pretrain.held_out": "0.2",
        "data.tasks": "tone=reviews.csv",
        "data.truncation": "windows",
        "data.bucket_lengths": "16,32",
        "train.monitor": "loss",
        "train.ema_decay": "0.5",
        "train.length_curriculum": "64:0.5",
        "train.product_dtype": "bfloat16",
        "export.formats": "tflite",
        "export.precisions": "int8",
    }
    # What has a meaning beside another field only.
    beside = {"model.word_vectors": "model.init=scratch"}
    seen = {Recipe().identity()}
    for key in Recipe.keys():
        base = Recipe().override(*([beside[key]] if key in beside else []))
        value = base
        for part in key.split("."):
            value = getattr(value, part)
        if key in other:
            text = other[key]
        elif isinstance(value, bool):
            text = str(not value).lower()
        elif isinstance(value, float):
            text = repr(value / 2 if value else 0.25)
        elif isinstance(value, int):
            text = str(value * 2 if value else 7)
        elif value is None:
            text = "50"
        else:
            text = "other"
        changed = base.override(f"{key}={text}")
        assert changed != base, key
        assert list(base.differences(changed)) == [key]
        seen.add(changed.identity())
    assert len(seen) == 1 + len(Recipe.keys())


def test_overrides_take_the_types_of_the_fields():
    recipe = Recipe().override(
        "optimizer.learning_rate=5e-5",
        "optimizer.clip_norm=none",
        "train.epochs=4",
        "data.bucket_lengths=[64, 128]",
        "judge.baseline=no",
        "export.formats=",
        "seed=9",
    )
    assert recipe.optimizer.learning_rate == 5e-5
    assert recipe.optimizer.clip_norm is None
    assert recipe.train.epochs == 4
    assert recipe.data.bucket_lengths == (64, 128)
    assert recipe.judge.baseline is False
    assert recipe.export.formats == ()
    assert recipe.seed == 9
    assert Recipe().train.epochs == 2, "the original is not changed"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.epoch=2", "Did you mean train.epochs?"),
        ("data.epochs=2", "Did you mean train.epochs or pretrain.epochs?"),
        ("train.batch_size=64", "Did you mean train.tokens_per_batch?"),
        ("trian.epochs=3", "Did you mean train.epochs or pretrain.epochs?"),
        ("optimizer.nothing=3", "Known are: optimizer.learning_rate"),
        ("train.epochs=two", "train.epochs must be of type int. Received: 'two'"),
        ("train.epochs=0", "train.epochs must be at least 1. Received: 0"),
        ("train.epochs", "section.field=value"),
        ("train=3", "no recipe field 'train'"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate must lie in"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate must lie in"),
        ("train.accumulation_steps=0", "train.accumulation_steps must be at least 1. Received: 0"),
        ("train.ema_decay=1", "train.ema_decay must lie in"),
        ("train.frozen_layers=-1", "train.frozen_layers must be at least 0. Received: -1"),
        ("train.lora_rank=0", "train.lora_rank must be at least 1. Received: 0"),
        ("train.length_curriculum=64", "such as 128:0.5. Received: '64'"),
        ("train.length_curriculum=64:half", "such as 128:0.5. Received: '64:half'"),
        ("train.length_curriculum=2:0.5", "lengths that ascend from 3"),
        ("train.length_curriculum=64:0.5,64:0.6", "lengths that ascend from 3"),
        ("train.length_curriculum=64:0.5,128:0.5", "shares that ascend between 0 and 1"),
        ("train.length_curriculum=64:1", "shares that ascend between 0 and 1"),
        ("train.length_curriculum=64:nan", "shares that ascend between 0 and 1"),
        ("train.length_curriculum=512:0.5", "below data.max_length. Received: 512, max_length=512"),
        ("model.dropout=1", "model.dropout must lie in"),
        ("model.kind=binary", "model.kind must be one of single_label"),
        ("model.num_heads=3", "model.hidden_dim must be a multiple"),
        ("data.bucket_lengths=128,64", "strictly increasing"),
        ("judge.baseline=maybe", "must be true or false"),
        ("export.formats=coreml", "export.formats must be one of"),
        ("export.precisions=int7", "export.precisions must be one of"),
        ("export.precisions=", "export.precisions must name at least one of"),
        ("export.held_out=-1", "export.held_out must be at least 0"),
    ],
)
def test_a_slip_is_named(assignment, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        Recipe().override(assignment)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"epochs": True}}, "train.epochs must be of type int"),
        ({"train": {"epochs": 2.5}}, "train.epochs must be of type int"),
        ({"train": 3}, "train must be a mapping"),
        ({"data": {"bucket_lengths": "64"}}, "data.bucket_lengths must be a list of int"),
        ({"data": {"bucket_lengths": [64, "128"]}}, "data.bucket_lengths must be of type int"),
        ({"modle": {}}, "no recipe field 'modle'"),
    ],
)
def test_wrong_json_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(values)


def test_a_file_may_hold_a_part_of_a_recipe(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"train": {"epochs": 1}, "optimizer": {"weight_decay": 0}}')
    recipe = load_recipe(path)
    assert recipe == Recipe().override("train.epochs=1", "optimizer.weight_decay=0")
    assert isinstance(recipe.optimizer.weight_decay, float), "the identity must not depend on 0 or 0.0"
    assert recipe.identity() == Recipe().override("train.epochs=1", "optimizer.weight_decay=0.0").identity()


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="Did you mean imdb"):
        load_recipe("imbd")
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="not a JSON file"):
        load_recipe(path)
    path.write_text('{"train": {"epochs": 0}}')
    with pytest.raises(ValueError, match=r"broken.json: train.epochs must be at least 1"):
        load_recipe(path)


def test_buckets_end_at_the_longest_text():
    data = Recipe().data
    assert dataclasses.replace(data, max_length=128).buckets() == (32, 64, 96, 128)
    assert dataclasses.replace(data, max_length=100).buckets() == (32, 64, 96, 100)
    assert dataclasses.replace(data, max_length=20).buckets() == (20,)


def test_reading_a_recipe_does_not_load_tensorflow():
    code = "from keras_transformer.training import load_recipe; load_recipe('demo'); import sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "keras"} & set(modules.split())
