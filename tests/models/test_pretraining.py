"""Models for pretraining against NumPy in float64, keras-hub, and the same model by another way."""

import keras
import keras_hub
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from keras_transformer import losses, models
from keras_transformer.models import pretraining_contrastive, pretraining_replaced
from tests.cases.pretraining import masked_inputs, replaced_inputs, several_texts
from tests.helpers import (
    HIDDEN,
    VOCABULARY,
    decoder_inputs,
    floats,
    text_inputs,
    tiny_config,
    tiny_decoder_config,
    tiny_encoder,
    tiny_encoder_decoder_config,
)

SCHEMES = models.config.SCHEMES
LENGTH = 12


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def randomise(model, seed=0):
    """Gives every weight a value that matters: biases and norms, too."""
    random = np.random.default_rng(seed)
    for weight in model.trainable_variables:
        weight.assign(("gamma" in weight.path) + 0.2 * random.normal(size=weight.shape))
    return model


def layer_norm(x, norm):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.epsilon) * numpy(norm.gamma) + numpy(norm.beta)


def gelu(x):
    return x * scipy.special.ndtr(x)


def head_in_numpy(model, states):
    """The logits of a head for masked tokens, float64."""
    head = model.masked_head
    x = gelu(states.astype("float64") @ numpy(head.transform.kernel) + numpy(head.transform.bias))
    return layer_norm(x, head.transform_norm) @ numpy(head.tokens.table).astype("float64").T + numpy(head.bias)


def at_places(sequence, places):
    return np.stack([row[at] for row, at in zip(sequence, places, strict=True)])


@pytest.mark.parametrize("changes", [{}, {"embedding_dim": 8}, {"residual": "pre_norm", "position": "rotary"}])
def test_masked_logits_are_those_of_all_tokens_at_the_masked_places(changes):
    model = randomise(models.MaskedLanguageModel(tiny_encoder(**changes), packed=False))
    inputs = masked_inputs()
    sequence = numpy(model.backbone({name: inputs[name] for name in text_inputs()})["sequence_output"])
    expected = head_in_numpy(model, at_places(sequence, inputs["masked_positions"]))
    np.testing.assert_allclose(numpy(model(inputs)["masked"]), expected, atol=2e-5)
    assert expected.std() > 0.3


def test_the_head_is_that_of_keras_hub():
    model = randomise(models.MaskedLanguageModel(tiny_encoder(), packed=False))
    head = model.masked_head
    embedding = keras_hub.layers.ReversibleEmbedding(VOCABULARY, HIDDEN)
    embedding.build()
    embedding.embeddings.assign(head.tokens.table)
    theirs = keras_hub.layers.MaskedLMHead(
        token_embedding=embedding,
        intermediate_activation=lambda x: keras.activations.gelu(x, approximate=False),
        layer_norm_epsilon=head.transform_norm.epsilon,
    )
    states, places = floats(3, LENGTH, HIDDEN), np.array([[1, 4], [0, 3], [11, 2]])
    theirs(states, places)
    values = {
        "intermediate_dense/kernel": head.transform.kernel,
        "intermediate_dense/bias": head.transform.bias,
        "intermediate_layer_norm/gamma": head.transform_norm.gamma,
        "intermediate_layer_norm/beta": head.transform_norm.beta,
        "output_bias": head.bias,
    }
    for ending, value in values.items():
        (weight,) = (w for w in theirs.weights if w.path.endswith(ending))
        weight.assign(value)
    np.testing.assert_allclose(numpy(head(at_places(states, places))), numpy(theirs(states, places)), atol=1e-5)


def test_the_last_block_and_the_vocabulary_are_computed_for_masked_tokens_only():
    """Counted in the graph of a training step: no product of the head or of the last feed-forward is larger."""
    model = models.MaskedLanguageModel(tiny_encoder(), packed=False)
    inputs = masked_inputs()
    specs = {name: tf.TensorSpec(value.shape, "int32") for name, value in inputs.items()}
    graph = tf.function(lambda inputs: model(inputs, training=True)).get_concrete_function(specs).graph
    products = [op.outputs[0].shape for op in graph.get_operations() if op.type == "MatMul"]
    inner = tiny_config().feed_forward.intermediate_dim
    assert sorted(shape[0] for shape in products if shape[1] == inner) == [3 * 2, 3 * 6]
    assert [shape[0] for shape in products if shape[1] == VOCABULARY] == [3 * 2]


