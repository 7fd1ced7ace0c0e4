"""Decoders and encoder-decoders: the same answer by every way, and what each position scheme can see.

The table of schemes in docs/build_your_own.md says which tests run with which scheme.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_transformer import models
from keras_transformer.layers import AttentionConfig
from keras_transformer.models import parts
from tests.helpers import VOCABULARY, integers, padding_mask, tiny_config, tiny_decoder_config


def scheme_table() -> dict[str, dict[str, str]]:
    """Returns the table of docs/build_your_own.md: its cells by scheme and column."""
    text = (Path(__file__).parents[2] / "docs" / "build_your_own.md").read_text(encoding="utf-8")
    lines = text[text.index("| scheme |") :].partition("\n\n")[0].splitlines()
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0].split("`")[1]: dict(zip(header, row, strict=True)) for row in rows}


TABLE = scheme_table()


def schemes(column: str, says: str = "yes") -> list[str]:
    """Returns the schemes for which the table says so."""
    return [scheme for scheme, row in TABLE.items() if row[column] == says]


RESIDUALS = ("post_norm", "pre_norm", "parallel")
LENGTH = 7
ATTENTION = AttentionConfig(num_heads=4, dropout=0.0, num_key_value_heads=2)


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def decoder(**changes):
    keras.utils.set_random_seed(1)
    return models.TransformerDecoder(tiny_decoder_config(attention=ATTENTION, **changes))


def tokens(*lengths, seed=0):
    mask = padding_mask(*lengths, length=LENGTH)
    return (1 + integers(VOCABULARY - 1, len(lengths), LENGTH, seed=seed)) * mask, mask


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("scheme", schemes("decoder with a cache"))
def test_decoding_with_a_cache_gives_the_logits_of_the_full_pass(scheme, residual):
    model = decoder(position=scheme, residual=residual)
    ids, mask = tokens(LENGTH, LENGTH)
    expected = numpy(model({"token_ids": ids, "padding_mask": mask})["logits"])
    places = np.ones((2, 10), "int32")
    cache = model.empty_cache(2, 10)
    got = []
    for first, last in ((0, 3), (3, 4), (4, 6), (6, 7)):
        hidden, cache = model.decode(ids[:, first:last], cache, first, places)
        got.append(numpy(model.logits(hidden)))
    np.testing.assert_allclose(np.concatenate(got, 1), expected, atol=3e-5)


@pytest.mark.parametrize("scheme", schemes("prompts of unequal length"))
def test_padding_on_the_left_changes_nothing(scheme):
    model = decoder(position=scheme, residual="pre_norm")
    ids, mask = tokens(4)
    expected = numpy(model({"token_ids": ids, "padding_mask": mask})["logits"])[:, :4]
    left, places = np.roll(ids, 3, axis=1), np.roll(mask, 3, axis=1)
    positions = np.maximum(np.arange(LENGTH) - 3, 0)[None].astype("int32")
    hidden, _ = model.decode(left, model.empty_cache(1, LENGTH), 0, places, positions)
    np.testing.assert_allclose(numpy(model.logits(hidden))[:, 3:], expected, atol=3e-5)


@pytest.mark.parametrize("scheme", schemes("decoder"))
def test_a_token_does_not_see_what_comes_after_it(scheme):
    model = decoder(position=scheme, residual="parallel")
    ids, mask = tokens(LENGTH, LENGTH)
    other = ids.copy()
    other[:, 4:] = 1 + (ids[:, 4:] % (VOCABULARY - 1))
    before, after = (numpy(model({"token_ids": x, "padding_mask": mask})["logits"]) for x in (ids, other))
    np.testing.assert_allclose(before[:, :4], after[:, :4], atol=1e-5)
    assert np.abs(before[:, 4:] - after[:, 4:]).max(axis=(0, 2)).min() > 1e-3


@pytest.mark.parametrize("scheme", schemes("encoder"))
def test_only_an_encoder_without_positions_cannot_tell_the_order(scheme):
    keras.utils.set_random_seed(1)
    model = models.TransformerEncoder(tiny_config(position=scheme, num_segments=0))
    ids, mask = tokens(LENGTH)
    order = np.array([3, 0, 6, 1, 5, 2, 4])
    empty = np.zeros_like(ids)
    straight, permuted = (
        numpy(model({"token_ids": x, "segment_ids": empty, "padding_mask": mask})["sequence_output"])
        for x in (ids, ids[:, order])
    )
    difference = np.abs(straight[:, order] - permuted).max()
    assert difference < 1e-5 if scheme == "none" else difference > 1e-2


@pytest.mark.parametrize("scheme", schemes("encoder"))
def test_tokens_permuted_with_their_positions_give_permuted_states(scheme):
    keras.utils.set_random_seed(1)
    model = models.TransformerEncoder(tiny_config(position=scheme, num_segments=0))
    ids, mask = tokens(LENGTH)
    order = np.array([3, 0, 6, 1, 5, 2, 4], "int32")
    expected = numpy(
        model({"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": mask})["sequence_output"]
    )
    x = model.embed(ids[:, order], position_ids=order[None])
    tensors = parts.attention_tensors(model.positions, model.mask(mask), x, order[None])
    for block in model.blocks:
        x = block(x, **tensors)
    np.testing.assert_allclose(numpy(x), expected[:, order], atol=1e-5)


def long_tokens():
    ids = 1 + integers(VOCABULARY - 1, 1, tiny_config().max_length + 2)
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}


@pytest.mark.parametrize("scheme", schemes("beyond `max_length`"))
def test_a_scheme_without_a_table_has_no_last_position(scheme):
    model = models.TransformerEncoder(tiny_config(position=scheme))
    assert np.isfinite(numpy(model(long_tokens())["sequence_output"])).all()


@pytest.mark.parametrize("scheme", schemes("beyond `max_length`", says="no"))
def test_a_table_of_positions_ends(scheme):
    with pytest.raises(ValueError, match="has 12 positions"):
        models.TransformerEncoder(tiny_config(position=scheme))(long_tokens())


def test_the_table_of_schemes_is_whole():
    assert set(TABLE) == set(models.config.SCHEMES)
    for scheme, row in TABLE.items():
        layer = parts.create_positions(tiny_config(position=scheme), bidirectional=True)
        assert row["layer"] == (f"`{type(layer).__name__}`" if layer else "")
        given = {"embedding": "added to the embeddings", "attention_bias": "part of `attention_bias`"}
        received = given.get(layer.role, f"`{layer.role}`") if layer else "nothing"
        assert row["what the blocks receive"] == received
        assert set(list(row.values())[3:]) <= {"yes", "no"}
    tested = {"encoder", "decoder", "decoder with a cache", "encoder-decoder", "prompts of unequal length"}
    assert set(list(row)[3:]) == tested | {"beyond `max_length`"}


@pytest.mark.parametrize("scheme", ["rotary", "relative_bias", "alibi", "relative_keys"])
def test_relative_schemes_see_distances_only(scheme):
    model = decoder(position=scheme)
    ids, mask = tokens(LENGTH)
    positions = np.arange(LENGTH, dtype="int32")[None]
    results = []
    for shift in (0, 1000):
        hidden, _ = model.decode(ids, model.empty_cache(1, LENGTH), 0, mask, positions + shift)
        results.append(numpy(hidden))
    np.testing.assert_allclose(*results, atol=2e-3 if scheme == "rotary" else 1e-5)


def test_a_window_hides_what_is_far():
    model = decoder(window=2, num_layers=1)
    ids, mask = tokens(LENGTH)
    other = ids.copy()
    other[0, 0] = 1 + ids[0, 0] % (VOCABULARY - 1)
    before, after = (numpy(model({"token_ids": x, "padding_mask": mask})["logits"]) for x in (ids, other))
    changed = np.abs(before - after).max(axis=(0, 2)) > 1e-4
    assert changed.tolist() == [True, True] + [False] * 5


def both(share_embeddings=True, **changes):
    keras.utils.set_random_seed(1)
    return models.TransformerEncoderDecoder(
        models.EncoderDecoderConfig(
            tiny_config(num_segments=0, attention=ATTENTION, **changes),
            tiny_decoder_config(cross_attention=True, attention=ATTENTION, **changes),
            share_embeddings,
        )
    )


@pytest.mark.parametrize("residual", ["post_norm", "pre_norm"])
@pytest.mark.parametrize("scheme", schemes("encoder-decoder"))
def test_an_encoder_decoder_decodes_with_a_cache_as_without(scheme, residual):
    model = both(position=scheme, residual=residual)
    (source, source_mask), (target, target_mask) = tokens(5, 3), tokens(LENGTH, LENGTH, seed=1)
    inputs = {
        "encoder_token_ids": source,
        "encoder_padding_mask": source_mask,
        "decoder_token_ids": target,
        "decoder_padding_mask": target_mask,
    }
    expected = numpy(model(inputs)["logits"])
    encoded = model.encode(source, source_mask)
    cache, got = model.decoder.empty_cache(2, LENGTH, encoded), []
    for i in range(LENGTH):
        hidden, cache = model.decoder.decode(
            target[:, i : i + 1], cache, i, target_mask, encoder_padding_mask=source_mask
        )
        got.append(numpy(model.decoder.logits(hidden)))
    np.testing.assert_allclose(np.concatenate(got, 1), expected, atol=3e-5)


def test_shared_embeddings_are_one_table_also_after_loading(tmp_path):
    model = both()
    assert model.decoder.embeddings.tokens is model.encoder.embeddings.tokens
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.decoder.embeddings.tokens is loaded.encoder.embeddings.tokens
    assert len(loaded.weights) == len(model.weights) == len({w.path for w in model.weights})
    separate = both(share_embeddings=False)
    assert separate.count_params() == model.count_params() + VOCABULARY * 16


def test_stochastic_depth_grows_over_the_blocks_and_acts_in_training_only():
    model = decoder(num_layers=3, stochastic_depth=0.6, residual="pre_norm")
    assert [block.stochastic_depth for block in model.blocks] == pytest.approx([0, 0.3, 0.6])
    ids, mask = tokens(LENGTH)
    inputs = {"token_ids": ids, "padding_mask": mask}
    calm = [numpy(model(inputs, training=False)["logits"]) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert any(not np.allclose(numpy(model(inputs, training=True)["logits"]), calm[0]) for _ in range(10))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: tiny_decoder_config(position="rotory"), "position.scheme must be one of"),
        (
            lambda: tiny_decoder_config(position=models.PositionConfig("rotary", rotary_dim=6)),
            "at most the width of a head",
        ),
        (lambda: tiny_decoder_config(residual="sandwich"), "residual must be one of"),
        (lambda: tiny_decoder_config(embedding_dim=8), "tie_embeddings=False"),
        (lambda: tiny_decoder_config(cross_attention=True, residual="parallel"), "no place in a parallel block"),
        (lambda: tiny_decoder_config(attention=AttentionConfig(4, num_key_value_heads=4, head_dim=0)), "head_dim must"),
        (lambda: AttentionConfig(6, num_key_value_heads=4), "num_key_value_heads must divide num_heads"),
        (
            lambda: models.EncoderDecoderConfig(tiny_config(num_segments=0), tiny_decoder_config()),
            "decoder.cross_attention must be True",
        ),
        (
            lambda: models.EncoderDecoderConfig(
                tiny_config(vocabulary_size=31), tiny_decoder_config(cross_attention=True)
            ),
            "vocabulary_size must be the same. Received: 31 and 30",
        ),
        (lambda: decoder()({"token_ids": np.ones((1, 99), "int32"), "padding_mask": np.ones((1, 99), "int32")}), "99"),
    ],
)
def test_mistakes_get_one_clear_message(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
