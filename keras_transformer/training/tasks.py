"""One task of several, as `--task` and the field `data.tasks` name it."""

import dataclasses
import re
from collections.abc import Sequence

_OPTION = re.compile(r":(kind|text|label)=([^:]*)$")
# "batch_loss" is the loss of a single step, whatever its task.
_TAKEN = ("batch",)


@dataclasses.dataclass(frozen=True)
class Task:
    """What a task is called, where its examples are, and what its labels are.

    Args:
        name: str, letters, digits and underscores.
        source: str, as `data.source`.
        kind: str or None, kind of label; None for `model.kind`.
        text_column: str or None, column of the text; None for `data.text_column`.
        label_column: str or None, column of the label; None for `data.label_column`.
    """

    name: str
    source: str
    kind: str | None = None
    text_column: str | None = None
    label_column: str | None = None


def parse_task(text: str) -> Task:
    """Read a task from `NAME=SOURCE`, behind which `:kind=KIND`, `:text=COLUMN` and `:label=COLUMN` may stand.

    Args:
        text: str.

    Returns:
        `Task`.

    Raises:
        ValueError: If it is not so.

    Example:

    ```python
    from keras_transformer.training.tasks import parse_task

    task = parse_task("stars=tfds:reviews:label=rating:kind=regression")
    assert (task.source, task.label_column, task.kind) == ("tfds:reviews", "rating", "regression")
    ```
    """
    name, separator, source = (part.strip() for part in text.partition("="))
    options: dict[str, str] = {}
    while found := _OPTION.search(source):
        if found[1] in options:
            raise ValueError(f"A task has one {found[1]}. Received: {text!r}")
        options[found[1]], source = found[2].strip(), source[: found.start()].strip()
    if not (separator and source and all(options.values())):
        raise ValueError(
            "A task is NAME=SOURCE, or NAME=SOURCE:kind=KIND:text=COLUMN:label=COLUMN, such as "
            f"stars=reviews.csv:label=stars:kind=regression. Received: {text!r}"
        )
    if not name.isidentifier() or name in _TAKEN:
        raise ValueError(
            "The name of a task must have letters, digits and underscores only, and must not be "
            f"{' or '.join(_TAKEN)}. Received: {name!r}"
        )
    return Task(name, source, options.get("kind"), options.get("text"), options.get("label"))


def parse_tasks(texts: Sequence[str]) -> dict[str, Task]:
    """Read several tasks.

    Args:
        texts: sequence of str, each as for `parse_task`.

    Returns:
        Dict from the name of each task to it.

    Raises:
        ValueError: If one cannot be read, or two have one name.
    """
    found: dict[str, Task] = {}
    for task in map(parse_task, texts):
        if task.name in found:
            raise ValueError(f"Each task needs a name of its own. Received: {task.name!r} twice")
        found[task.name] = task
    return found
