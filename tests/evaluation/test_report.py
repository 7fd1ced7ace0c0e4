"""report.html is one file, valid, safe, and shows what is in the data."""

import html.parser
import re

import numpy as np
import pytest

from keras_transformer import evaluation
from keras_transformer.evaluation.report_parts import highlight

NAMES = ["negative", "positive"]


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    logits = 2 * rng.normal(size=(300, 2)) + 3 * np.eye(2)[labels]
    part = {"logits": logits, "labels": labels, "lengths": rng.integers(1, 700, 300)}
    scores = np.full((300, 2), 0.5) + np.array([0.1, -0.1]) * rng.normal(size=(300, 1))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return {
        "title": "A <run>",
        "summary": {"Data": "movie-reviews & more", "Steps": 300},
        "metrics": evaluation.make_metrics(
            part, part, class_names=NAMES, baseline={"validation": scores, "test": scores}
        ),
        "history": {
            "steps": {"step": list(range(1, 301)), "loss": rng.random(300).tolist()},
            "epochs": {"epoch": [1, 2], "loss": [0.5, 0.4], "val_loss": [0.6, 0.5], "val_accuracy": [0.8, 0.9]},
        },
        "pretraining": {"epochs": {"epoch": [1, 2], "loss": [6.5, 5.4], "val_probe_accuracy": [0.6, 0.7]}},
        "curves": {
            "model": evaluation.curves(probabilities, labels, NAMES),
            "baseline": evaluation.curves(scores, labels, NAMES),
        },
        "mistakes": [
            {
                "text": "bad <script>alert(1)</script> & good",
                "label": "positive",
                "predicted": "negative",
                "probability": 0.987,
                "words": [("bad", 0, 3, 1.5), ("good", 32, 36, -0.5)],
                "id": "train/7",
            }
        ],
        "faithfulness": {
            "completeness": {"n": 200, "median": 0.004, "percentile_95": 0.03, "share_within_5_percent": 0.985},
            "deletion": {"n": 200, "share_top_larger": 0.93, "mean_top": 1.42, "mean_random": 0.12},
        },
        "tables": [{"title": "Exported", "columns": ["File"], "rows": [["model.tflite"]]}],
        "recipe": {"train": {"epochs": 2}},
    }


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    evaluation.write_report(path, run)
    return path


class Checker(html.parser.HTMLParser):
    """Collects tags and ids; fails on a tag that closes another one."""

    VOID = frozenset({"meta", "br"})

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def check(path):
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert checker.open == []
    return checker


def test_a_whole_report_is_one_valid_file_without_addresses(whole):
    text = whole.read_text(encoding="utf-8")
    found = check(whole)
    assert len(found.ids) == len(set(found.ids))
    assert found.tags.count("svg") == 9
    # Nothing to fetch: no address, no import, no source but fragments of this file.
    assert not re.search(r"https?:|//[a-z]|@import|\bsrc=|<link|<script|url\((?!#)", text)
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', text))
    assert [entry.name for entry in whole.parent.iterdir()] == ["report.html"]
    for used in re.findall(r"url\(#([^)]*)\)", text) + re.findall(r'href="#([^"]*)"', text):
        assert used in found.ids
    for variable in set(re.findall(r"var\((--[\w-]+)\)", text)):
        assert f"{variable}:" in text


def test_the_figures_of_the_run_are_shown(run, whole):
    text = check(whole).text
    metrics = run["metrics"]["test"]
    for value in (metrics["model"]["accuracy"], metrics["baseline"]["accuracy"], metrics["model"]["precision"]):
        assert f"{100 * value:.2f} %" in text
    assert f"{100 * metrics['difference']['difference']:+.2f}" in text
    for piece in ("A <run>", "movie-reviews & more", "train/7", "98.7 %", "93.0 %", "model.tflite", '"epochs": 2'):
        assert piece in text
    for row in metrics["model"]["confusion_matrix"]:
        assert all(f"{count:,}" in text for count in row)


def test_texts_are_escaped_and_words_are_marked(whole):
    text = whole.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert re.search(r'<mark class="push" style="--strength: 0.65" title="\+1.500">bad</mark>', text)
    assert re.search(r'<mark class="pull" style="--strength: 0.22" title="-0.500">good</mark>', text)


