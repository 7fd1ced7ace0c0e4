"""The examples of docs/cluster.md: the flags are ours, and the script tells each worker who it is."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import train_main
from keras_transformer.training.rendezvous import Task
from tests.test_doc_snippets import ROOT, blocks

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_slurm_tells_each_worker_who_it_is(tmp_path):
    ((_, script),) = blocks(PAGE, {"slurm"})
    programs = {
        "scontrol": '[ "$*" = "show hostnames node[1-3]" ] && printf "node1\\nnode2\\nnode3\\n"',
        # The first attempt fails: all workers start again.
        "python": f'echo "$TF_CONFIG"; echo "$@"; [ $(wc -l < {tmp_path}/calls) -gt 3 ]',
    }
    programs["srun"] = f"shift; status=0; for SLURM_PROCID in 0 1 2; do export SLURM_PROCID; echo >> {tmp_path}/calls; "
    programs["srun"] += '"$@" || status=1; done; exit $status'

    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-3]"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    hosts = ("node1:12345", "node2:12345", "node3:12345")
    assert [Task.from_config(line) for line in lines[::2]] == 2 * [Task(hosts, i) for i in range(3)]
    for line in lines[1::2]:
        assert line.startswith("train_main.py --strategy=multi_worker --run_dir=")


def test_the_job_for_kubernetes_runs_our_command():
    yaml = pytest.importorskip("yaml")
    ((_, text),) = blocks(PAGE, {"yaml"})
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    assert worker["restartPolicy"] == "OnFailure"
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow", "the operator sets TF_CONFIG in the container of that name only"
    assert container["command"][:2] == ["python", "train_main.py"]
    assert (ROOT / "train_main.py").is_file()
    for flag in container["command"][2:]:
        name = re.match(r"--(\w+)=", flag)[1]
        assert name in train_main.FLAGS
    mounted = {entry["name"] for entry in container["volumeMounts"]}
    assert mounted == {entry["name"] for entry in worker["template"]["spec"]["volumes"]}


def test_what_the_operator_sets_is_understood():
    # As the training operator 1.9 writes it.
    text = json.dumps(
        {
            "cluster": {"worker": [f"imdb-worker-{i}.default.svc:2222" for i in range(4)]},
            "task": {"type": "worker", "index": 3},
            "environment": "cloud",
        }
    )
    assert Task.from_config(text).index == 3
    assert len(Task.from_config(text).addresses) == 4
    assert Path(train_main.__file__).name == "train_main.py"
