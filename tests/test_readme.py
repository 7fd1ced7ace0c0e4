"""README keeps its promises: the commands, the length of the program, the index of the pages, the figures."""

import json
import re
from pathlib import Path

import pytest

from tests.test_doc_snippets import FENCE, PAGES, blocks

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_two_commands_stand_first():
    first = blocks(README, {"sh"})[0][1]
    assert first.splitlines() == ["make demo", "make test"]


def test_the_three_lines_by_hand_are_those_of_the_makefile():
    by_hand = blocks(README, {"sh"})[1][1].splitlines()
    assert len(by_hand) == 3
    for line in by_hand[:2]:
        assert line.removeprefix("pip ") in MAKEFILE
    assert by_hand[2] == "python train_main.py"


def test_the_plain_program_has_forty_lines_and_fits_with_keras():
    programs = [code for _, code in blocks(README, {"python"}) if "model.fit(" in code]
    assert len(programs) == 1
    lines = [line for line in programs[0].splitlines() if line.strip()]
    assert len(lines) <= 40
    assert "keras.Model(" in programs[0]


def test_it_says_what_was_not_run():
    text = " ".join(README.split())
    assert re.search(r"--strategy=tpu`[^.]*never run", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_has_a_placeholder(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = re.findall(r"\b(?:TODO|TBD|FIXME|XXX|coming soon|lorem ipsum)\b|\?\?+", text, re.IGNORECASE)
    assert not found


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w./-]+\.md)", index))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert pages == linked


def numbers_of(value):
    """All numbers of a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in numbers_of(part)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def is_measured(text, measured):
    """Whether a number with decimals is a measured one but for the sign, as it is, in percent or minutes, rounded."""
    decimals = len(text.split(".")[1])
    half = 0.5000001 * 10**-decimals
    return any(
        abs(abs(number) * factor - float(text)) <= half
        for number in measured
        for factor in (1, 100, 1 / 60, 1e-6, 1e-3)
    )


def test_figures_of_the_tables_are_in_benchmark_results():
    """Every number with decimals in a table of README's results stands in a file of benchmarks/results."""
    section = re.search(r"^## Results\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    if section is None:
        assert not re.search(r"^\|.*\d\.\d.*\|$", README, re.MULTILINE), "figures belong under the heading Results"
        return
    measured = []
    for path in (ROOT / "benchmarks" / "results").rglob("*.json"):
        measured += numbers_of(json.loads(path.read_text(encoding="utf-8")))
    rows = [line for line in section[1].splitlines() if line.startswith("|")]
    shown = {number for row in rows for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", row.replace(",", ""))}
    assert shown, "the section Results shows no figure"
    missing = sorted(number for number in shown if not is_measured(number, measured))
    assert not missing, f"not in benchmarks/results: {missing}"


def test_a_figure_that_was_not_measured_is_noticed():
    measured = numbers_of({"accuracy": 0.92345, "seconds": [723.0], "lost": -0.0192, "name": "x", "ok": True})
    assert is_measured("1.9", measured)
    assert is_measured("92.3", measured)
    assert is_measured("0.923", measured)
    assert is_measured("12.1", measured)
    assert not is_measured("92.4", measured)
    assert not is_measured("1.0", measured)
