"""An untrained pipeline that exports in seconds, with weights large enough to matter, and a run folder of it."""

import json

import numpy as np

WORDS = ["the", "film", "was", "good", "bad", "not", "it", "a", "great", "and", "##ed", "##ly", "story", "actor"]
LETTERS = [*"bcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), *".,!?"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS]
TEXTS = [
    "The film was good!",
    "It was not a good story, and the actors were bad.",
    "café, naïve: 很好 😀",
    "great " * 60,
    "the film was bad. " * 30,
    "a",
]


def make_pipeline(
    kind="single_label", class_names=("negative", "positive"), truncation="head", num_layers=1, **options
):
    """An untrained pipeline of 24 tokens."""
    import keras

    from keras_transformer.layers import AttentionConfig, FeedForwardConfig
    from keras_transformer.models import EncoderConfig, TextClassifier, TransformerEncoder
    from keras_transformer.pipelines import TextPipeline
    from keras_transformer.text import TextPacker, WordPieceTokenizer

    keras.utils.set_random_seed(1)
    config = EncoderConfig(
        vocabulary_size=len(VOCABULARY),
        hidden_dim=16,
        num_layers=num_layers,
        max_length=24,
        attention=AttentionConfig(num_heads=2),
        feed_forward=FeedForwardConfig(intermediate_dim=32),
        initializer_range=0.5,
    )
    encoder = TransformerEncoder(config, dtype=options.pop("dtype", None))
    model = TextClassifier(encoder, num_outputs=len(class_names), kind=kind)
    # The head starts at zero or near it: make the answers differ.
    model.head.kernel.assign(keras.random.normal(model.head.kernel.shape, seed=3))
    packer = TextPacker(WordPieceTokenizer(VOCABULARY), max_length=24, truncation=truncation)
    pipeline = TextPipeline(model, packer, class_names, **options)
    pipeline.check_texts = [*pipeline.check_texts, *TEXTS]
    return pipeline


def write_run(folder, texts):
    """Writes a run folder with a recipe whose data is a table of texts, labelled by what Keras says."""
    pipeline = make_pipeline()
    # Shifted, so that half of the texts are of either class.
    logits = pipeline.logits(texts)
    pipeline.model.head.bias.assign([float(np.median(logits[:, 1] - logits[:, 0])), 0.0])
    pipeline.save(folder / "model")
    labels = [pipeline.class_names[i] for i in pipeline.logits(texts).argmax(axis=1)]
    assert min(labels.count(name) for name in pipeline.class_names) > 3
    lines = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
    (folder / "reviews.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    data = {
        "source": str(folder / "reviews.csv"),
        "text_column": None,
        "label_column": [],
        "label_separator": "|",
        "validation_fraction": 0.2,
        "test_fraction": 0.5,
        "test_examples": None,
    }
    recipe = {"model": {"kind": "single_label"}, "data": data, "seed": 3}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder
