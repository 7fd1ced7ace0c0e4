"""The memory of the running process, as Linux tells it."""

import pathlib


def resident(field: str = "VmRSS") -> int:
    """Returns a figure of this process in bytes.

    Args:
        field: "VmRSS", resident now (default), or "VmHWM", the peak of it.

    Raises:
        RuntimeError: Where there is no /proc.

    Example:
        ```python
        from keras_transformer.plan.process import resident

        assert 0 < resident() <= resident("VmHWM")
        ```
    """
    path = pathlib.Path("/proc/self/status")
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"Linux is needed to measure memory. Received: no {field} in {path}")


def reset_peak() -> None:
    """Lets the peak of resident memory start anew from what is resident now."""
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
