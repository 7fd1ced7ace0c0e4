"""Memory, exchange and cost of a plan."""

import dataclasses

import pytest

from keras_transformer import plan
from keras_transformer.plan import memory, stages
from tests import helpers

CARD = plan.Machine("card", 1e12, 4e12, 1e11, memory=10**10, network=1e9, price=2.0, library=5 * 10**8)


def test_weights_and_moments_take_four_bytes_each():
    planned = plan.training("bert-base", batch=2, length=64, machine=CARD)
    count = planned.total_parameters
    assert (planned.memory.weights, planned.memory.optimizer) == (4 * count, 8 * count)
    assert planned.memory.library == 5 * 10**8
    assert planned.memory.total == sum(planned.memory.parts().values())
    plain = plan.training("bert-base", batch=2, length=64, machine=CARD, optimizer="sgd")
    assert plain.memory.optimizer == 0


def test_activations_of_a_block_by_hand():
    """BERT with dropout, in float32: thirteen tensors as wide as the model, two as the inner layer, two of scores."""
    batch, length, hidden, heads = 2, 512, 768, 12
    blocks = next(s for s in stages.stages(plan.find("bert-base"), plan.Batch(batch, length)) if s.boundary)
    tensors = batch * length * (13 * hidden + 2 * 4 * hidden + 2 * heads * length)
    assert memory.kept_bytes(blocks, 4, recompute=False) == 12 * 4 * tensors
    assert memory.kept_bytes(blocks, 4, recompute=True) == 12 * 4 * batch * length * hidden


def test_recompute_keeps_less_and_computes_more():
    kept, again = (
        plan.training("bert-base", batch=32, length=512, machine=CARD, recompute=recompute)
        for recompute in (False, True)
    )
    assert again.memory.total < 0.4 * kept.memory.total
    assert (kept.memory_kept, kept.memory_recomputed) == (again.memory_kept, again.memory_recomputed)
    assert again.flops.total == pytest.approx(4 / 3 * kept.flops.total, rel=0.001)
    assert 1.1 < again.time.total / kept.time.total < 1.4
    config = dataclasses.replace(plan.find("bert-base"), recompute=True)
    assert plan.training(config, batch=8, length=256, machine=CARD).recompute


def test_bfloat16_keeps_less():
    float32, bfloat16 = (
        plan.training("bert-base", batch=8, length=256, machine=CARD, product_dtype=dtype).memory
        for dtype in ("float32", "bfloat16")
    )
    assert 0.5 < bfloat16.activations / float32.activations < 0.75


def test_the_peak_of_a_large_model_on_a_small_batch_is_the_update():
    assert plan.training("gpt2-small", batch=1, length=8, machine=CARD).memory.moment == "update"
    assert plan.training("gpt2-small", batch=4, length=512, machine=CARD).memory.moment == "backward"


def test_a_ring_sums_the_gradients():
    decoder = helpers.tiny_decoder_config()
    planned = plan.training(decoder, batch=2, length=6, machine=CARD, machines=4)
    assert planned.exchanged == int(2 * 3 / 4 * 4 * planned.total_parameters)
    assert planned.time.exchange == planned.exchanged / 1e9
    alone = plan.training(decoder, batch=2, length=6, machine=CARD)
    assert planned.time.total == pytest.approx(alone.time.total + planned.time.exchange)
    assert planned.exchange_share == pytest.approx(planned.time.exchange / planned.time.total)


def test_rows_of_a_table_that_is_only_read_go_to_all_others():
    encoder = helpers.tiny_config()
    planned = plan.training(encoder, batch=2, length=6, machine=CARD, machines=3)
    table = encoder.vocabulary_size * encoder.hidden_dim
    rows = 2 * 12 * (4 * encoder.hidden_dim + 8)
    assert planned.exchanged == int(2 * 2 / 3 * 4 * (planned.total_parameters - table) + rows)


def test_cost_is_hours_times_machines_times_price():
    planned = plan.training("bert-tiny", batch=4, length=32, machine=CARD, machines=2, tokens=128 * 1000 + 1)
    assert planned.steps == 501, "256 tokens in a step of both; the last one is not full"
    assert planned.hours == pytest.approx(501 * planned.time.total / 3600)
    assert planned.cost == pytest.approx(planned.hours * 2 * 2.0)
    assert plan.training("bert-tiny", batch=4, length=32, machine=CARD).cost is None


def test_it_says_whether_memory_is_enough():
    large = plan.training("gpt2-xl", batch=8, length=1024, machine=CARD)
    assert large.fits is False
    assert plan.training("bert-tiny", batch=8, length=128, machine=CARD).fits is True
    unknown = dataclasses.replace(CARD, memory=None)
    assert plan.training("bert-tiny", batch=8, length=128, machine=unknown).fits is None


def test_compute_optimal_sizes():
    """The paper's own Chinchilla, 70e9 parameters and 1.4e12 tokens, both ways."""
    by_tokens = plan.compute_optimal(tokens=1.4e12)
    assert by_tokens.parameters == pytest.approx(70e9)
    by_flops = plan.compute_optimal(flops=by_tokens.flops)
    assert (by_flops.parameters, by_flops.tokens) == (pytest.approx(70e9), pytest.approx(1.4e12))
    assert by_flops.loss == plan.predicted_loss(by_flops.parameters, by_flops.tokens)
    # Equation 10: E + 406.4 / N^0.34 + 410.7 / D^0.28, with 10^3.06 and 10^2.8843.
    assert plan.predicted_loss(1e9, 2e10) == pytest.approx(1.69 + 406.4 / 1148.15 + 410.7 / 766.1, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch": 0}, "batch must be an integer above 0"),
        ({"batch": 2.5}, "Received: 2.5"),
        ({"length": 513}, "512 positions"),
        ({"machines": 0}, "machines must be an integer above 0"),
        ({"tokens": -1}, "tokens must be an integer above 0"),
        ({"product_dtype": "float16"}, "float16"),
        ({"optimizer": "lion"}, "lion"),
        ({"outputs": 0}, "outputs must be"),
        ({"pooling": "last"}, "pooling must be one of mean, first"),
        ({"config": "bert-bse"}, "Did you mean 'bert-base'"),
        ({"machine": "nowhere"}, "nowhere"),
        ({"machines": 2, "machine": plan.Machine("alone", 1e12, 1e12, 1e12)}, "bandwidth of the network"),
    ],
    ids=[
        "batch",
        "fraction",
        "length",
        "machines",
        "tokens",
        "dtype",
        "optimizer",
        "outputs",
        "pooling",
        "model",
        "machine",
        "network",
    ],
)
def test_a_wrong_argument_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plan.training(**{"config": "bert-base", "batch": 2, "length": 64, "machine": CARD} | arguments)


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), "many", True])
def test_a_wrong_budget_is_refused(value):
    with pytest.raises(ValueError, match="above 0"):
        plan.compute_optimal(flops=value)
    with pytest.raises(ValueError, match="either flops or tokens"):
        plan.compute_optimal()
