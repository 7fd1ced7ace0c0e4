"""How the workers of one training find each other before TensorFlow starts, and see that they are alike.

TensorFlow waits for its peers without end and without a word. So the chief, the first worker, listens at its own
address until all have come, compares what they say of themselves, and answers "go", or the reason why not. Then it
leaves the port to TensorFlow.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

_GREETING = "keras_transformer 1"
_PAUSE = 0.2  # seconds between two tries to reach the chief
_PATIENCE = 5.0  # seconds that somebody who has come may take to say who it is
_LINE = 1 << 20  # bytes that may be said


@dataclasses.dataclass(frozen=True)
class Task:
    """Which of the workers this process is.

    Args:
        addresses: "host:port" of every worker, that of the chief first.
        index: int, place of this process among them.

    Raises:
        ValueError: For an address without a port, or one that stands twice.

    Example:
        ```python
        from keras_transformer.training.rendezvous import Task

        task = Task.from_config('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
        assert task == Task(("a:1", "b:1"), 1)
        ```
    """

    addresses: tuple[str, ...]
    index: int

    def __post_init__(self) -> None:
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f'TF_CONFIG: an address is "host:port". Received: {address!r}')
        if len(set(self.addresses)) != len(self.addresses):
            raise ValueError(f"TF_CONFIG: every worker has its own address. Received: {', '.join(self.addresses)}")

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker that writes the files."""
        return self.index == 0

    @property
    def name(self) -> str:
        """The worker as people are told of it."""
        return self.name_of(self.index)

    def name_of(self, index: int) -> str:
        """Returns "the chief (host:port)" or "worker 1 (host:port)"."""
        return f"{f'worker {index}' if index else 'the chief'} ({self.addresses[index]})"

    @classmethod
    def from_config(cls, text: str | None) -> "Task":
        """Reads what TensorFlow expects in the environment variable TF_CONFIG.

        Args:
            text: str, JSON such as `{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index":
                0}}`; the chief may stand under "chief", or is the first worker.

        Raises:
            ValueError: If it is missing or wrong.
        """
        if not text:
            raise ValueError(
                "Strategy 'multi_worker' reads TF_CONFIG, which names all workers and this one; --local_workers=2 sets "
                "it for workers on this machine. Received: no TF_CONFIG"
            )
        try:
            config = json.loads(text)
            cluster, kind, index = config["cluster"], config["task"]["type"], config["task"]["index"]
            jobs = {job: list(addresses) for job, addresses in cluster.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
                f'"index": 0}}}}. Received: {text!r} ({type(error).__name__}: {error})'
            ) from error
        unknown = sorted(set(jobs) - {"chief", "worker"})
        if unknown or kind not in jobs:
            raise ValueError(
                "TF_CONFIG: workers are of the type 'worker', one may be the 'chief'; there are no parameter servers "
                f"or evaluators. Received: {', '.join(unknown) or f'a task of type {kind!r}'}"
            )
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(jobs[kind]):
            raise ValueError(f"TF_CONFIG: there are {len(jobs[kind])} of type {kind!r}. Received: index {index!r}")
        before = len(jobs.get("chief", ())) if kind == "worker" else 0
        return cls((*jobs.get("chief", ()), *jobs.get("worker", ())), before + index)


def meet(task: Task, about: Mapping[str, Any], timeout: float) -> None:
    """Waits until all workers are there, and makes sure that they are alike.

    Args:
        task: `Task` of this process.
        about: JSON values that must be equal for all workers, such as the recipe; nested dicts are compared by key.
        timeout: float, seconds to wait.

    Raises:
        TimeoutError: If a worker does not come in time; the message names it.
        ValueError: If the workers differ; the message says in what.
        OSError: If the port is in use.
    """
    if len(task.addresses) == 1:
        return
    deadline = time.monotonic() + timeout
    about = json.loads(json.dumps(about))
    try:
        listener = socket.create_server(("", int(task.addresses[task.index].rpartition(":")[2])))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            error.errno,
            f"The port of {task.name} is in use: end the process that has it, or give another port in TF_CONFIG",
        ) from error
    with listener:
        if task.is_chief:
            _welcome(listener, task, about, deadline, timeout)
    if not task.is_chief:
        _join(task, about, deadline, timeout)


