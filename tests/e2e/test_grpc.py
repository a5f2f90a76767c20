"""gRPC over HTTP/2: decided by service and method, the body passed or refused by policy, trailers masked and recorded."""

import json

import pytest

from addons.core.audit.reader import Reader
from addons.host import certificates
from tests.parts import grpc_upstream
from tests.parts.gateway import Gateway
from tests.parts.grpc_upstream import GrpcUpstream, message

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
RULES = """
  - name: accounts-are-read
    match: {services: [bank, vault], protocols: [http, grpc], attributes: {grpc_method: [Get, Fail]}, principals: {kinds: [agent]}}
    effect: allow
    mask: [pii]
  - name: nobody-closes-accounts
    match: {services: [bank], paths: ["/bank.Accounts/Close"]}
    effect: deny
    reason: "Accounts are not closed by agents."
"""


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    made = certificates.ensure(tmp_path_factory.mktemp("bank"), "bank", ["127.0.0.1"])
    running, other = GrpcUpstream(made.pem_path), GrpcUpstream(made.pem_path)
    running.ca, running.vault = made.ca_path, other.port
    yield running
    running.close()
    other.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, bank):
    def edit(name: str, text: str) -> str:
        if name == "gateway.yaml":
            services = "".join(
                f"  - {{name: {one}, kind: http, url: 'https://127.0.0.1:{port}', hosts: [{one}.localhost], ca: 'file:{bank.ca}', credential: null}}\n"
                for one, port in (("bank", bank.port), ("vault", bank.vault))
            )
            return text.replace("services: [crm, echo]", "services: [crm, echo, bank, vault]").replace(
                "\naudit:\n", f"\n{services}\naudit:\n"
            )
        if name == "masking.yaml":
            return text.replace("\nservices:", "\nservices:\n  bank: {always: [secrets], pass_media: [application/grpc]}", 1)
        return text.replace("\nrules:\n", "\nrules:\n" + RULES.lstrip("\n"), 1) if name == "rules.yaml" else text

    running = Gateway(tmp_path_factory.mktemp("grpc"), edit=edit).start()
    yield running
    assert running.stop() == 0, running.output[-3000:]


@pytest.fixture(scope="module")
def call(gateway):
    token = gateway.token("planner")

    def made(path: str, *more: tuple[str, str], host: str = "bank.localhost"):
        headers = [("authorization", f"Bearer {token}"), ("x-purpose", "demo/tour"), *more]
        return grpc_upstream.call(gateway.ports[8443], gateway.ca, path, headers, b"hello", host=host)

    return made


def ended(gateway, path):
    with Reader.open(gateway.store) as reader:
        return [event for event in reader.events("path = ?", (path,)) if event.stage not in ("RequestReceived", "ResponseStarted", "Mark")][
            -1
        ]


def test_a_call_passes_with_its_trailers_masked_and_recorded(call, gateway):
    reply = call("/bank.Accounts/Get")
    assert reply.headers[":status"] == "200", reply
    assert reply.body == message(b"one") + message(b"two")
    assert reply.trailers["grpc-status"] == "0"
    assert reply.trailers["grpc-message"].startswith("sent to p-") and "corp.example" not in reply.trailers["grpc-message"]
    end = ended(gateway, "/bank.Accounts/Get")
    assert end.stage == "ResponseComplete"
    assert "masked.invalid" in json.loads(end.fields["response.trailers"])["grpc-message"][0]
    assert json.loads(end.fields["response.digest"])["length"] == len(reply.body)


def test_a_failure_without_a_body_passes_too(call):
    reply = call("/bank.Accounts/Fail")
    assert reply.headers["grpc-status"] == "5"
    assert "corp.example" not in reply.headers["grpc-message"]


def test_a_method_is_denied(call, bank):
    before = len(bank.calls)
    reply = call("/bank.Accounts/Close")
    assert (reply.headers[":status"], json.loads(reply.body)["code"]) == ("403", "policy-denied")
    assert len(bank.calls) == before


def test_a_body_that_nobody_reads_is_withheld_where_policy_does_not_let_it_pass(call):
    reply = call("/bank.Accounts/Get", host="vault.localhost")
    assert (reply.headers[":status"], json.loads(reply.body)["code"]) == ("502", "unmaskable")


def test_compressed_messages_are_refused(call, bank):
    before = len(bank.calls)
    reply = call("/bank.Accounts/Get", ("grpc-encoding", "gzip"))
    assert reply.headers[":status"] == "400"
    assert len(bank.calls) == before
