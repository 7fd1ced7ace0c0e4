"""Workers meet, or learn why not."""

import concurrent.futures
import contextlib
import json
import socket
import time

import pytest

from keras_transformer.training.launch import free_ports
from keras_transformer.training.rendezvous import Task, differences, meet, own_task


def config(index=0, kind="worker", **cluster):
    return json.dumps({"cluster": cluster or {"worker": ["a:1", "b:2"]}, "task": {"type": kind, "index": index}})


def test_the_chief_is_the_first_wherever_it_stands():
    assert Task.from_config(config(1)) == Task(("a:1", "b:2"), 1)
    assert Task.from_config(config(0)).is_chief
    cluster = {"chief": ["c:3"], "worker": ["a:1", "b:2"]}
    assert Task.from_config(config(0, "chief", **cluster)) == Task(("c:3", "a:1", "b:2"), 0)
    assert Task.from_config(config(1, **cluster)) == Task(("c:3", "a:1", "b:2"), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Received: no TF_CONFIG"),
        ("{", "must be JSON such as .*JSONDecodeError"),
        ("{}", "must be JSON such as .*KeyError: 'cluster'"),
        ("[1]", "must be JSON such as .*TypeError"),
        (config(2), "there are 2 of type 'worker'. Received: index 2"),
        (config(-1), "Received: index -1"),
        (config(True), "Received: index True"),
        (config("0"), "Received: index '0'"),
        (config(0, "evaluator"), "Received: a task of type 'evaluator'"),
        (config(0, worker=["a:1"], ps=["b:2"]), "no parameter servers.*Received: ps"),
        (config(0, worker=["a:1", "a:1"]), "its own address. Received: a:1, a:1"),
        (config(0, worker=["a"]), "is \"host:port\". Received: 'a'"),
        (config(0, worker=["a:70000"]), "Received: 'a:70000'"),
    ],
)
def test_a_wrong_configuration_is_named(text, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=message):
        own_task()


def together(abouts, timeout=20.0, absent=(), pause=0.0):
    """What becomes of workers that meet: an error or None for each."""
    addresses = tuple(f"localhost:{port}" for port in free_ports(len(abouts)))

    def worker(index):
        time.sleep(pause * (len(abouts) - index))  # the chief comes last
        try:
            meet(Task(addresses, index), abouts[index], timeout)
        except Exception as error:
            return error
        return None

    present = [index for index in range(len(abouts)) if index not in absent]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return addresses, list(pool.map(worker, present))


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_workers_that_are_alike_meet(pause):
    addresses, results = together([{"recipe": {"seed": 0}, "versions": (1, 2)}] * 4, pause=pause)
    assert results == [None] * 4
    for address in addresses:  # left to TensorFlow
        socket.create_server(("", int(address.rpartition(":")[2]))).close()


def test_one_worker_needs_nobody():
    meet(Task(("nowhere:1",), 0), {}, timeout=0)


def test_all_are_told_in_what_they_differ():
    same = {"recipe": {"train": {"epochs": 2}, "seed": 0}, "versions": {"keras": "3.15"}}
    other = {"recipe": {"train": {"epochs": 3}, "seed": 0}, "versions": {"keras": "3.14"}}
    addresses, results = together([same, same, other])
    expected = (
        f"All workers must be alike. Received: worker 2 ({addresses[2]}) differs from the chief: recipe.train.epochs "
        "is 3, not 2 and versions.keras is '3.14', not '3.15'"
    )
    assert [(type(error), str(error)) for error in results] == [(ValueError, expected)] * 3


def test_those_who_came_are_told_who_did_not():
    addresses, results = together([{}] * 4, timeout=1.5, absent=(1, 3))
    expected = (
        f"Not all workers came within 1.5 s. Received: nothing from worker 1 ({addresses[1]}) and "
        f"worker 3 ({addresses[3]})"
    )
    assert [(type(error), str(error)) for error in results] == [(TimeoutError, expected)] * 2


def test_a_chief_that_does_not_come_is_named():
    addresses, (error,) = together([{}] * 2, timeout=1.0, absent=(0,))
    assert isinstance(error, TimeoutError)
    assert str(error) == (
        f"worker 1 ({addresses[1]}) has no answer within 1 s. Received: nothing from the chief ({addresses[0]})"
    )


@pytest.mark.parametrize("index", [0, 1])
def test_a_port_in_use_is_named(index):
    addresses = tuple(f"localhost:{port}" for port in free_ports(2))
    with socket.create_server(("", int(addresses[index].rpartition(":")[2]))):
        with pytest.raises(OSError, match=rf"The port of .*{addresses[index]}.* is in use: end the process"):
            meet(Task(addresses, index), {}, timeout=5)


def test_others_who_knock_do_no_harm_and_one_who_comes_back_counts_once():
    addresses = tuple(f"localhost:{port}" for port in free_ports(3))
    chief = ("localhost", int(addresses[0].rpartition(":")[2]))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        welcome = pool.submit(meet, Task(addresses, 0), {}, 20.0)
        time.sleep(0.3)
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"greeting": "x", "index": 1}\n', b""):
            with socket.create_connection(chief, timeout=5) as stranger:
                stranger.sendall(said)
                stranger.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    assert stranger.recv(10) == b""
        # Worker 1 says that it is there, dies, and is started again.
        with socket.create_connection(chief, timeout=5) as first:
            first.sendall(b'{"greeting": "keras_transformer 1", "index": 1, "about": {"old": 1}}\n')
            time.sleep(0.3)
        others = [pool.submit(meet, Task(addresses, index), {}, 20.0) for index in (1, 2)]
        assert [future.result() for future in (welcome, *others)] == [None] * 3


def test_differences_are_named_by_their_place():
    assert differences({"a": {"b": 1, "c": [2]}}, {"a": {"b": 1, "c": [2]}}) == []
    assert differences({"a": {"b": 1}}, {"a": {"b": 2, "d": 3}}) == ["a.b is 2, not 1", "a.d is 3, not None"]
