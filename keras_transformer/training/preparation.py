"""From a recipe to what is trained: data, packer, encoded texts, model."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np

from keras_transformer import data, pretrained
from keras_transformer.data.splitting import subset
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder, enable_lora, freeze
from keras_transformer.text import (
    TextPacker,
    WordPieceTokenizer,
    load_vocabulary,
    save_vocabulary,
    train_wordpiece,
)
from keras_transformer.training.files import TEMPORARY
from keras_transformer.training.recipe import Recipe

logger = logging.getLogger(__name__)


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


def make_packer(recipe: Recipe, texts: list[str], vocabulary_path: Path) -> TextPacker:
    """Make the packer of the pretrained weights, or learn a vocabulary for a model from scratch.

    Args:
        recipe: `Recipe`.
        texts: list of str that a vocabulary is learned from.
        vocabulary_path: `pathlib.Path` where a learned vocabulary is kept, so that it is learned once.

    Returns:
        `TextPacker`.
    """
    options = {
        "max_length": recipe.data.max_length,
        "truncation": recipe.data.truncation,
        "head_fraction": recipe.data.head_fraction,
        "stride": recipe.data.stride,
    }
    if recipe.model.init != "scratch":
        return pretrained.load_packer(pretrained.resolve(recipe.model.init), **options)
    if not vocabulary_path.is_file():
        logger.info("learning a vocabulary of %d word pieces", recipe.model.vocabulary_size)
        vocabulary = train_wordpiece(
            texts, vocabulary_size=recipe.model.vocabulary_size, lowercase=recipe.data.lowercase
        )
        vocabulary_path.parent.mkdir(parents=True, exist_ok=True)
        temporary = vocabulary_path.with_name(f"{TEMPORARY}{vocabulary_path.name}")
        save_vocabulary(vocabulary, temporary)
        temporary.replace(vocabulary_path)
    tokenizer = WordPieceTokenizer(load_vocabulary(vocabulary_path), lowercase=recipe.data.lowercase)
    return TextPacker(tokenizer, **options)


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
    if wanted.init == "scratch":
        encoder = TransformerEncoder(
            EncoderConfig(
                vocabulary_size=packer.tokenizer.vocabulary_size,
                hidden_dim=wanted.hidden_dim,
                num_layers=wanted.num_layers,
                max_length=recipe.data.max_length,
                position=wanted.position,
                residual="pre_norm" if wanted.norm_first else "post_norm",
                dropout=wanted.dropout,
                attention=AttentionConfig(num_heads=wanted.num_heads, dropout=wanted.attention_dropout),
                feed_forward=FeedForwardConfig(intermediate_dim=wanted.intermediate_dim),
            )
        )
    else:
        encoder = pretrained.load_encoder(
            pretrained.resolve(wanted.init),
            dropout=wanted.dropout,
            attention_dropout=wanted.attention_dropout,
            pooler=False if wanted.pooling == "mean" else None,
        )
    model = TextClassifier(
        encoder,
        num_outputs=num_outputs,
        kind=wanted.kind,
        pooling=wanted.pooling,
        dropout=wanted.head_dropout,
        trim_last_block=wanted.trim_last_block,
    )
    limits = {"frozen_layers": encoder.config.num_layers, "lora_rank": encoder.config.hidden_dim - 1}
    for name, most in limits.items():
        if (getattr(recipe.train, name) or 0) > most:
            raise ValueError(
                f"train.{name} must be at most {most} with these weights. Received: {getattr(recipe.train, name)}"
            )
    if recipe.train.frozen_layers is not None:
        freeze(model, recipe.train.frozen_layers)
    if recipe.train.lora_rank is not None:
        enable_lora(model, recipe.train.lora_rank)
    return model


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
