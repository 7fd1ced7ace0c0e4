"""From a recipe to what is trained: data, packer, encoded texts, model."""

import dataclasses
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transformer import data, pretrained
from keras_transformer.data.splitting import subset
from keras_transformer.models import (
    HeadConfig,
    MultiTaskClassifier,
    TextClassifier,
    create,
    enable_lora,
    freeze,
    preset,
    resized,
)
from keras_transformer.optimizers.depths import with_blocks
from keras_transformer.text import TextPacker, load_tokenizer, train_vocabulary
from keras_transformer.training.files import TEMPORARY
from keras_transformer.training.pretrain_section import PretrainRecipe
from keras_transformer.training.recipe import Recipe
from keras_transformer.training.sections import TrainRecipe

logger = logging.getLogger(__name__)

_SHAPES = {"encoder": "bert-base", "decoder": "gpt2-small", "encoder_decoder": "t5-small"}
_SENTINELS = 100  # as T5 has


def load_splits(recipe: Recipe, data_dir: str | None = None, download: bool = False) -> data.Splits:
    """Read and split the data of a recipe; the whole training part, however much of it is trained on.

    Args:
        recipe: `Recipe`.
        data_dir: str or None, folder of prepared data (`imdb` and `tfds:` only).
        download: bool, whether TFDS may download. Default False.

    Returns:
        `data.Splits`.

    Raises:
        FileNotFoundError: If the source is not there.
        ValueError: If a column or label is wrong, or a part is empty.
    """
    wanted = recipe.data
    columns = wanted.label_column
    splits = data.load(
        wanted.source,
        data_dir=data_dir,
        download=download,
        text_column=wanted.text_column,
        label_column=None if not columns else columns[0] if len(columns) == 1 else columns,
        label_separator=wanted.label_separator if recipe.model.kind == "multi_label" else None,
        kind=recipe.model.kind,
        keep_markup_fraction=wanted.keep_markup_fraction,
        validation_fraction=wanted.validation_fraction,
        test_fraction=wanted.test_fraction,
        seed=recipe.seed,
    )
    if splits.kind != recipe.model.kind:
        raise ValueError(f"The labels are of another kind than model.kind={recipe.model.kind}. Received: {splits.kind}")
    limits = {"validation": wanted.validation_examples, "test": wanted.test_examples}
    for name, limit in limits.items():
        if not len(getattr(splits, name)):
            raise ValueError(f"The {name} part is empty: there are too few texts. Received: {splits.description}")
        splits = dataclasses.replace(splits, **{name: subset(getattr(splits, name), limit, recipe.seed)})
    if splits.test_raw is not None:
        splits = dataclasses.replace(splits, test_raw=subset(splits.test_raw, wanted.test_examples, recipe.seed))
    return splits


def training_part(recipe: Recipe, splits: data.Splits) -> data.Examples:
    """Return the texts that are trained on: all of the training part, or a seeded, stratified part of it."""
    return subset(splits.train, recipe.data.train_examples, recipe.seed)


