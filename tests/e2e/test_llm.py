"""The official OpenAI package through the gateway, unchanged but for its address and key."""

import concurrent.futures
import json
import time

import openai
import pytest
from openai import OpenAI

from tests.parts.agents import MODELS_KEY, SAYS, Site
from tests.parts.processes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ASKED = {"model": "small", "messages": [{"role": "user", "content": "What is Ann's address?"}]}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    running = Site(tmp_path_factory.mktemp("llm"), None)
    yield running
    running.stop()


@pytest.fixture
def client(site):
    """The package as anybody uses it: the caller's access token is its key."""
    return OpenAI(base_url=site.models_url, api_key=site.token("planner"), default_headers=SAYS, timeout=30)


def test_a_completion_is_answered_and_masked(site, client):
    said = client.chat.completions.create(**ASKED).choices[0].message.content
    assert said.startswith("Ann's address is p-") and "@masked.invalid" in said
    assert "ann.lee@corp.example" not in said and "4111 1111" not in said
    assert MODELS_KEY not in site.gateway.output


def test_a_stream_comes_piece_by_piece(client):
    before = time.monotonic()
    chunks = [(chunk, time.monotonic() - before) for chunk in client.chat.completions.create(**ASKED, stream=True)]
    said = "".join(chunk.choices[0].delta.content or "" for chunk, _ in chunks)
    assert said.startswith("Ann's address is ") and said.endswith("Anything else?")
    assert chunks[0][1] < chunks[-1][1] - 0.1
    assert chunks[-1][0].choices[0].finish_reason == "stop"


def test_a_value_that_is_spread_over_tokens_is_masked(client):
    said = "".join(chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ASKED, stream=True))
    assert said.startswith("Ann's address is p-") and "@masked.invalid and her card is " in said
    assert "ann.lee" not in said and "corp.example" not in said and "4111" not in said


def test_a_value_in_the_arguments_of_a_tool_call_is_masked_and_they_stay_json(client):
    tool = {"type": "function", "function": {"name": "send_mail", "parameters": {"type": "object"}}}
    with client.chat.completions.stream(**ASKED, tools=[tool]) as stream:
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    arguments = json.loads(call.function.arguments)
    assert (call.function.name, arguments["text"]) == ("send_mail", "Hello Ann")
    assert arguments["to"].endswith("@masked.invalid")


def test_a_denied_request_is_a_permission_error_with_our_sentence(client):
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.embeddings.create(model="small", input="x")
    assert refused.value.body["code"] == "policy-denied"
    assert "No rule allows POST on models" in refused.value.body["detail"]


def test_a_key_that_is_no_token_is_an_authentication_error(site):
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=site.models_url, api_key="sk-123", default_headers=SAYS).chat.completions.create(**ASKED)


def test_the_package_retries_a_ticket_until_a_person_has_approved(site, client):
    before = site.calls(8461).count("POST /v1/fine_tuning/jobs")
    patient = client.with_options(max_retries=8)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(patient.fine_tuning.jobs.create, model="small", training_file="file-1")
        card = site.pending("/v1/fine_tuning/jobs")
        wait_until(lambda: len(tickets(site)) >= 2, 40, "two tickets")
        assert (
            len({row["id"] for row in waiting(site)}) == 1
        )  # every try is the same request: the headers that count tries are no part of it
        site.approve(card)
        job = call.result(60)
    assert (job.id, site.calls(8461).count("POST /v1/fine_tuning/jobs")) == ("ftjob-1", before + 1)


def test_a_ticket_without_retries_is_a_rate_limit_error(client):
    with pytest.raises(openai.RateLimitError) as waiting:
        client.with_options(max_retries=0).fine_tuning.jobs.create(model="small", training_file="file-2")
    assert waiting.value.body["code"] == "approval-pending"
    assert int(waiting.value.response.headers["Retry-After"]) > 0


def waiting(site):
    """The pending approvals of training jobs."""
    listed = site.gateway.request("GET", site.gateway.control + "/v1/approvals?state=pending", site.token("bob")).json["approvals"]
    return [card for card in listed if "fine_tuning" in card["operation"]["text"]]


def tickets(site):
    """The refusals of training jobs so far, from the log."""
    found = site.gateway.cli("search", "service:models", "stage:Denied", "--json", token=site.token("carol"))
    return [line for line in found.text.splitlines() if "429" in line]
