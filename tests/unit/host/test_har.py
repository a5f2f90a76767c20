"""HTTP Archives from skeletons and masked bodies: readable by others, nothing but ASCII, one bad flow costs only itself."""

import json

import pytest
from mitmproxy.io import FlowReader

from addons.core.recording import skeleton
from addons.host.flowfile import RecordedFlow
from addons.host.har import write_har
from tests import harness

FACTS = {"guardhouse-principal": "dev:alice", "guardhouse-rules": ["agents-read-crm"], "guardhouse-seq": [3, 4]}


def recorded(
    number=1, path="/customers/7?q=1", method="GET", answer=b'{"name":"[MASKED:PERSON]"}', body=b"", media="application/json", **state
):
    flow = harness.live_flow(method, path, [("Authorization", "Bearer secret"), ("Cookie", "sid=secret"), ("X-Purpose", "support/1")], body)
    flow.response = harness.http.Response.make(200, b"", {"Content-Type": media, "Set-Cookie": "sid=secret"})
    told = flow.get_state()
    told["id"] = f"flow-{number}"
    return RecordedFlow(f"flow-{number}", skeleton.strip(told | state, lambda text: text), body, answer, FACTS)


def written(tmp_path, *flows):
    target = tmp_path / "case.har"
    count, skipped = write_har(target, flows)
    text = target.read_bytes()
    assert text.isascii()
    return json.loads(text)["log"], count, [one.what for one in skipped]


def test_an_entry_has_request_answer_and_what_was_decided(tmp_path):
    log, count, skipped = written(tmp_path, recorded())
    (entry,) = log["entries"]
    assert (count, skipped, log["version"], log["creator"]["name"]) == (1, [], "1.2", "mitmproxy")
    assert entry["request"]["method"] == "GET"
    assert entry["request"]["url"].endswith("/customers/7?q=1")
    assert entry["request"]["queryString"] == [{"name": "q", "value": "1"}]
    assert entry["response"]["content"]["text"] == '{"name":"[MASKED:PERSON]"}'
    assert entry["_guardhouse"] == {"principal": "dev:alice", "rules": ["agents-read-crm"], "seq": [3, 4]}


def test_credentials_and_cookies_are_not_there(tmp_path):
    log, _, _ = written(tmp_path, recorded())
    assert "secret" not in json.dumps(log)
    assert (log["entries"][0]["request"]["cookies"], log["entries"][0]["response"]["cookies"]) == ([], [])


def test_mitmproxy_reads_it_back(tmp_path):
    written(tmp_path, recorded(), recorded(2, "/customers/8", "POST", b"{}", b'{"city":"Berlin"}'))
    with (tmp_path / "case.har").open("rb") as file:
        first, second = FlowReader(file).stream()
    assert (first.request.path, first.response.json()) == ("/customers/7?q=1", {"name": "[MASKED:PERSON]"})
    assert (second.request.method, second.request.content) == ("POST", b'{"city":"Berlin"}')


def test_a_binary_body_is_base64(tmp_path):
    log, _, _ = written(tmp_path, recorded(answer=b"\x00\xff" * 100, media="application/octet-stream"))
    content = log["entries"][0]["response"]["content"]
    assert content["encoding"] == "base64"


def test_an_answer_without_a_body(tmp_path):
    log, count, _ = written(tmp_path, recorded(answer=None))
    assert (count, log["entries"][0]["response"]["content"]["text"]) == (1, "")


@pytest.mark.parametrize(
    "bad", [b"", b"junk", skeleton.strip(harness.live_flow().get_state(), lambda text: "\udc80")], ids=["empty", "junk", "surrogates"]
)
def test_a_flow_that_cannot_be_written_is_named_and_the_rest_is_there(tmp_path, bad):
    log, count, skipped = written(tmp_path, recorded(1), RecordedFlow("bad", bad), recorded(2))
    assert count == len(log["entries"])
    assert count == 3 - len(skipped) and skipped in ([], ["bad"])


def test_nothing_is_an_archive_without_entries(tmp_path):
    log, count, _ = written(tmp_path)
    assert (count, log["entries"]) == (0, [])
