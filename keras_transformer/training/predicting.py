"""Texts from arguments, files or standard input; one JSON object a line out."""

import contextlib
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from keras_transformer.training.files import TEMPORARY

CHUNK = 256


def texts(arguments: Sequence[str], files: Sequence[str], stdin: TextIO) -> Iterator[str]:
    """Yield the texts to be labelled: all arguments, then all files; standard input if there are neither.

    Args:
        arguments: sequence of str, each a text.
        files: sequence of str, paths; a .jsonl file has one object with a `text` a line, any other file a text a line.
        stdin: text stream, read line by line if there are neither arguments nor files.

    Returns:
        Iterator of str; empty lines are left out.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line of a .jsonl file holds no text, or there is no text at all.
    """
    found = itertools.chain(arguments, *map(_read, files))
    if not arguments and not files:
        if stdin.isatty():
            raise ValueError("There is no text: give it as an argument, in a file with --input, or on standard input.")
        stdin.reconfigure(encoding="utf-8", errors="replace")
        found = (line.rstrip("\r\n") for line in stdin)
    return (text for text in found if text.strip())


def predict(pipeline: Any, found: Iterable[str], output: str | None = None) -> int:
    """Write one JSON object for each text, in order, as soon as its part has been scored.

    Args:
        pipeline: `TextPipeline`.
        found: iterable of str.
        output: str or None, a file that appears when all texts are done. Default None: standard output.

    Returns:
        The number of texts.

    Raises:
        ValueError: If there is no text.
    """
    count = 0
    iterator = iter(found)
    with _opened(output) as stream:
        while part := list(itertools.islice(iterator, CHUNK)):
            for text, answer in zip(part, pipeline.predict(part), strict=True):
                stream.write(json.dumps({"text": text} | answer, ensure_ascii=False) + "\n")
            stream.flush()
            count += len(part)
        if not count:
            raise ValueError("There is no text: all that was given is empty.")
    return count


@contextlib.contextmanager
def _opened(output: str | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    path = Path(output)
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            yield stream
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(name: str) -> Iterator[str]:
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"There is no such file for --input. Received: {name!r}")
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            line = line.rstrip("\r\n")
            yield _text_of(line, f"{name}, line {number}") if path.suffix == ".jsonl" and line.strip() else line


def _text_of(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON ({error}).") from error
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise ValueError(f'{where} must be a string or an object with a string "text". Received: {line[:80]}')
    return text
