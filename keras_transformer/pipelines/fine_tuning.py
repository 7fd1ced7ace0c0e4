"""`fine_tune`: labelled texts in, a trained `TextPipeline` out."""

import os
from collections.abc import Sequence
from typing import Any

import keras

from keras_transformer import data
from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
from keras_transformer.pipelines.text_pipeline import TextPipeline
from keras_transformer.text import TextPacker, WordPieceTokenizer, train_wordpiece


def fine_tune(
    texts: Sequence[str],
    labels: Sequence[Any],
    *,
    init: str | os.PathLike = "minilm",
    kind: str | None = None,
    class_names: Sequence[str] | None = None,
    validation_fraction: float = 0.1,
    pooling: str = "mean",
    max_length: int | None = None,
    truncation: str = "head",
    config: EncoderConfig | None = None,
    seed: int = 0,
    **fit_options: Any,
) -> TextPipeline:
    """Fine-tunes a pretrained encoder, or trains a new one, on labelled texts.

    Args:
        texts: The texts.
        labels: Names or numbers of classes; lists of names for many labels at once; floats for regression.
        init: "minilm" (default), a folder of pretrained weights, "hf:OWNER/NAME", or "scratch".
        kind: "single_label", "multi_label" or "regression"; None finds out from the labels.
        class_names: The classes in order; None takes those that occur, sorted.
        validation_fraction: Share of the texts, in [0, 1), that chooses the best epoch. Default 0.1.
        pooling: "mean" or "first".
        max_length: Longest input in tokens; None means as many as the model has positions.
        truncation: "head", "head_tail" or "windows".
        config: Sizes of the encoder for `init="scratch"`; its vocabulary is learned from the texts and has at most
            `config.vocabulary_size` tokens.
        seed: Seed of the split, the new weights and the order of the examples.
        **fit_options: Arguments of `TextPipeline.fit`: epochs, learning_rate, packing (several short texts in a row),
            class_weights, ...

    Returns:
        The trained pipeline.

    Raises:
        ValueError: For labels that do not fit, or only one class.

    Example:
        ```python
        import keras_transformer
        from keras_transformer.layers import AttentionConfig, FeedForwardConfig
        from keras_transformer.models import EncoderConfig

        config = EncoderConfig(
            vocabulary_size=100, hidden_dim=32, num_layers=1, max_length=16,
            attention=AttentionConfig(num_heads=2), feed_forward=FeedForwardConfig(intermediate_dim=64),
        )
        pipeline = keras_transformer.fine_tune(
            ["a good film", "a bad film"] * 20, ["yes", "no"] * 20,
            init="scratch", config=config, epochs=10, learning_rate=5e-3, verbose=0,
        )
        assert pipeline.predict(["good", "bad"])[0]["label"] == "yes"
        ```
    """
    if config is not None and init != "scratch":
        raise ValueError(f"config is for init='scratch'; pretrained weights bring their own. Received: init={init!r}")
    splits = data.from_arrays(
        texts, labels, kind=kind, class_names=class_names, validation_fraction=validation_fraction, seed=seed
    )
    keras.utils.set_random_seed(seed)
    options = {"kind": splits.kind, "pooling": pooling}
    if init == "scratch":
        pipeline = from_scratch(
            splits.train.texts,
            splits.class_names,
            config or EncoderConfig(vocabulary_size=8192, hidden_dim=128, num_layers=2),
            max_length=max_length,
            truncation=truncation,
            **options,
        )
    else:
        pipeline = TextPipeline.from_pretrained(
            init, splits.class_names, max_length=max_length, truncation=truncation, **options
        )
    return pipeline.fit(splits.train, splits.validation, seed=seed, **fit_options)


def from_scratch(
    texts: Sequence[str],
    class_names: Sequence[str],
    config: EncoderConfig,
    *,
    kind: str = "single_label",
    pooling: str = "mean",
    max_length: int | None = None,
    truncation: str = "head",
    lowercase: bool = True,
) -> TextPipeline:
    """Learns a WordPiece vocabulary from texts and builds an untrained model over it.

    Args:
        texts: What the vocabulary is learned from.
        class_names: Names of the outputs.
        config: Sizes; `vocabulary_size` is the most that is learned, and what was learned replaces it.
        kind: "single_label", "multi_label" or "regression".
        pooling: "mean" or "first".
        max_length: Longest input in tokens; None means `config.max_length`.
        truncation: "head", "head_tail" or "windows".
        lowercase: Whether upper and lower case are one.

    Returns:
        The untrained pipeline.
    """
    vocabulary = train_wordpiece(texts, vocabulary_size=config.vocabulary_size, lowercase=lowercase)
    tokenizer = WordPieceTokenizer(vocabulary, lowercase=lowercase)
    packer = TextPacker(tokenizer, max_length=max_length or config.max_length, truncation=truncation)
    config = EncoderConfig.from_dict(config.to_dict() | {"vocabulary_size": tokenizer.vocabulary_size})
    model = TextClassifier(TransformerEncoder(config), len(class_names), kind=kind, pooling=pooling)
    return TextPipeline(model, packer, class_names)