def test_missing_data_leaves_its_section_out(run, tmp_path):
    path = tmp_path / "report.html"
    evaluation.write_report(path, {})
    empty = check(path)
    assert "h2" not in empty.tags
    assert "Training report" in empty.text
    sections = {
        "metrics": "All figures",
        "history": "Training",
        "pretraining": "Pretraining",
        "mistakes": "Worst mistakes",
        "faithfulness": "Can the explanations be trusted?",
        "tables": "Exported",
        "recipe": "Recipe",
    }
    for key, heading in sections.items():
        evaluation.write_report(path, {key: run[key]})
        text = path.read_text(encoding="utf-8")
        assert f"<h2>{heading}</h2>" in text
        others = [other for name, other in sections.items() if name != key]
        assert not any(f"<h2>{other}</h2>" in text for other in others)


def test_many_tasks_have_a_section_each(run, tmp_path):
    path, judged = tmp_path / "report.html", ("metrics", "curves", "mistakes", "faithfulness")
    whole = {key: run[key] for key in run if key not in judged}
    of_task = {key: run[key] for key in judged if key in run}
    numbers = np.random.default_rng(0).normal(size=(50, 1))
    part = {"logits": numbers + 0.1, "labels": numbers}
    other = {"metrics": evaluation.make_metrics(part, part, kind="regression"), "mistakes": run["mistakes"]}
    evaluation.write_report(path, whole | {"tasks": {"first <b>": of_task, "second": other, "empty": {}}})
    text, found = path.read_text(encoding="utf-8"), check(path)
    assert len(found.ids) == len(set(found.ids))
    for heading, count in {"All figures": 2, "Worst mistakes": 2, "Training": 1, "Recipe": 1}.items():
        assert text.count(f"<h2>{heading}</h2>") == count
    assert "Task: first <b>" in found.text
    assert "Task: empty" not in found.text


def test_validation_stands_in_where_there_is_no_test_part(run, tmp_path):
    metrics = {key: value for key, value in run["metrics"].items() if key != "test"}
    evaluation.write_report(tmp_path / "report.html", {"metrics": metrics})
    assert "Validation accuracy, model" in check(tmp_path / "report.html").text


def test_other_kinds_and_many_classes_have_a_report(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "report.html"
    numbers = rng.normal(size=(50, 2))
    part = {"logits": numbers + 0.1, "labels": numbers}
    metrics = evaluation.make_metrics(part, part, kind="regression", baseline={"test": numbers * 0})
    scatter = {"actual": numbers[:, 0].tolist(), "predicted": (numbers[:, 0] + 0.1).tolist()}
    evaluation.write_report(path, {"metrics": metrics, "scatter": scatter})
    assert "Test MSE, model" in check(path).text
    assert "0.0100" in check(path).text

    labels = (rng.random((80, 8)) < 0.4).astype(int)
    logits = rng.normal(size=(80, 8)) + 2 * labels
    names = ["$x$", "_hidden", "<b>", "a & b", "long " * 20, "5", "$\\frac$", "ä"]
    part = {"logits": logits, "labels": labels}
    metrics = evaluation.make_metrics(part, part, kind="multi_label", class_names=names)
    curves = {"model": evaluation.curves(1 / (1 + np.exp(-logits)), labels, names)}
    evaluation.write_report(path, {"metrics": metrics, "curves": curves})
    text = check(path).text
    assert all(name in text for name in names)

    labels = np.arange(200) % 20
    logits = rng.normal(size=(200, 20)) + 2 * np.eye(20)[labels]
    part = {"logits": logits, "labels": labels}
    evaluation.write_report(path, {"metrics": evaluation.make_metrics(part, part)})
    assert "Most frequent confusions" in check(path).text


def test_marked_text_reads_as_the_original():
    text = 'He said "no" & left\x00 <quickly>\ud800'
    marked = highlight(text, [("He", 0, 2, 0.4), ("no", 9, 11, -1.0), ("left", 15, 19, 0.0)])
    checker = Checker()
    checker.feed(marked)
    assert checker.text == text.replace("\x00", "\ufffd").replace("\ud800", "?")
    assert checker.tags == ["mark", "mark"]
    with pytest.raises(ValueError, match="without overlap"):
        highlight("abcdef", [("abc", 0, 3, 1.0), ("cd", 2, 4, 1.0)])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="must exist"):
        evaluation.write_report(tmp_path / "none" / "report.html", {})
