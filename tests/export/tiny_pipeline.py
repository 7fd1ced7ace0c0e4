"""An untrained pipeline that exports in seconds, with weights large enough to matter."""

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
