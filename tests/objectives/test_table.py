"""The table objective x kind of model of docs/pretraining.md: what it says works is trained, all else is refused."""

import re
from pathlib import Path

import pytest

from keras_transformer import objectives
from keras_transformer.training.pretrain_section import OBJECTIVES
from tests.objectives.corpora import backbone, markov, specials
from tests.objectives.test_learning import CELLS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pretraining.md"
KINDS = ("encoder", "decoder", "encoder_decoder")


def table():
    """Names of tests by (objective, kind of model), as the page has them."""
    text = PAGE.read_text(encoding="utf-8").partition("## Objectives by kind of model\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert tuple(rows[0][1:]) == ("encoder", "decoder", "encoder-decoder")
    return {
        (row[0].strip("`"), kind): re.findall(r"`([^`]+)`", cell)
        for row in rows[2:]
        for kind, cell in zip(KINDS, row[1:], strict=True)
    }


def test_every_cell_that_works_names_the_tests_that_train_it():
    found = table()
    assert [name for name, kind in found if kind == "encoder"] == list(OBJECTIVES)
    expected = {place: [] for place in found}
    for cell in CELLS:
        expected[cell.name, OBJECTIVES[cell.name]].append(str(cell))
    assert found == expected
    assert {name for (name, _), tests in found.items() if tests} == set(OBJECTIVES)


@pytest.fixture(scope="module")
def backbones():
    return {kind: backbone(kind) for kind in KINDS}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_cell_that_is_empty_is_refused(name, backbones):
    objective = objectives.create(name, markov(20, seed=0), specials(), row_length=32)
    for (objective_name, kind), tests in table().items():
        if objective_name == name and not tests:
            with pytest.raises(ValueError, match=rf"The objective '{name}' needs a \w+. Received: \w+"):
                objective.create_model(backbones[kind])
