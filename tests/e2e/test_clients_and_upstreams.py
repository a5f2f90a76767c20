"""Unmodified clients reach upstreams that nobody here wrote, masked, over HTTP/1.1 and HTTP/2."""

import json
import shutil
import subprocess

import httpx
import pytest
import requests

from tests.parts.upstreams import PAGE

pytestmark = pytest.mark.e2e
PURPOSE = {"X-Purpose": "demo/tour"}


def bearer(gateway, person="planner"):
    return {"Authorization": f"Bearer {gateway.token(person)}", **PURPOSE}


@pytest.fixture(scope="module")
def headers(gateway):
    return bearer(gateway)


class TestJsonServer:
    def test_requests_reads_masked_people(self, gateway, needs, headers):
        answer = requests.get(f"{gateway.cleartext}/people", headers={**headers, "Host": needs("jsonserver")}, timeout=30)
        assert answer.status_code == 200
        people = answer.json()
        assert [person["id"] for person in people] == [1, 2]
        assert "corp.example" not in answer.text and "555 0187" not in answer.text
        assert people[0]["city"] == "Zürich"
        assert "etag" not in answer.headers or answer.headers["etag"].startswith('W/"')

    def test_httpx_over_http2(self, gateway, needs, headers):
        with httpx.Client(http2=True, verify=str(gateway.ca)) as client:
            answer = client.get(f"{gateway.tls}/people/1", headers={**headers, "Host": needs("jsonserver")})
        assert answer.http_version == "HTTP/2"
        assert answer.status_code == 200
        assert "corp.example" not in answer.text

    def test_the_answer_to_a_write_is_masked_too(self, gateway, needs, headers):
        answer = requests.patch(
            f"{gateway.cleartext}/people/2", json={"city": "Bern"}, headers={**headers, "Host": needs("jsonserver")}, timeout=30
        )
        assert answer.status_code == 200
        assert answer.json()["city"] == "Bern"
        assert "corp.example" not in answer.text


class TestNginx:
    def test_gzip_text_is_masked(self, gateway, needs, headers):
        answer = requests.get(
            f"{gateway.cleartext}/page.txt", headers={**headers, "Host": needs("nginx"), "Accept-Encoding": "gzip"}, timeout=30
        )
        assert answer.status_code == 200
        assert "ann.lee@corp.example" not in answer.text and "4111 1111 1111 1111" not in answer.text
        assert answer.text.endswith("\nNothing else.\n")
        assert len(answer.text.splitlines()) == len(PAGE.splitlines())

    def test_what_holds_nothing_comes_byte_for_byte(self, gateway, needs, headers):
        answer = requests.get(f"{gateway.cleartext}/clean.json", headers={**headers, "Host": needs("nginx")}, timeout=30)
        assert answer.content == b'{"b": 1.0, "a": [1, 2,   3]}\n'

    def test_a_missing_page_is_the_upstreams_404(self, gateway, needs, headers):
        answer = requests.get(f"{gateway.cleartext}/none.txt", headers={**headers, "Host": needs("nginx")}, timeout=30)
        assert answer.status_code == 404
        assert "urn:guardhouse" not in answer.text


class TestHttpbin:
    @pytest.mark.parametrize("coding", ["gzip", "deflate", "brotli"])
    def test_every_coding_is_read(self, gateway, needs, headers, coding):
        answer = requests.get(f"{gateway.cleartext}/{coding}", headers={**headers, "Host": needs("httpbin")}, timeout=30)
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
        assert isinstance(answer.json(), dict)

    def test_the_callers_credential_never_arrives(self, gateway, needs, headers):
        sent = {**headers, "Host": needs("httpbin"), "X-Forwarded-For": "10.0.0.1"}
        seen = requests.get(f"{gateway.cleartext}/headers", headers=sent, timeout=30).json()["headers"]
        assert not {"Authorization", "X-Purpose", "X-Forwarded-For"} & set(seen)
        assert seen["Traceparent"].startswith("00-")

    @pytest.mark.parametrize("status", [201, 400, 404, 500])
    def test_the_upstreams_status_is_passed_on(self, gateway, needs, headers, status):
        assert (
            requests.get(f"{gateway.cleartext}/status/{status}", headers={**headers, "Host": needs("httpbin")}, timeout=30).status_code
            == status
        )

    def test_a_redirect_is_passed_and_not_followed(self, gateway, needs, headers):
        answer = requests.get(
            f"{gateway.cleartext}/redirect-to",
            params={"url": "/get"},
            headers={**headers, "Host": needs("httpbin")},
            timeout=30,
            allow_redirects=False,
        )
        assert answer.status_code == 302
        assert answer.headers["Location"] == "/get"

    def test_a_form_arrives_as_it_was_sent(self, gateway, needs, headers):
        answer = requests.post(
            f"{gateway.cleartext}/post", data={"a": "1 2", "b": "ü"}, headers={**headers, "Host": needs("httpbin")}, timeout=30
        )
        assert answer.json()["form"] == {"a": "1 2", "b": "ü"}


class TestClients:
    @pytest.mark.parametrize("version", ["--http1.1", "--http2"])
    def test_curl(self, gateway, headers, version):
        arguments = [
            "curl",
            "-sS",
            version,
            "--cacert",
            str(gateway.ca),
            "-w",
            "\n%{http_code} %{http_version}",
            f"{gateway.tls}/customers",
        ]
        for name, value in headers.items():
            arguments += ["-H", f"{name}: {value}"]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
        body, _, tail = done.stdout.rpartition("\n")
        assert tail == ("200 2" if version == "--http2" else "200 1.1"), done.stderr
        assert len(json.loads(body)["customers"]) > 1

    def test_node_fetch(self, gateway, headers):
        if shutil.which("node") is None:
            pytest.skip("node is not here")
        script = (
            f"fetch('{gateway.cleartext}/customers', {{headers: {json.dumps(headers)}}})"
            ".then(async r => console.log(JSON.stringify({status: r.status, n: (await r.json()).customers.length})))"
        )
        done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60)
        answer = json.loads(done.stdout)
        assert answer["status"] == 200 and answer["n"] > 1, done.stderr

    def test_a_refusal_explains_itself(self, gateway):
        answer = httpx.get(f"{gateway.cleartext}/customers", headers=PURPOSE)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="guardhouse"')
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "credential-required"
