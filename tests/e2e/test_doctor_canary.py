"""`guardhouse doctor --canary` against a real gateway: it finds nothing, and finds what leaked on purpose."""

import json
import re

import pytest

from tests.parts.canaries import cells
from tests.parts.gateway import Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
RULES = """
  - name: the-canary-echoes
    match: {services: [crm, echo], methods: [GET, POST], principals: {kinds: [human]}}
    effect: allow
    mask: [pii]
    audit: RequestResponse
"""
LEAKY = '''
import gzip
from mitmproxy import http

class Leaky:
    """What no operator should add: keeps what passes."""
    def request(self, flow: http.HTTPFlow) -> None:
        print("seen", flow.request.content, flush=True)
        with open("recordings/debug.bin", "ab") as file:
            file.write(gzip.compress(flow.request.content))

addons = [Leaky()]
'''


def edited(name: str, text: str) -> str:
    """Both services on both listeners, and /echo may be called."""
    if name == "gateway.yaml":
        return text.replace("services: [crm]", "services: [crm, echo]").replace("per_person: 10/s", "per_person: 1000/s")
    return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("canary"), edited).start()
    yield gateway
    gateway.stop()


def canary(gateway: Gateway, name: str, *arguments: str):
    done = gateway.cli("doctor", "--canary", "--json", *arguments, token=gateway.token(name), timeout=120)
    lines = [json.loads(line) for line in done.text.splitlines()]
    return done, [line["found"] for line in lines[:-1]], lines[-1] if lines else {}


def test_nothing_is_found(site):
    done, found, summary = canary(site, "carol", "--log", str(site.home / "gateway.log"))
    assert found == []
    assert done.status == 0, done.headers["stderr"]
    assert summary["planted"] > 1000 and summary["requests"] > 250
    assert summary["answers"]["200"] > 50 and summary["answers"]["202"] >= 1 and summary["answers"]["401"] > 50
    assert summary["passed_on"] > 50 and "500" not in summary["answers"]
    assert set(summary["looked_at"]) == {"approvals", "answers", "cells", "exports", "recordings", "logs"}
    assert min(summary["looked_at"].values()) > 0, summary


def test_what_it_held_is_withdrawn(site):
    assert canary(site, "alice", "--service", "crm")[0].status == 0  # who may not search either
    listed = site.request("GET", site.control + "/v1/approvals?state=pending", site.token("bob")).json
    assert listed["approvals"] == []


def test_leaks_on_purpose_are_found_and_named_without_the_value(tmp_path):
    (tmp_path / "leaky.py").write_text(LEAKY)

    def edit(name: str, text: str) -> str:
        text = text.replace("extra_scripts: []", f"extra_scripts: [{tmp_path / 'leaky.py'}]") if name == "gateway.yaml" else text
        return edited(name, text)

    gateway = Gateway(tmp_path / "home", edit, arguments=("-s", str(tmp_path / "leaky.py"))).start()
    try:
        log = str(gateway.home / "gateway.log")
        done, found, summary = canary(gateway, "carol", "--service", "crm", "--log", log)
        table = gateway.cli("doctor", "--canary", "--service", "crm", "--log", log, token=gateway.token("carol"), timeout=120)
    finally:
        gateway.stop()
    assert (done.status, summary["found"]) == (1, len(found))
    assert {one["where"] for one in found} == {log, "debug.bin"}
    assert {one["info_type"] for one in found} >= {"EMAIL_ADDRESS", "CREDIT_CARD", "US_SSN", "IBAN_CODE", "PHONE_NUMBER", "SECRET"}
    assert {one["spelling"] for one in found} >= {"plain", "percent-encoded", "base64"}
    assert {"local/crm: json", "local/crm: form over HTTP/2", "local-cleartext/crm: broken json"} <= {one["planted"] for one in found}
    assert table.status == 1
    assert not re.search(r"AKIA|initech|536-[0-9]|eyJ", done.text + table.text + done.headers["stderr"])
    assert list(cells(gateway.store)) and "found" in table.text
