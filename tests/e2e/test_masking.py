"""Masking through a real gateway: every coding, framing and cut gives the same masked body; what cannot be masked is withheld."""

import base64
import json

import httpx
import pytest

from tests.parts import masking_upstream as upstream
from tests.parts.gateway import Gateway

pytestmark = pytest.mark.e2e
RULE = """
  - name: odd-is-used
    match: {services: [odd], principals: {kinds: [human, agent]}}
    effect: allow
    mask: [pii]
"""

SPELLINGS = [
    spelling
    for value in upstream.CLEAR
    for spelling in (value, base64.b64encode(value)[:-4], value.replace(b"@", b"%40"), value.hex().encode())
]


@pytest.fixture(scope="module")
def odd():
    running = upstream.Upstream()
    yield running
    running.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, odd):
    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            service = f"  - {{name: odd, kind: http, url: 'http://127.0.0.1:{odd.port}', hosts: [odd.localhost], credential: null}}\n"
            text = text.replace("services: [crm, echo]", "services: [crm, echo, odd]").replace("services: [crm]", "services: [crm, odd]")
            return text.replace("\naudit:\n", f"\n{service}\naudit:\n")
        return text.replace("\nrules:\n", "\nrules:\n" + RULE.lstrip("\n"), 1) if name == "rules.yaml" else text

    running = Gateway(tmp_path_factory.mktemp("masking"), edit=edit).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def headers(gateway):
    return {"Authorization": f"Bearer {gateway.token('planner')}", "X-Purpose": "demo/tour", "Host": "odd.localhost"}


@pytest.fixture(scope="module")
def clients(gateway, headers):
    with (
        httpx.Client(base_url=gateway.cleartext, headers=headers, timeout=30, trust_env=False) as plain,
        httpx.Client(base_url=gateway.tls, headers=headers, http2=True, verify=str(gateway.ca), timeout=30, trust_env=False) as h2,
    ):
        yield {"h1": plain, "h2": h2}


@pytest.fixture(scope="module")
def masked(clients):
    answer = clients["h1"].get("/body")
    assert answer.status_code == 200, answer.text
    return answer.content


def test_nothing_is_in_clear_and_the_shape_is_kept(masked):
    assert not any(value in masked for value in upstream.CLEAR)
    before, after = json.loads(upstream.BODY), json.loads(masked)
    assert list(before) == list(after)
    assert (after["n"], after["ok"]) == (1.5, True)
    assert b'"n": 1.5, "ok": true}' in masked


@pytest.mark.parametrize("client", ["h1", "h2"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("coding", upstream.CODINGS)
def test_row_1_the_same_body_in_every_coding_and_framing(clients, masked, coding, framing, client):
    answer = clients[client].get(f"/body?v={coding}-{framing}-0", headers={"Accept-Encoding": "gzip, br, zstd"})
    assert answer.http_version == ("HTTP/2" if client == "h2" else "HTTP/1.1")
    assert answer.content == masked
    assert "content-encoding" not in answer.headers
    assert "corp.example" not in answer.headers["x-user"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_row_2_a_cut_at_any_byte_changes_nothing(clients, masked, framing):
    size = len(upstream.answer(f"/body?v=identity-{framing}-0", False)[1])
    for cut in range(1, size):
        assert clients["h1"].get(f"/body?v=identity-{framing}-{cut}").content == masked, cut


@pytest.mark.parametrize("reason", upstream.BROKEN)
def test_row_12_what_cannot_be_masked_is_withheld(clients, reason):
    for client in clients.values():
        answer = client.get(f"/broken/{reason}")
        assert answer.status_code == 502
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "unmaskable"
        assert answer.json()["reason"] == reason
        assert not any(value in answer.content for value in upstream.CLEAR)


def test_row_15_head_and_tags_and_ranges(clients, odd, masked):
    first = clients["h1"].get("/body?v=gzip-length-0", headers={"Range": "bytes=0-3"})
    assert first.content == masked
    assert "original" not in first.headers["etag"]
    clients["h1"].get("/body?v=gzip-length-0", headers={"If-None-Match": first.headers["etag"]})
    assert b'if-none-match: "original"' in odd.seen[-1].lower()
    clients["h1"].get("/body?v=gzip-length-0", headers={"If-None-Match": '"original"'})
    assert b"if-none-match" not in odd.seen[-1].lower()
    head = clients["h1"].head("/body?v=gzip-length-0")
    assert head.status_code == 200
    assert head.headers.get("content-length") in (None, "0")
    assert b"range:" not in b"".join(odd.seen).lower()


def test_row_7_a_mask_does_not_travel_back(clients, odd, masked):
    before = len(odd.seen)
    document = json.loads(masked)
    for client in clients.values():
        for value in document.values():
            if isinstance(value, str):
                answer = client.put("/body", json={"deep": [value]})
                assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "write-back", "/deep/0")
        assert client.get("/body", params={"email": document["email"]}).status_code in (403, 422)
    assert len(odd.seen) == before


def test_row_23_a_masked_field_cannot_be_filtered_by(clients, odd):
    before = len(odd.seen)
    answer = clients["h1"].get("/body", params={"sort": "-email"})
    assert (answer.status_code, answer.json()["code"]) == (403, "masked-field-filter")
    assert len(odd.seen) == before
    assert clients["h1"].get("/body", params={"sort": "n"}).status_code == 200


def test_row_17_no_planted_value_lies_anywhere_on_disk(gateway, clients, masked):
    clients["h1"].post("/body", content=upstream.BODY, headers={"Content-Type": "application/json"})
    clients["h1"].post("/body", data={"email": "ann@corp.example", "password": "hunter2"})
    clients["h1"].get("/broken/syntax")
    clients["h1"].get("/body", headers={"X-Api-Token": "hunter2"})
    for form in ("jsonl", "flows"):
        target = gateway.home / f"everything.{form}"
        done = gateway.cli("export", "--format", form, "service:odd", "-o", str(target), token=gateway.token("carol"))
        assert done.status == 0, done.headers["stderr"]
        assert target.stat().st_size > 10_000
    found = []
    for path in [*gateway.home.rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            found += [(path.name, value) for value in SPELLINGS if value in data]
    assert found == []
