"""The table objective x kind of model: each cell learns what a model that knows no neighbours cannot know.

Loss is measured on documents that are held out. Predicted tokens count if they are tokens of texts, so that ends and
sentinels, which are easy, do not help; the yardstick is the entropy of the frequencies of these documents themselves.
"""

import dataclasses
import math

import numpy as np
import pytest

from keras_transformer import objectives
from keras_transformer.objectives import OBJECTIVES, unigram_entropy
from tests.objectives.corpora import COUNT, FIRST, backbone, held_out, markov, specials, tensors, train


@dataclasses.dataclass(frozen=True)
class Cell:
    """How one objective is trained.

    Args:
        name: Objective.
        steps: Number of updates.
        options: Of the objective.
        model: Of the backbone.
        corpus: Of the corpus.
        learning_rate: Of the training.
        slow: Whether another cell of its kind of model runs every day.
    """

    name: str
    steps: int
    options: dict = dataclasses.field(default_factory=dict)
    model: dict = dataclasses.field(default_factory=dict)
    corpus: dict = dataclasses.field(default_factory=dict)
    learning_rate: float = 3e-3
    slow: bool = False

    def __str__(self) -> str:
        return "-".join([self.name, OBJECTIVES[self.name].model_kind, *map(str, self.options.values())])


CELLS = [
    Cell("masked", 150),
    Cell("masked", 200, {"rate": 0.3, "unit": "span", "crossing": True}, slow=True),
    Cell(
        "replaced",
        200,
        {"generator_fraction": 0.5, "rate": 0.2},
        {"hidden_dim": 64, "residual": "pre_norm", "position": "relative_bias"},
        learning_rate=4e-3,
    ),
    Cell("next_sentence", 200, corpus={"topics": 4}, slow=True),
    Cell("sentence_order", 120, corpus={"ordered": True}),
    Cell("contrastive", 40, model={"dropout": 0.1}),
    Cell("next_token", 60),
    Cell("prefix", 60, {"crossing": True}, slow=True),
    Cell("span_corruption", 90),
    Cell("denoising", 90, slow=True),
]


def of_texts(labels):
    """Which labels are tokens of texts; all, where labels are no tokens."""
    if labels.ndim == 1 or not labels.any():
        return np.ones_like(labels)
    return (labels >= FIRST) & (labels < FIRST + COUNT)


def test_the_table_has_every_objective():
    assert {cell.name for cell in CELLS} == set(OBJECTIVES)


def entropy_of(share):
    """What knowing only how often something happens gives."""
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


@pytest.mark.parametrize(
    "cell", [pytest.param(cell, marks=[pytest.mark.slow] if cell.slow else []) for cell in CELLS], ids=str
)
def test_the_loss_falls_below_what_frequencies_give(cell):
    stores = markov(400, seed=0, **cell.corpus), markov(200, seed=1, **cell.corpus)
    objective, test = (
        objectives.create(cell.name, store, specials(), row_length=32, seed=seed, **cell.options)
        for seed, store in enumerate(stores)
    )
    model = objective.create_model(backbone(objective.model_kind, **cell.model))
    dropout = cell.name == "contrastive"  # without it there is nothing to tell
    before = held_out(test, model, training=dropout, counts=of_texts)
    train(objective, model, cell.steps, learning_rate=cell.learning_rate)
    after = held_out(test, model, training=dropout, counts=of_texts)

    entropy = unigram_entropy(stores[1])
    assert entropy > 0.99 * math.log(COUNT)
    bounds = {"masked": entropy, "next_token": entropy, "sentence": math.log(2), "pair": math.log(64)}
    if "replaced" in after:
        inputs, _, _ = tensors(test.batch(0, np.arange(64)))
        logits = model(inputs)["masked"]
        _, signs = model.filling(logits, inputs["token_ids"], inputs["original_ids"])
        bounds["replaced"] = entropy_of(float(np.mean(np.array(signs) < 0)))
        assert bounds["replaced"] < math.log(2)
    for name, loss in after.items():
        assert loss < 0.98 * bounds[name], name
        assert loss < 0.95 * before[name], name
        if name != "pair":  # a new encoder tells texts apart already, if not well
            assert before[name] > bounds[name] - 0.01, name
