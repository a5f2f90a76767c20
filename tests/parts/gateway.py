"""A real gateway: `mitmdump -s addons/stack.py` on the shipped example policies, moved to free ports and a folder of its own."""

import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.parts.processes import Program, free_ports, wait_until

ROOT = Path(__file__).parents[2]
EXAMPLE_PORTS = (8442, 8443, 8444, 8445, 8446)
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Gateway:
    """One gateway on its own ports, state and store."""

    home: Path
    edit: Callable[[str, str], str] = lambda name, text: text  # (file name, text) -> text, for other policies
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    program: Program | None = None

    def __post_init__(self) -> None:
        self.ports = dict(zip(EXAMPLE_PORTS, free_ports(len(EXAMPLE_PORTS)), strict=True))
        self.policies = self.home / "policies"
        self.policies.mkdir(parents=True, exist_ok=True)
        self.write_policies()

    def write_policies(self) -> None:
        """Copy the shipped files, with the ports replaced and `edit` applied."""
        for source in (ROOT / "policies").glob("*.yaml"):
            text = re.sub(r"\b844[2-6]\b", lambda found: str(self.ports[int(found.group())]), source.read_text())
            (self.policies / source.name).write_text(self.edit(source.name, text))

    @property
    def env(self) -> dict[str, str]:
        """The environment in which the gateway runs, and the command line finds it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GUARDHOUSE_")}
        return {
            **kept,
            "GUARDHOUSE_POLICIES": str(self.policies),
            "GUARDHOUSE_STATE": str(self.home / "state"),
            **self.environment,
        }

    @property
    def store(self) -> Path:
        return self.home / "recordings" / "audit.db"

    @property
    def cleartext(self) -> str:
        return f"http://127.0.0.1:{self.ports[8442]}"

    @property
    def tls(self) -> str:
        return f"https://127.0.0.1:{self.ports[8443]}"

    @property
    def control(self) -> str:
        return f"https://127.0.0.1:{self.ports[8444]}"

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.ports[8445]}"

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.ports[8446]}"

    @property
    def ca(self) -> Path:
        return self.home / "state" / "certificates" / "ca.pem"

    @property
    def output(self) -> str:
        return self.program.output if self.program else ""

    def start(self, wait: bool = True) -> "Gateway":
        mitmdump = [sys.executable, "-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"]
        command = [*mitmdump, "-s", str(ROOT / "addons" / "stack.py"), *self.arguments]
        self.program = Program(command, self.home / "gateway.log", self.env, cwd=self.home)
        if wait:
            self.program.wait_for_port(self.ports[8442], START_SECONDS)
            wait_until(lambda: self.request("GET", self.control + "/readyz").status == 200, START_SECONDS, f"ready\n{self.output}")
        return self

    def stop(self) -> int:
        assert self.program is not None
        return self.program.stop()

    def token(self, name: str, **form: str) -> str:
        """A token of one of the example's people, from the development issuer."""
        done = self.cli("dev", "token", name, *(part for key, value in form.items() for part in (f"--{key}", value)))
        assert done.status == 0, done.text
        return done.text.strip()

    def request(
        self,
        method: str,
        url: str,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Answer:
        """One request by Python's own client, which adds nothing and follows nothing."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        asked = urllib.request.Request(url, body, sent, method=method)
        context = ssl.create_default_context(cafile=str(self.ca)) if url.startswith("https") and self.ca.exists() else None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect())
        try:
            with opener.open(asked, timeout=timeout) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())
        except (urllib.error.URLError, OSError) as error:
            return Answer(0, {}, str(error).encode())

    def cli(self, *arguments: str, token: str | None = None, stdin: bytes | None = None, timeout: float = 60) -> Answer:
        """Run the command line as its user would; `status` is the exit code, `body` standard output."""
        import subprocess

        environment = {**self.env, **({"GUARDHOUSE_TOKEN": token} if token else {})}
        done = subprocess.run(
            [sys.executable, "-m", "addons.cli.main", *arguments],
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            cwd=self.home,
            check=False,
        )
        return Answer(done.returncode, {"stderr": done.stderr.decode(errors="replace")}, done.stdout)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None
