"""Starts the demo gateway in a temporary folder; the tour itself is in `_tour.py`."""

import argparse
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE_PORTS = (8442, 8443, 8444, 8445, 8446)
START_SECONDS = 60
MITMDUMP = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]


@dataclass
class Demo:
    """One demo gateway: its folder, its ports, its process."""

    home: Path
    ports: Mapping[int, int]
    process: subprocess.Popen[bytes] | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GUARDHOUSE_")}
        return {**kept, "GUARDHOUSE_POLICIES": str(self.home / "policies"), "GUARDHOUSE_STATE": str(self.home / "state")}

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.ports[8442]}"

    @property
    def control(self) -> str:
        return f"https://127.0.0.1:{self.ports[8444]}"

    @property
    def store(self) -> Path:
        return self.home / "recordings" / "audit.db"

    @property
    def log(self) -> Path:
        return self.home / "gateway.log"

    def start(self) -> None:
        """Start mitmdump with the stack and wait until it is ready. SystemExit with its output when it is not."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*MITMDUMP, "-s", str(ROOT / "addons" / "stack.py")],
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self._ready():
                return
            time.sleep(0.1)
        sys.exit(f"The gateway did not start. What it said:\n{self.log.read_text(errors='replace')[-4000:]}")

    def _ready(self) -> bool:
        ca = self.home / "state" / "certificates" / "ca.pem"
        if not ca.exists():
            return False
        try:
            with urllib.request.urlopen(self.control + "/readyz", context=ssl.create_default_context(cafile=str(ca)), timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> int:
        """SIGTERM, and the exit code of a clean drain."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def guardhouse(self, *arguments: str, person: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line, as that person."""
        environment = {**self.environment, **({"GUARDHOUSE_TOKEN": self.token(person)} if person else {})}
        return subprocess.run(
            [sys.executable, "-m", "addons.cli.main", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.home,
        )

    def token(self, person: str) -> str:
        """A token of one of the example's people, minted once."""
        if person not in self.tokens:
            done = self.guardhouse("dev", "token", person)
            if done.returncode != 0:
                raise AssertionError(f"guardhouse dev token {person}: {done.stderr.strip()}")
            self.tokens[person] = done.stdout.strip()
        return self.tokens[person]


def free(port: int) -> bool:
    """True when nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_ports() -> dict[int, int]:
    """The example's own ports where they are free, others where not."""
    chosen: dict[int, int] = {}
    for port in EXAMPLE_PORTS:
        candidate = port
        while not free(candidate) or candidate in chosen.values():
            candidate += 100
        chosen[port] = candidate
    return chosen


def prepare(home: Path) -> Demo:
    """Copy the shipped policies into the demo's folder, with ports that are free."""
    ports = choose_ports()
    (home / "policies").mkdir(parents=True)
    for source in (ROOT / "policies").glob("*.yaml"):
        text = re.sub(r"\b844[2-6]\b", lambda found: str(ports[int(found.group())]), source.read_text(encoding="utf-8"))
        (home / "policies" / source.name).write_text(text, encoding="utf-8")
    return Demo(home, ports)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Guardhouse in five minutes, with an example service and issuer.")
    parser.add_argument("--check", action="store_true", help="walk the tour, check every answer, print a line per step, exit 0 or 1")
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder behind")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="guardhouse-demo-"))
    demo = prepare(home)
    sys.path.insert(0, str(ROOT / "scripts"))
    import _tour  # beside this file; scripts/ is not a package

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print("Starting the gateway, its example service and its example issuer (the detector loads; some seconds) ...", flush=True)
        demo.start()
        if options.check:
            return _tour.check(demo)
        _tour.show(demo)
        assert demo.process is not None
        return demo.process.wait()
    except KeyboardInterrupt:
        print("\nStopping ...", flush=True)
        return 0
    finally:
        if demo.process is not None and demo.process.poll() is None:
            demo.stop()
        if options.keep:
            print(f"Left behind: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