def packed_and_alone(seed=0):
    """A row of three texts, and the texts in rows of their own: token ids, and where each stands."""
    random = np.random.default_rng(seed)
    lengths, starts = [5, 4, 3], [0, 5, 9]
    texts = [random.integers(1, VOCABULARY, n).astype("int32") for n in lengths]
    row = {
        "token_ids": np.concatenate(texts)[None],
        "padding_mask": np.ones((1, LENGTH), "int32"),
        "position_ids": np.concatenate([np.arange(n) for n in lengths])[None].astype("int32"),
        "example_ids": np.repeat([1, 2, 3], lengths)[None].astype("int32"),
    }
    alone = np.zeros((3, LENGTH), "int32")
    for number, text in enumerate(texts):
        alone[number, : len(text)] = text
    mask = (np.arange(LENGTH) < np.array(lengths)[:, None]).astype("int32")
    return row, {"token_ids": alone, "padding_mask": mask}, lengths, starts


@pytest.mark.parametrize("position", SCHEMES)
def test_masked_tokens_of_packed_texts_have_the_logits_of_texts_alone(position):
    row, alone, lengths, starts = packed_and_alone()
    model = randomise(models.MaskedLanguageModel(tiny_encoder(position=position)))
    single = models.MaskedLanguageModel(model.backbone, packed=False)
    single.set_weights(model.get_weights())
    row |= {"segment_ids": row["token_ids"] * 0, "masked_positions": np.array([[1, 4, 6, 8, 9, 11]], "int32")}
    alone |= {
        "segment_ids": alone["token_ids"] * 0,
        "masked_positions": np.array([[1, 4], [6 - starts[1], 8 - starts[1]], [0, 2]], "int32"),
    }
    expected = numpy(single(alone)["masked"]).reshape(1, 6, VOCABULARY)
    np.testing.assert_allclose(numpy(model(row)["masked"]), expected, atol=3e-5)
    assert lengths == [5, 4, 3]


@pytest.mark.parametrize("position", SCHEMES)
def test_next_tokens_of_packed_texts_have_the_logits_of_texts_alone(position):
    row, alone, lengths, starts = packed_and_alone()
    decoder = models.TransformerDecoder(tiny_decoder_config(position=position, residual="pre_norm"))
    randomise(decoder)
    packed = numpy(models.NextTokenModel(decoder)(row)["next_token"])[0]
    single = numpy(models.NextTokenModel(decoder, packed=False)(alone)["next_token"])
    for number, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        np.testing.assert_allclose(packed[start : start + length], single[number, :length], atol=3e-5)
    np.testing.assert_allclose(single, numpy(decoder(alone)["logits"]), atol=1e-6)


@pytest.mark.parametrize("position", SCHEMES)
def test_a_prefix_is_seen_whole_and_what_follows_is_not(position):
    decoder = models.TransformerDecoder(tiny_decoder_config(position=position))
    model = randomise(models.NextTokenModel(decoder, packed=False, prefix=True))
    ids = np.random.default_rng(0).integers(1, VOCABULARY, (1, LENGTH)).astype("int32")
    rows = {"padding_mask": np.ones_like(ids), "prefix_mask": (np.arange(LENGTH) < 5).astype("int32")[None]}

    def logits(place=None):
        other = ids.copy()
        if place is not None:
            other[0, place] = 1 + ids[0, place] % (VOCABULARY - 1)
        return numpy(model(rows | {"token_ids": other})["next_token"])[0]

    before = logits()
    for place in (4, 7):
        changed = np.abs(logits(place) - before).max(axis=1) > 1e-4
        assert changed.tolist() == [place == 4] * 5 + [place <= i for i in range(5, LENGTH)]
    causal = models.NextTokenModel(decoder, packed=False)
    none = {"token_ids": ids, "padding_mask": rows["padding_mask"]}
    expected = numpy(causal(none)["next_token"])
    got = model(none | {"prefix_mask": np.zeros_like(ids)})["next_token"]
    np.testing.assert_allclose(numpy(got), expected, atol=1e-5)


