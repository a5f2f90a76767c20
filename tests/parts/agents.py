"""A gateway with the example of policies/README.md, "Agents and LLMs", before a real MCP server and an OpenAI-like model API."""

import json
import socket
import sys
from pathlib import Path

from tests.parts import agents_example
from tests.parts.gateway import Gateway
from tests.parts.processes import Program, free_ports, wait_until

PARTS = Path(__file__).parent
MODELS_KEY = "sk-upstream-7f3a9c1e5b2d8046"
SAYS = {"X-Purpose": "demo/tour"}


class Site:
    """The gateway and the two upstreams."""

    def __init__(self, home: Path, mcp_modes: tuple[str, ...] | None, hold_timeout: str = "2s") -> None:
        self.modes = mcp_modes
        self.tokens: dict[str, str] = {}
        self.ports = dict(zip(agents_example.PORTS, free_ports(len(agents_example.PORTS)), strict=True))
        held = [socket.create_server(("127.0.0.1", self.ports[port])) for port in (8450, 8451)]  # the gateway's own ports are others
        self.mcp: Program | None = None
        if mcp_modes is not None:
            server = [sys.executable, "-W", "ignore", str(PARTS / "mcp_server.py"), str(self.ports[8460]), *mcp_modes]
            self.mcp = Program(server, home / "mcp.log")
            self.mcp.wait_for_port(self.ports[8460])
        self.models = Program([sys.executable, str(PARTS / "llm_upstream.py"), str(self.ports[8461]), MODELS_KEY], home / "models.log")

        def edit(name: str, text: str) -> str:
            text = text.replace("hold_timeout: 50s", f"hold_timeout: {hold_timeout}") if name == "approvals.yaml" else text
            return agents_example.added_to(name, text, self.ports)

        self.models.wait_for_port(self.ports[8461])
        self.gateway = Gateway(home, edit, environment={"MODELS_KEY": MODELS_KEY})
        for one in held:
            one.close()
        self.gateway.start()

    @property
    def tools_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[8450]}/mcp"

    @property
    def models_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[8451]}/v1"

    def token(self, name: str) -> str:
        """A token of one of the example's people, made once: each start of the command line costs a second."""
        if name not in self.tokens:
            self.tokens[name] = self.gateway.token(name)
        return self.tokens[name]

    def calls(self, port: int) -> list[str]:
        """What the upstream itself says that it was asked."""
        found: list[str] = self.gateway.request("GET", f"http://127.0.0.1:{self.ports[port]}/calls").json
        return found

    def pending(self, text: str) -> dict:
        """The card of the approval that waits for this operation."""
        found: list[dict] = []

        def is_there() -> bool:
            listed = self.gateway.request("GET", self.gateway.control + "/v1/approvals?state=pending", self.token("bob")).json
            found[:] = [card for card in listed["approvals"] if text in card["operation"]["text"]]
            return bool(found)

        wait_until(is_there, 30, f"a pending approval for {text}")
        return found[0]

    def approve(self, card: dict) -> None:
        """Bob agrees, over REST."""
        said = {"effect": "approve", "digest": card["digest"], "reason": "Agreed with the customer", "grant": {"kind": "one_time"}}
        url = f"{self.gateway.control}/v1/approvals/{card['id']}/decision"
        headers = {"Content-Type": "application/json"}
        done = self.gateway.request("POST", url, self.token("bob"), json.dumps(said).encode(), headers)
        assert done.status == 200, done.text

    def stop(self) -> None:
        """End everything; the gateway cleanly."""
        code = self.gateway.stop()
        if self.mcp is not None:
            self.mcp.stop()
        self.models.stop()
        assert code == 0, self.gateway.output[-3000:]