def make_packer(recipe: Recipe, texts: Iterable[str], folder: Path) -> TextPacker:
    """Make the packer of the pretrained weights, or learn a vocabulary for a model from scratch.

    Args:
        recipe: `Recipe`.
        texts: what a vocabulary is learned from, read once.
        folder: `pathlib.Path` where a learned vocabulary is kept, so that it is learned once.

    Returns:
        `TextPacker`.
    """
    options = {
        "max_length": recipe.data.max_length,
        "truncation": recipe.data.truncation,
        "head_fraction": recipe.data.head_fraction,
        "stride": recipe.data.stride,
    }
    wanted = recipe.model
    if wanted.init != "scratch":
        return pretrained.load_packer(pretrained.resolve(wanted.init), **options)
    if not folder.is_dir():
        logger.info("learning a vocabulary of %d tokens (%s)", wanted.vocabulary_size, wanted.tokenizer)
        temporary = folder.with_name(f"{TEMPORARY}{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        temporary.parent.mkdir(parents=True, exist_ok=True)
        train_vocabulary(wanted.tokenizer, texts, wanted.vocabulary_size, temporary, **_of_vocabulary(recipe))
        temporary.replace(folder)
    return TextPacker(load_tokenizer(folder), **options)


def _of_vocabulary(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of the trainer: which special tokens the model will need."""
    kind, objective = recipe.model.tokenizer, recipe.pretrain.objective
    sentinels = [f"<extra_id_{i}>" for i in range(_SENTINELS)] if objective == "span_corruption" else []
    if kind == "wordpiece":
        return {"lowercase": recipe.data.lowercase, "reserved_tokens": sentinels}
    if kind == "byte_level_bpe":
        style = "gpt2" if recipe.pretrain.model_kind == "decoder" else "roberta"
        return {"style": style, "reserved_tokens": sentinels}
    if recipe.pretrain.model_kind == "encoder" or objective == "denoising":
        return {"style": "albert", "lowercase": recipe.data.lowercase}
    return {"style": "t5", "extra_ids": _SENTINELS if sentinels else 0}


def make_backbone(recipe: Recipe, packer: TextPacker, kind: str = "encoder") -> Any:
    """Build an encoder, a decoder or both, from pretrained weights or new; call it under the strategy's scope.

    New encoders are built as BERT, decoders as GPT-2, and encoder-decoders as T5 (version 1.1).

    Args:
        recipe: `Recipe`.
        packer: `TextPacker` that feeds it.
        kind: str, `"encoder"` (default), `"decoder"` or `"encoder_decoder"`.

    Returns:
        `TransformerEncoder`, `TransformerDecoder` or `TransformerEncoderDecoder`.

    Raises:
        ValueError: If weights, vocabulary and length do not fit each other.
    """
    wanted = recipe.model
    dropout = {"dropout": wanted.dropout, "attention_dropout": wanted.attention_dropout}
    if wanted.init != "scratch":
        folder = pretrained.resolve(wanted.init)
        if kind == "encoder":
            return pretrained.load_encoder(folder, pooler=False if wanted.pooling == "mean" else None, **dropout)
        load = {"decoder": pretrained.load_decoder, "encoder_decoder": pretrained.load_encoder_decoder}[kind]
        return load(folder, **dropout)
    config = preset(_SHAPES[kind], **{"pooler": False} if kind == "encoder" else {})
    sizes = {
        "vocabulary_size": packer.tokenizer.vocabulary_size,
        "max_length": max(recipe.data.max_length, recipe.pretrain.row_length if recipe.pretrain.wanted else 0),
        "dropout": wanted.dropout,
        "attention_dropout": wanted.attention_dropout,
        "head_dim": None,
        **{name: getattr(wanted, name) for name in ("hidden_dim", "num_layers", "num_heads", "intermediate_dim")},
    }
    if kind == "encoder":
        sizes |= {"position": wanted.position, "residual": "pre_norm" if wanted.norm_first else "post_norm"}
    return create(resized(config, sizes))


def make_model(recipe: Recipe, packer: TextPacker, num_outputs: int) -> TextClassifier:
    """Build the classifier, its encoder from pretrained weights or new; call it under the strategy's scope.

    Args:
        recipe: `Recipe`.
        packer: `TextPacker` that feeds it.
        num_outputs: int, classes, labels or regressed values.

    Returns:
        `TextClassifier`.

    Raises:
        ValueError: If weights, vocabulary and length do not fit each other, or there are fewer layers than are frozen.
    """
    wanted = recipe.model
    encoder = make_backbone(recipe, packer)
    model = TextClassifier(
        encoder,
        num_outputs=num_outputs,
        kind=wanted.kind,
        pooling=wanted.pooling,
        dropout=wanted.head_dropout,
        trim_last_block=wanted.trim_last_block,
    )
    adapt(model, recipe.train, "train")
    return model


def make_joint_model(recipe: Recipe, packer: TextPacker, heads: Mapping[str, HeadConfig]) -> MultiTaskClassifier:
    """Build a model of many tasks, its encoder from pretrained weights or new; call it under the strategy's scope.

    Args:
        recipe: `Recipe`.
        packer: `TextPacker` that feeds it.
        heads: mapping from the name of each task to its head.

    Returns:
        `MultiTaskClassifier`.

    Raises:
        ValueError: As `make_model`.
    """
    model = MultiTaskClassifier(make_backbone(recipe, packer), heads, recipe.model.head_dropout)
    adapt(model, recipe.train, "train")
    return model


def adapt(model: Any, wanted: TrainRecipe | PretrainRecipe, section: str) -> None:
    """Freeze layers of a new model, and put adapters in, if a section of the recipe says so.

    Args:
        model: built `keras.Model` with an encoder or a decoder.
        wanted: `TrainRecipe` or `PretrainRecipe`.
        section: str, its name in the recipe.

    Raises:
        ValueError: If there are fewer layers than are frozen, or the rank is not below the width.
    """
    config = with_blocks(model).config
    for name, most in {"frozen_layers": config.num_layers, "lora_rank": config.hidden_dim - 1}.items():
        if (getattr(wanted, name) or 0) > most:
            raise ValueError(
                f"{section}.{name} must be at most {most} with these weights. Received: {getattr(wanted, name)}"
            )
    if wanted.frozen_layers is not None:
        freeze(model, wanted.frozen_layers)
    if wanted.lora_rank is not None:
        enable_lora(model, wanted.lora_rank)


def make_plan(recipe: Recipe, rows: data.TokenRows) -> data.BatchPlan | data.PackedPlan:
    """Return which encoded texts make which batch."""
    options = {"tokens_per_batch": recipe.train.tokens_per_batch, "seed": recipe.seed}
    if recipe.data.packing:
        return data.PackedPlan(rows.lengths, recipe.data.max_length, **options)
    return data.BatchPlan(rows.lengths, recipe.data.buckets(), **options)


def make_curriculum(
    recipe: Recipe, packer: TextPacker, rows: data.TokenRows, plan: data.BatchPlan
) -> data.Curriculum | None:
    """Return the stages in which the texts are cut, or None if they are whole from the first step on.

    Args:
        recipe: `Recipe`.
        packer: `TextPacker` that made the rows.
        rows: `data.TokenRows` of the training.
        plan: `data.BatchPlan` over them.
    """
    stages = recipe.train.length_stages()
    if not stages:
        return None
    head_fraction = recipe.data.head_fraction if recipe.data.truncation == "head_tail" else 1.0
    frame = (len(packer.frame.before), len(packer.frame.after))
    return data.Curriculum(rows, plan, stages, recipe.train.epochs, head_fraction, frame)


def weigh(recipe: Recipe, examples: data.Examples) -> np.ndarray:
    """Return the weight of every text, that of its class: float32 of shape (texts,), of mean one.

    Raises:
        ValueError: If `train.class_weights` cannot be read or names an unknown class.
    """
    return data.example_weights(
        examples.labels,
        _class_weights(recipe.train.class_weights, examples.class_names),
        num_classes=len(examples.class_names),
    )


def _class_weights(text: str, class_names: tuple[str, ...]) -> Any:
    if text in ("none", "balanced"):
        return None if text == "none" else text
    weights = {}
    for part in text.split(","):
        name, separator, value = part.rpartition("=")
        if not separator or name.strip() not in class_names:
            raise ValueError(
                "train.class_weights must be none, balanced, or name=weight,name=weight of the classes "
                f"{', '.join(class_names)}. Received: {text!r}"
            )
        try:
            weights[class_names.index(name.strip())] = float(value)
        except ValueError as error:
            raise ValueError(f"A class weight must be a number. Received: {part!r}") from error
    return weights