def test_a_prefix_ends_with_its_text():
    """In rows of several texts a token sees the prefix as far as it is of its own text."""
    row, _, _, starts = packed_and_alone()
    decoder = models.TransformerDecoder(tiny_decoder_config())
    model = randomise(models.NextTokenModel(decoder, prefix=True))
    row |= {"prefix_mask": (np.arange(LENGTH) < 7).astype("int32")[None]}
    before = numpy(model(row)["next_token"])[0]
    row["token_ids"] = row["token_ids"].copy()
    row["token_ids"][0, 6] = 1 + row["token_ids"][0, 6] % (VOCABULARY - 1)
    changed = np.abs(numpy(model(row)["next_token"])[0] - before).max(axis=1) > 1e-4
    assert changed.tolist() == [starts[1] <= i < starts[2] for i in range(LENGTH)]


@pytest.mark.parametrize("pooler", [True, False])
def test_segments_are_related_by_the_first_token(pooler):
    encoder = tiny_encoder(pooler=pooler)
    model = randomise(models.SentencePairModel(encoder))
    assert (model.pooler is encoder.pooler) is pooler
    inputs = masked_inputs()
    sequence = numpy(encoder({name: inputs[name] for name in text_inputs()})["sequence_output"]).astype("float64")
    pooled = np.tanh(sequence[:, 0] @ numpy(model.pooler.kernel) + numpy(model.pooler.bias))
    expected = pooled @ numpy(model.sentence_head.kernel) + numpy(model.sentence_head.bias)
    outputs = model(inputs)
    np.testing.assert_allclose(numpy(outputs["sentence"]), expected, atol=1e-5)
    masked = head_in_numpy(model, at_places(sequence, inputs["masked_positions"]))
    np.testing.assert_allclose(numpy(outputs["masked"]), masked, atol=2e-5)


def test_both_losses_of_electra_equal_numpy():
    model = randomise(models.ReplacedTokenModel(tiny_encoder(), generator_fraction=0.5, seed=1))
    inputs = replaced_inputs()
    outputs = {name: numpy(value) for name, value in model(inputs).items()}

    # The generator: the narrow encoder's states, and the head, at the masked places.
    texts = {name: inputs[name] for name in text_inputs()}
    embedded = model.generator.embed(inputs["token_ids"], inputs["segment_ids"], inputs["position_ids"])
    places = {name: inputs[name] for name in several_texts()}
    states = numpy(model.generator.encode(embedded, inputs["padding_mask"], **places))
    logits = head_in_numpy(model, at_places(states, inputs["masked_positions"]))
    np.testing.assert_allclose(outputs["masked"], logits, atol=2e-5)

    # What is drawn: the largest of logits and noise, by a loop over the masked tokens.
    steps = numpy(keras.random.randint(logits.shape, 0, 1 << 23, seed=0)).astype("float64")
    noise = -np.log(-np.log((steps + 0.5) / (1 << 23)))
    filled = inputs["original_ids"].copy()
    for row in range(3):
        for slot, place in enumerate(np.flatnonzero(inputs["token_ids"][row] != inputs["original_ids"][row])):
            assert inputs["masked_positions"][row, slot] == place
            filled[row, place] = (logits[row, slot] + noise[row, slot]).argmax()
    replaced = filled != inputs["original_ids"]
    assert replaced.sum() >= 3

    # The discriminator: its real logit, and the usual loss with the real label.
    embedded = model.backbone.embed(filled, texts["segment_ids"], inputs["position_ids"])
    states = numpy(model.backbone.encode(embedded, texts["padding_mask"], **places)).astype("float64")
    hidden = gelu(states @ numpy(model.replaced_transform.kernel) + numpy(model.replaced_transform.bias))
    logit = (hidden @ numpy(model.replaced_head.kernel) + numpy(model.replaced_head.bias))[..., 0]
    np.testing.assert_allclose(outputs["replaced"], np.where(replaced, -logit, logit), atol=2e-5)
    exact = np.where(replaced, np.log1p(np.exp(-logit)), np.log1p(np.exp(logit)))
    ours = losses.BinaryLoss(reduction=None)(np.zeros(replaced.shape), outputs["replaced"])
    np.testing.assert_allclose(numpy(ours), exact, atol=2e-5)
    # Right where the sign is negative.
    np.testing.assert_array_equal(outputs["replaced"] < 0, (logit > 0) == replaced)


