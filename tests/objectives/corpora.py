"""Small corpora with a structure that can be learned, and a plain training loop."""

import keras
import numpy as np
import tensorflow as tf

from keras_transformer.corpus import TokenStore
from keras_transformer.layers import AttentionConfig, FeedForwardConfig
from keras_transformer.models import (
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    TransformerDecoder,
    TransformerEncoder,
    TransformerEncoderDecoder,
)
from keras_transformer.objectives import Specials

PAD, START, END, MASK = 0, 2, 3, 4
FIRST, COUNT = 10, 60  # of the tokens of texts
SENTINELS = tuple(range(89, 69, -1))
VOCABULARY = 90


def specials(**changes) -> Specials:
    """Ids of a vocabulary of 60 tokens of texts, with all that any objective needs."""
    values = {
        "vocabulary_size": VOCABULARY,
        "pad_id": PAD,
        "start_ids": (START,),
        "end_ids": (END,),
        "mask_id": MASK,
        "sentinel_ids": SENTINELS,
    }
    maskable = np.zeros(VOCABULARY, bool)
    maskable[FIRST : FIRST + COUNT] = True
    return Specials(**values | {"maskable": maskable} | changes)


def markov(
    documents: int, seed: int, topics: int = 1, ordered: bool = False, sentences: int = 6, length: int = 7
) -> TokenStore:
    """Documents of Markov chains in which the next token is nearly determined, and all tokens are as frequent.

    Each document is about one of the topics, and has a part of the tokens of its own. In an ordered corpus so has each
    sentence: the first ones of all documents have the same part, and so on.
    """
    random = np.random.default_rng(seed)
    size = COUNT // (topics * (sentences if ordered else 1))
    found = []
    for _ in range(documents):
        topic, token = random.integers(topics), random.integers(size)
        document = []
        for number in range(sentences):
            first = FIRST + size * (topic * sentences + number if ordered else topic)
            sentence = []
            for _ in range(length + random.integers(-2, 3)):
                token = (token + 7) % size if random.random() < 0.9 else random.integers(size)
                sentence.append(first + token)
            document.append(sentence)
        found.append(document)
    return TokenStore.of(found, VOCABULARY)


def sizes(hidden_dim: int, num_layers: int, dropout: float, **changes) -> dict:
    """Arguments that configs have in common."""
    return {
        "vocabulary_size": VOCABULARY,
        "hidden_dim": hidden_dim,
        "num_layers": num_layers,
        "max_length": 64,
        "dropout": dropout,
        "attention": AttentionConfig(num_heads=4, dropout=dropout),
        "feed_forward": FeedForwardConfig(2 * hidden_dim),
        "initializer_range": 0.05,
    } | changes


def backbone(kind: str, hidden_dim: int = 32, num_layers: int = 1, dropout: float = 0.0, **changes) -> keras.Model:
    """A small new model of a kind."""
    keras.utils.set_random_seed(1)
    common = sizes(hidden_dim, num_layers, dropout, **changes)
    if kind == "encoder":
        return TransformerEncoder(EncoderConfig(**common))
    if kind == "decoder":
        return TransformerDecoder(DecoderConfig(residual="pre_norm", **common))
    common["residual"] = "pre_norm"
    return TransformerEncoderDecoder(
        EncoderDecoderConfig(EncoderConfig(num_segments=0, **common), DecoderConfig(cross_attention=True, **common))
    )


def train(objective, model: keras.Model, steps: int, rows: int = 32, learning_rate: float = 3e-3) -> None:
    """Trains by the gradient of the sum of all losses, each as the objective says."""
    outputs = objective.outputs()
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=0.01, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(inputs, labels, weights):
        with tf.GradientTape() as tape:
            predictions = model(inputs, training=True)
            loss = 0.0
            for name, output in outputs.items():
                values = output.loss.call(labels[name], predictions[name]) * weights[name]
                loss += output.share * tf.reduce_sum(values) / (output.expected_weight * rows)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    per_epoch = objective.num_examples // rows
    for number in range(steps):
        epoch, place = divmod(number, per_epoch)
        step(*tensors(objective.batch(epoch, np.arange(rows) + place * rows)))


def held_out(objective, model: keras.Model, rows: int = 64, training: bool = False, counts=None) -> dict[str, float]:
    """The mean of each loss over one batch; `counts` says of labels which of them count."""
    batch = objective.batch(0, np.arange(min(rows, objective.num_examples)))
    inputs, labels, weights = tensors(batch)
    predictions = model(inputs, training=training)
    means = {}
    for name, output in objective.outputs().items():
        weight = weights[name].numpy()
        if counts is not None:
            weight = weight * counts(batch[1][name])
        means[name] = float((output.loss.call(labels[name], predictions[name]).numpy() * weight).sum() / weight.sum())
    return means


def tensors(batch):
    return tf.nest.map_structure(tf.constant, batch)
