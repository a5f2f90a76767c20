"""What people see before they approve is all that will be sent: no part of it can be smuggled past their eyes."""

import gzip
import json

import pytest

from tests.attacks.gateway.conftest import Site

pytestmark = pytest.mark.e2e

AT_ONCE = "Prefer: respond-async\r\n"
JSON = "Content-Type: application/json\r\n"


def opened(site: Site, path: str, more: str = "", body: bytes = b""):
    """Ask for a held request; return the ticket and its card as a reviewer sees it."""
    ticket = json.loads(site.ask(path, "DELETE", more=more + AT_ONCE, body=body).body)
    bob = site.gateway.token("bob")
    card = site.gateway.request("GET", f"{site.gateway.control}/v1/approvals/{ticket['approval_id']}", bob).json
    said = {"effect": "approve", "digest": ticket["digest"], "reason": "agreed in the change board"}
    url = f"{site.gateway.control}/v1/approvals/{ticket['approval_id']}/decision"
    vote = site.gateway.request("POST", url, bob, json.dumps(said).encode(), {"Content-Type": "application/json"})
    return card, vote.status


def test_headers_that_change_what_happens_are_shown(site):
    card, vote = opened(site, "/card/1", "X-Delete-All: true\r\nX-Owner: zoe.quill@corp-mail.example\r\nCookie: a=b\r\n")
    headers = dict(card["request"]["headers"])
    assert headers["x-delete-all"] == "true"
    assert headers["x-owner"].endswith("@masked.invalid")
    assert not {"authorization", "cookie", "x-purpose"} & headers.keys()
    assert vote == 200


def test_a_key_that_comes_twice_is_shown_twice(site):
    card, vote = opened(site, "/card/2", JSON, b'{"id": 1,\n\n\n\n"id": 99}')
    assert card["body"]["text"].count('"id"') == 2
    assert vote == 200


@pytest.mark.parametrize(
    ("name", "more", "body"),
    [
        pytest.param("gzip", JSON + "Content-Encoding: gzip\r\n", gzip.compress(b"{}"), id="compressed"),
        pytest.param("utf-7", "Content-Type: text/plain; charset=utf-7\r\n", b"+ADw-", id="another-charset"),
        pytest.param("ebcdic", "Content-Type: text/plain; charset=cp500\r\n", "keep".encode("cp500"), id="a-charset-nobody-reads"),
        pytest.param("octets", "Content-Type: application/octet-stream\r\n", b"rm -rf /", id="no-text"),
        pytest.param("wide", "Content-Type: text/plain\r\n", "delete".encode("utf-16-le"), id="wide-characters"),
    ],
)
def test_what_cannot_be_shown_cannot_be_approved(site, name, more, body):
    card, vote = opened(site, f"/card/{name}", more, body)
    assert (card["body"]["complete"], card["body"]["text"], vote) == (False, "", 422)