def test_tokens_are_drawn_with_the_probabilities_of_the_generator():
    filling = pretraining_replaced._Filling(seed=2)
    logits = np.array([2.0, 0.5, -1.0, 0.0, -30.0], "float32")
    rows, count = 400, 25
    masked = np.full((rows, count), 9, "int32")
    original = np.full((rows, count), 1, "int32")
    filled, signs = filling(np.broadcast_to(logits, (rows, count, 5)), masked, original, training=True)
    counts = np.bincount(numpy(filled).ravel(), minlength=5)
    expected = scipy.special.softmax(logits.astype("float64")) * rows * count
    assert counts[4] == 0
    assert ((counts - expected)[:4] ** 2 / expected[:4]).sum() < 3 + 5 * np.sqrt(6)
    np.testing.assert_array_equal(numpy(signs), np.where(numpy(filled) == 1, 1, -1))
    again, _ = filling(np.broadcast_to(logits, (rows, count, 5)), masked, original, training=True)
    assert (numpy(again) != numpy(filled)).mean() > 0.3
    calm = [numpy(filling(np.broadcast_to(logits, (2, 3, 5)), masked[:2, :3], original[:2, :3])[0]) for _ in range(2)]
    np.testing.assert_array_equal(*calm)


def test_only_masked_tokens_are_filled_each_with_its_own_draw():
    filling = pretraining_replaced._Filling(seed=2)
    logits = np.full((2, 3, 20), -1e9, "float32")
    for row, slot, token in ((0, 0, 11), (0, 1, 12), (0, 2, 13), (1, 0, 14)):
        logits[row, slot, token] = 0
    original = np.array([[5, 6, 7, 8, 9], [5, 6, 14, 8, 9]], "int32")
    token_ids = np.array([[5, 4, 4, 8, 4], [5, 6, 4, 8, 9]], "int32")
    filled, signs = filling(logits, token_ids, original)
    assert numpy(filled).tolist() == [[5, 11, 12, 8, 13], [5, 6, 14, 8, 9]]
    assert numpy(signs).tolist() == [[1, -1, -1, 1, -1], [1, 1, 1, 1, 1]]  # a draw that is right is no replacement


def test_generator_and_discriminator_share_the_token_table_also_after_loading(tmp_path):
    model = models.ReplacedTokenModel(tiny_encoder(), generator_fraction=0.5)
    model.save(tmp_path / "model.keras")
    for found in (model, keras.saving.load_model(tmp_path / "model.keras")):
        table = found.backbone.embeddings.tokens.table
        assert found.generator.embeddings.tokens.table is table
        assert found.masked_head.tokens.table is table
        assert sum(weight is table for weight in found.trainable_variables) == 1
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(replaced_inputs())["replaced"])
    own = [w for w in model.generator.trainable_variables if w is not model.backbone.embeddings.tokens.table]
    assert all(gradient is None for gradient in tape.gradient(loss, [w.value for w in own]))  # none through the draw


@pytest.mark.parametrize(
    ("fraction", "hidden_dim", "heads", "inner", "table"),
    [(0.25, 64, 1, 256, 256), (1 / 3, 64, 1, 341, 256), (0.5, 128, 2, 512, 256), (1.0, 256, 4, 1024, None)],
)
def test_a_generator_has_fewer_heads_of_the_same_width(fraction, hidden_dim, heads, inner, table):
    config = models.preset("electra-small", embedding_dim=None, pooler=True)
    found = pretraining_replaced.generator_config(config, fraction)
    assert (found.hidden_dim, found.attention.num_heads, found.feed_forward.intermediate_dim) == (
        hidden_dim,
        heads,
        inner,
    )
    assert (found.embedding_dim, found.num_layers, found.pooler) == (table, config.num_layers, False)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_contrastive_logits_equal_numpy(temperature):
    vectors = floats(10, 7)
    found = numpy(pretraining_contrastive._Similarity(temperature)(vectors))
    x = vectors.astype("float64")
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.stack([[x[i] @ x[5 + (i + j) % 5] / temperature for j in range(5)] for i in range(5)])
    np.testing.assert_allclose(found, expected, atol=1e-5 / temperature)
    gradient = keras.ops.zeros((2, 3))
    assert np.isfinite(numpy(pretraining_contrastive._Similarity(temperature)(gradient))).all()


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("projection", [True, False])
def test_contrastive_vectors_are_those_of_the_encoder(pooling, projection):
    model = randomise(models.ContrastiveModel(tiny_encoder(), pooling, 0.1, projection))
    inputs = text_inputs()
    sequence = numpy(model.backbone(inputs)["sequence_output"]).astype("float64")
    mask = inputs["padding_mask"][..., None]
    x = sequence[:, 0] if pooling == "first" else (sequence * mask).sum(1) / mask.sum(1)
    if projection:
        x = np.tanh(x @ numpy(model.projection_layer.kernel) + numpy(model.projection_layer.bias))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    scores = x @ x.T / 0.1
    expected = np.stack([np.roll(scores[i], -i) for i in range(3)])
    np.testing.assert_allclose(numpy(model(inputs)["pair"]), expected, atol=1e-4)


