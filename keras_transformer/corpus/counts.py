"""What became of the texts of a corpus: how many were read, left out by reason, or changed."""

import collections
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

# Of each kind of problem so many are logged one by one; all of them are counted.
_LOGGED = 10


@dataclasses.dataclass
class Counts:
    """Counts of a pass over a corpus.

    Args:
        read: int, documents that the source gave.
        dropped: dict of reasons to the number of documents (or sentences, where the reason says so) left out.
        skipped: dict of reasons to the number of files or rows that gave no document.
        notes: dict of what was changed to how often.
    """

    read: int = 0
    dropped: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    skipped: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    notes: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def skip(self, reason: str, where: str, what: str) -> None:
        """Count a file or row that cannot be read, and log the first ones of its kind.

        Args:
            reason: str, the key in `skipped`.
            where: str, the file or row.
            what: str, what is wrong with it.
        """
        self.skipped[reason] += 1
        if self.skipped[reason] <= _LOGGED:
            logger.warning("left out %s: %s", where, what)
        if self.skipped[reason] == _LOGGED:
            logger.warning("further ones (%s) are only counted", reason)

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts as JSON has them; they do not change with the object."""
        return {
            "read": self.read,
            **{name: dict(sorted(getattr(self, name).items())) for name in ("dropped", "skipped", "notes")},
        }

    def set(self, values: Mapping[str, Any]) -> None:
        """Takes counts that `to_dict` returned."""
        self.read = values["read"]
        for name in ("dropped", "skipped", "notes"):
            setattr(self, name, collections.Counter(values[name]))
