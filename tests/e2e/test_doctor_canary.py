"""`guardhouse doctor --canary` against a real gateway: it finds nothing, and finds what leaked on purpose."""

import json
import re

import pytest

from tests.parts.canaries import cells
from tests.parts.gateway import Gateway

pytestmark = pytest.mark.e2e
RULES = """
  - name: the-canary-echoes
    match: {services: [crm, echo], methods: [GET, POST], principals: {kinds: [human]}}
    effect: allow
    mask: [pii]
    audit: RequestResponse
"""
LEAKY = '''
import json
from mitmproxy import http

class Leaky:
    """What no operator should add: prints what passes."""
    def request(self, flow: http.HTTPFlow) -> None:
        print("request", json.dumps(flow.request.get_text(strict=False)), flush=True)

addons = [Leaky()]
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    home = tmp_path_factory.mktemp("canary")
    leaky = tmp_path_factory.mktemp("leaky") / "leaky.py"
    leaky.write_text(LEAKY)

    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            text = text.replace("services: [crm]", "services: [crm, echo]").replace("per_person: 10/s", "per_person: 1000/s")
            return text
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text

    gateway = Gateway(home, edit=edit).start()
    yield gateway
    gateway.stop()


def canary(gateway: Gateway, name: str, *arguments: str):
    done = gateway.cli("doctor", "--canary", "--json", *arguments, token=gateway.token(name), timeout=120)
    lines = [json.loads(line) for line in done.text.splitlines()]
    return done, [line["found"] for line in lines[:-1]], lines[-1] if lines else {}


def test_nothing_is_found(site):
    done, found, summary = canary(site, "carol", "--log", str(site.home / "gateway.log"))
    assert found == [], done.headers["stderr"]
    assert done.status == 0, done.headers["stderr"]
    assert summary["planted"] > 500 and summary["requests"] > 200
    assert set(summary["looked_at"]) == {"approvals", "answers", "cells", "exports", "recordings", "logs"}
    assert min(summary["looked_at"].values()) > 0, summary