def test_dropout_makes_the_two_vectors_of_a_text_differ():
    model = models.ContrastiveModel(tiny_encoder(dropout=0.2), temperature=1.0)
    inputs = text_inputs()
    assert numpy(model(inputs, training=False)["pair"])[:, 0] == pytest.approx(1, abs=1e-5)
    first, second = (numpy(model(inputs, training=True)["pair"]) for _ in range(2))
    assert first[:, 0].max() < 0.999
    assert (first != second).all()


def test_an_encoder_decoder_predicts_as_its_backbone():
    from tests.helpers import encoder_decoder_inputs

    backbone = models.TransformerEncoderDecoder(tiny_encoder_decoder_config())
    inputs = encoder_decoder_inputs()
    found = models.SequenceToSequenceModel(backbone)(inputs)
    assert set(found) == {"next_token"}
    np.testing.assert_array_equal(numpy(found["next_token"]), numpy(backbone(inputs)["logits"]))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: models.MaskedLanguageModel(models.TransformerDecoder(tiny_decoder_config())), "be a TransformerEncod"),
        (lambda: models.MaskedLanguageModel(tiny_encoder(), activation="swish"), "activation must be one of"),
        (lambda: models.NextTokenModel(tiny_encoder()), "a TransformerDecoder, .* Received: TransformerEncoder"),
        (
            lambda: models.NextTokenModel(models.TransformerDecoder(tiny_decoder_config(cross_attention=True))),
            "use a decoder without cross-attention",
        ),
        (lambda: models.SequenceToSequenceModel(tiny_encoder()), "must be a TransformerEncoderDecoder"),
        (lambda: models.ReplacedTokenModel(tiny_encoder(), 0), "above 0 and at most 1. Received: 0"),
        (lambda: models.ReplacedTokenModel(tiny_encoder(), 1.5), "above 0 and at most 1. Received: 1.5"),
        (lambda: models.ContrastiveModel(tiny_encoder(), "max"), "pooling must be one of mean, first. Received: 'max'"),
        (lambda: models.ContrastiveModel(tiny_encoder(), temperature=0), "temperature must be above 0. Received: 0"),
    ],
)
def test_mistakes_get_one_clear_message(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


def test_a_decoder_takes_the_same_inputs_directly():
    """Through `hidden_states`: as many texts as one likes, without a model around it."""
    decoder = randomise(models.TransformerDecoder(tiny_decoder_config()))
    inputs = decoder_inputs() | several_texts()
    embedded = decoder.embed(inputs["token_ids"], inputs["position_ids"])
    places = {name: inputs[name] for name in several_texts()}
    states = decoder.hidden_states(embedded, inputs["padding_mask"], **places)
    expected = numpy(models.NextTokenModel(decoder)(inputs)["next_token"])
    np.testing.assert_allclose(numpy(decoder.logits(states[-1])), expected, atol=1e-6)


@pytest.mark.parametrize("position", SCHEMES)
def test_a_decoder_counts_the_positions_that_it_is_given(position):
    """Also where they leave some out: as decoding with a cache does."""
    decoder = randomise(models.TransformerDecoder(tiny_decoder_config(position=position)))
    ids = np.random.default_rng(0).integers(1, VOCABULARY, (1, 6)).astype("int32")
    positions, mask = np.array([[0, 1, 4, 5, 9, 11]], "int32"), np.ones_like(ids)
    expected, _ = decoder.decode(ids, decoder.empty_cache(1, 6), 0, mask, positions)
    states = decoder.hidden_states(decoder.embed(ids, positions), mask, position_ids=positions)
    np.testing.assert_allclose(numpy(states[-1]), numpy(expected), atol=3e-5)
    plain = decoder.hidden_states(decoder.embed(ids), mask)
    assert (np.abs(numpy(plain[-1]) - numpy(expected)).max() > 1e-3) == (position != "none")
