"""What a folder of scores was made of, so that no run goes on with another model, other files or other options."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from . import storage
from .blocks import BAD, SCORES
from .options import ScoringOptions
from .work import Source

FILE = "manifest.json"
_VERSION = 1


def describe(model: str, fingerprint: str, sources: Sequence[Source], options: ScoringOptions) -> dict[str, Any]:
    """Returns the manifest of a run.

    Args:
        model: str, folder of the SavedModel.
        fingerprint: str, SHA-256 of its files.
        sources: sequence of `Source`.
        options: `ScoringOptions`.
    """
    return {
        "version": _VERSION,
        "model": {"path": model, "sha256": fingerprint},
        "options": dataclasses.asdict(options),
        "inputs": [
            {"path": source.path, "bytes": source.size, "sha256": source.sha256, "blocks": len(source.blocks)}
            for source in sources
        ],
    }


def hold(output: str, manifest: dict[str, Any]) -> bool:
    """Writes the manifest of a new folder, or compares it with that of a folder to go on with.

    Args:
        output: str, folder of the run.
        manifest: dict of `describe`.

    Returns:
        Whether a run goes on.

    Raises:
        ValueError: If the folder holds scores of something else.
    """
    path = storage.join(output, FILE)
    if FILE not in storage.names_in(output):
        if any(storage.names_in(storage.join(output, name)) for name in (SCORES, BAD)):
            raise ValueError(f"{output} holds scores, and no {FILE} that says of what. Choose another --output.")
        storage.make_folder(output)
        storage.write(output, FILE, (json.dumps(manifest, indent=1) + "\n").encode(), output)
        return False
    try:
        before = json.loads(storage.read(path))
        differences = _differences(before, manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}. Choose another --output.") from error
    if differences:
        raise ValueError(
            f"{output} holds scores of something else: {'; '.join(differences)}. "
            "Choose another --output, or go on with what it was begun with."
        )
    return True


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    if before["version"] != now["version"]:
        found.append(f"it was written by another version of this program, {before['version']}")
    if before["model"]["sha256"] != now["model"]["sha256"]:
        found.append(f"the model was {before['model']['path']}, with other files than {now['model']['path']}")
    for name in sorted({*before["options"], *now["options"]}):
        old, new = before["options"].get(name), now["options"].get(name)
        if old != new:
            found.append(f"{name} was {old!r} and is {new!r}")
    old_files = {entry["path"]: entry["sha256"] for entry in before["inputs"]}
    new_files = {entry["path"]: entry["sha256"] for entry in now["inputs"]}
    missing = [path for path in old_files if path not in new_files]
    added = [path for path in new_files if path not in old_files]
    changed = [path for path in old_files if path in new_files and old_files[path] != new_files[path]]
    for what, paths in (("no longer there", missing), ("new", added), ("changed", changed)):
        if paths:
            found.append(f"input {what}: {', '.join(paths[:3])}{' ...' if len(paths) > 3 else ''}")
    if not found and list(old_files) != list(new_files):
        found.append("the inputs are in another order")
    return found