def _welcome(listener: socket.socket, task: Task, about: dict, deadline: float, timeout: float) -> None:
    """Waits for the others and answers all of them alike."""
    present: dict[int, tuple[socket.socket, dict]] = {}
    error: Exception | None = None
    with contextlib.ExitStack() as stack:
        while len(present) < len(task.addresses) - 1:
            listener.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                connection = stack.enter_context(listener.accept()[0])
            except TimeoutError:
                missing = [task.name_of(i) for i in range(1, len(task.addresses)) if i not in present]
                error = TimeoutError(
                    f"Not all workers came within {timeout:g} s. Received: nothing from {_and(missing)}"
                )
                break
            said = _receive(connection, min(deadline, time.monotonic() + _PATIENCE))
            said = said if isinstance(said, dict) and said.get("greeting") == _GREETING else {}
            index = said.get("index")
            if index not in range(1, len(task.addresses)):
                connection.close()  # somebody else
                continue
            present[index] = (connection, said["about"])  # the newer one, if it has come back
            logger.info("%s has come: %d of %d", task.name_of(index), len(present) + 1, len(task.addresses))
        if error is None:
            found = [
                f"{task.name_of(i)} differs from the chief: {_and(differing)}"
                for i, (_, theirs) in sorted(present.items())
                if (differing := differences(about, theirs))
            ]
            error = ValueError(f"All workers must be alike. Received: {'; '.join(found)}") if found else None
        answer = {"go": error is None, "error": str(error), "kind": type(error).__name__}
        for connection, _ in present.values():
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")
                connection.settimeout(1)
                connection.recv(1)  # they close first, so that the port is free at once
    if error is not None:
        raise error


def _join(task: Task, about: dict, deadline: float, timeout: float) -> None:
    """Tells the chief that this worker is there, and waits for its answer."""
    host, _, port = task.addresses[0].rpartition(":")
    greeting = json.dumps({"greeting": _GREETING, "index": task.index, "about": about}).encode() + b"\n"
    while (left := deadline - time.monotonic()) > 0:
        answer = None
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=left) as connection:
            connection.sendall(greeting)
            answer = _receive(connection, deadline + _PATIENCE)  # the chief, too, waits until then, and says for whom
        if isinstance(answer, dict) and "go" in answer:
            if answer["go"]:
                return
            raise {"TimeoutError": TimeoutError}.get(answer["kind"], ValueError)(answer["error"])
        time.sleep(_PAUSE)  # not there yet, or still the server of the training before
    raise TimeoutError(f"{task.name} has no answer within {timeout:g} s. Received: nothing from {task.name_of(0)}")


def _receive(connection: socket.socket, deadline: float) -> Any:
    """Returns the JSON of one line, or None for anything else."""
    data = b""
    with contextlib.suppress(OSError, ValueError):
        while not data.endswith(b"\n") and len(data) < _LINE:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            more = connection.recv(65536)
            if not more:
                return None
            data += more
        return json.loads(data)
    return None


def differences(ours: Any, theirs: Any, name: str = "") -> list[str]:
    """Returns what differs, as "train.epochs is 3, not 2".

    Args:
        ours: JSON value.
        theirs: JSON value.
        name: str, dotted name of the value. Default: none.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for key in sorted({*ours, *theirs})
            for line in differences(ours.get(key), theirs.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if ours == theirs else [f"{name} is {theirs!r}, not {ours!r}"]


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def own_task() -> Task:
    """Returns the task that the environment variable TF_CONFIG describes.

    Raises:
        ValueError: If it is missing or wrong.
    """
    return Task.from_config(os.environ.get("TF_CONFIG"))
