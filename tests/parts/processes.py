"""Starting and ending real programs: a free port, a wait with a deadline, an end by pid."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """True when somebody accepts connections there."""
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until it is true; AssertionError after so many seconds. For programs outside this process only."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class Program:
    """One program under test, its output in a file, ended by its own pid."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.log = log
        self._file = log.open("ab")
        self.process = subprocess.Popen(
            arguments, stdout=self._file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, cwd=cwd
        )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def wait_for_port(self, port: int, seconds: float = 30) -> None:
        """Wait until it listens; says what it printed when it does not."""

        def ready() -> bool:
            if not self.runs:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.output[-4000:]}")
            return listens(port)

        try:
            wait_until(ready, seconds, f"port {port}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output[-4000:]}") from None

    def stop(self, seconds: float = 30, with_signal: int = signal.SIGTERM) -> int:
        """End it and return its exit code; SIGKILL after the deadline is a failure."""
        if self.runs:
            self.process.send_signal(with_signal)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise AssertionError(f"did not end within {seconds:g} s:\n{self.output[-4000:]}") from None
        finally:
            self._file.close()
        return code

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait(5)
        self._file.close()
