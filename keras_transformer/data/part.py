"""What a reader of files hands over: texts and labels as they were written, before any is encoded or left out."""

import dataclasses
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class Part:
    """One part of a source.

    Args:
        texts: list of str.
        labels: list of what the source says: names, numbers or lists of them.
        ids: list of str, one stable name per text.
        undecodable: number of texts with bytes that are not UTF-8 (each such byte became U+FFFD).
    """

    texts: list[str] = dataclasses.field(default_factory=list)
    labels: list[Any] = dataclasses.field(default_factory=list)
    ids: list[str] = dataclasses.field(default_factory=list)
    undecodable: int = 0

    def add(self, text: str, label: Any, name: str) -> None:
        """Append one text.

        Args:
            text: str.
            label: what the source says.
            name: str, its id.
        """
        self.texts.append(text)
        self.labels.append(label)
        self.ids.append(name)


def read_text(path: Path) -> tuple[str, bool]:
    """Read a file as UTF-8, replacing what is not.

    Args:
        path: the file.

    Returns:
        The text, without a byte order mark, and whether all of it was UTF-8.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No such file: give the path of a data file. Received: {str(path)!r}.")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return content.decode("utf-8-sig", errors="replace"), False
