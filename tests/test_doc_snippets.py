"""Everything that the documentation tells a reader to type is typed here."""

import ast
import inspect
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    [*(ROOT / "keras_transformer").rglob("*.py"), *(ROOT / "export").rglob("*.py"), ROOT / "train_main.py"]
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# A fence, its language, and the text up to the fence of the same indentation.
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.DOTALL | re.MULTILINE
)
SHELL = {"sh", "bash", "shell", "console"}
# Programs that a reader may be told to run and that this project does not bring.
NOT_OURS = {
    "cd",
    "cat",
    "curl",
    "docker",
    "echo",
    "git",
    "export",
    "head",
    "ls",
    "mkdir",
    "source",
    "tensorboard",
    "tensorflow_model_server",
}


def blocks(text, languages):
    """The (line, code) of every fenced block in one of the languages."""
    found = []
    for match in FENCE.finditer(text):
        if match["language"] in languages:
            found.append((text[: match.start()].count("\n") + 2, inspect.cleandoc("\n" + match["code"])))
    return found


def docstrings(path):
    """The (dotted name, line, docstring) of the module, its classes and functions, nested ones included."""
    found = []

    def visit(node, name):
        text = ast.get_docstring(node)
        if text:
            found.append((name, node.body[0].lineno, text))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child, f"{name}.{child.name}")

    visit(ast.parse(path.read_text(encoding="utf-8")), ".".join(path.relative_to(ROOT).with_suffix("").parts))
    return found


DOCSTRINGS = {
    name: (path, line, text)
    for path in SOURCES
    if path.is_file()
    for name, line, text in docstrings(path)
    if blocks(text, {"python"})
}


def run(code, path, line, namespace):
    """Executes a block so that an error shows the file and line of the documentation."""
    exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)


@pytest.mark.parametrize("name", sorted(DOCSTRINGS))
def test_example_of_a_docstring_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, start, text = DOCSTRINGS[name]
    namespace = {"__name__": "__main__"}
    for line, code in blocks(text, {"python"}):
        run(code, path, start + line - 1, namespace)


# README fine-tunes and exports the real MiniLM: two to three minutes. The others export several times.
SLOW_PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("export", "generation", "on_device"))]
PAGES_TO_RUN = [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW_PAGES else []) for page in PAGES]


def page_name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=page_name)
def test_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code in blocks(page.read_text(encoding="utf-8"), {"python"}):
        run(code, page, line, namespace)


@pytest.mark.parametrize("page", SLOW_PAGES, ids=page_name)
def test_what_a_slow_page_imports_is_there(page):
    found = blocks(page.read_text(encoding="utf-8"), {"python"})
    assert found
    for line, code in found:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                run(ast.unparse(node), page, line + node.lineno - 1, {})


def commands(page):
    """The (line, words) of every command in the shell blocks: continuation lines joined, output left out."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        if match["language"] not in SHELL:
            continue
        line = page.read_text(encoding="utf-8")[: match.start()].count("\n") + 2
        lines = inspect.cleandoc("\n" + match["code"]).replace("\\\n", " ").splitlines()
        if match["language"] == "console":
            lines = [text[2:] for text in lines if text.startswith("$ ")]
        for text in lines:
            words = shlex.split(text, comments=True)
            while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
                words = words[1:]
            while words:
                end = next((i for i, word in enumerate(words) if word in ("|", "&&", ";", ">", "&")), len(words))
                found.append((line, words[:end]))
                redirected = end < len(words) and words[end] == ">"
                words = words[end + (2 if redirected else 1) :]
    return found


COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(ROOT).as_posix()}:{line}:{number}")
    for page in PAGES
    for number, (line, words) in enumerate(commands(page))
]


def make_targets(folder):
    return set(re.findall(r"^([a-z][a-z-]*):", (folder / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def extras():
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8").split("[options.extras_require]")[1]
    return set(re.findall(r"^(\w+) =", text, re.MULTILINE))


_HELP = {}


def helped(*program):
    """What a program of ours prints for --helpfull or --help."""
    if program not in _HELP:
        flag = "--helpfull" if program[0] == "train_main.py" else "--help"
        result = subprocess.run([sys.executable, *program, flag], cwd=ROOT, capture_output=True, text=True, timeout=300)
        _HELP[program] = result.stdout + result.stderr
    return _HELP[program]


def check_flags(program, arguments):
    text = helped(*program)
    for argument in itertools.takewhile(lambda argument: argument != "--", arguments):  # the rest is for others
        if argument.startswith("--"):
            name = argument[2:].split("=")[0]
            options = {name, name.removeprefix("no"), name.replace("_", "-")}
            assert any(re.search(rf"--(\[no\])?{re.escape(option)}\b", text) for option in options), (
                f"no flag {argument}"
            )


@pytest.mark.parametrize("words", COMMANDS)
def test_command_of_a_page_exists(words):
    program = re.sub(r"^\.venv(-\w+)?/bin/", "", words[0])  # each environment is made by a command of its page
    if program == "make":
        folder = ROOT / words.pop(2) if words[1:2] == ["-C"] else ROOT
        for target in (word for word in words[1:] if "=" not in word and not word.startswith("-")):
            assert target in make_targets(folder), f"no make target {target}"
    elif program in ("python", "python3", "python3.11"):
        if words[1] == "-m" and words[2].startswith("keras_transformer"):
            check_flags(("-m", words[2]), words[3:])
        elif words[1] == "-m":
            assert words[2] in ("venv", "pip", "pytest", "json.tool"), words[2]
        elif words[1] != "-c":
            assert (ROOT / words[1]).is_file(), f"no file {words[1]}"
            check_flags((words[1],), words[2:])
    elif program == "pip":
        for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= extras(), extra
        for file in re.findall(r"(?:-c|-r) (\S+)", " ".join(words)):
            assert (ROOT / file).is_file(), file
    elif program.startswith("./") or "/" in program:
        assert (ROOT / program).is_file(), program
    else:
        assert program in NOT_OURS, f"unknown program {program}"


def test_links_of_the_pages_lead_somewhere():
    wrong = []
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            linked = (page.parent / file).resolve() if file else page
            if not linked.exists():
                wrong.append(f"{page.name}: {target}")
            elif anchor and anchor not in anchors(linked):
                wrong.append(f"{page.name}: no heading for {target}")
    assert not wrong, "\n".join(wrong)


def anchors(page):
    titles = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_a_broken_example_is_noticed(tmp_path):
    text = "Text.\n\n```python\nvalue = 1\n```\n\n   ```python\n   assert value == 2\n   ```\n"
    namespace = {}
    (first, second) = blocks(text, {"python"})
    run(first[1], tmp_path, first[0], namespace)
    with pytest.raises(AssertionError) as error:
        run(second[1], tmp_path, second[0], namespace)
    assert error.traceback[-1].lineno + 1 == 8


def test_every_room_shows_examples():
    rooms = {name.split(".")[1] if name.startswith("keras_transformer.") else "export" for name in DOCSTRINGS}
    expected = {path.name for path in (ROOT / "keras_transformer").iterdir() if (path / "__init__.py").is_file()}
    assert expected | {"export"} <= rooms | {"ops"}, f"no example in {sorted(expected - rooms)}"
