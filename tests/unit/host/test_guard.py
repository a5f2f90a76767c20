"""The guard: what a step does wrong, and what the caller gets for it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy import exceptions, http
from mitmproxy.test import tflow

from addons.core import exchange
from addons.core.errors import AuditError, GuardhouseError, PolicyDeniedError
from addons.host import fail_closed, gate
from addons.host.fail_closed import answer, guard, refuse, settled
from addons.host.runtime import Runtime
from tests import harness


def step(hook: str, action: Callable[..., Any], runtime: Runtime, name: str = "guardhouse-test", **attributes: Any) -> Any:
    """A shell with one hook, guarded."""

    class Shell:
        pass

    Shell.name = name  # type: ignore[attr-defined]
    shell = Shell()
    shell.runtime = runtime  # type: ignore[attr-defined]
    setattr(shell, hook, action)
    for attribute, value in attributes.items():
        setattr(shell, attribute, value)
    return guard(shell)


def started() -> Runtime:
    runtime = harness.runtime()
    runtime.chain = ("guardhouse-test",)
    return runtime


def raises(error: BaseException) -> Callable[..., Any]:
    def act(*_: Any) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "error", [ValueError("SECRET"), exceptions.OptionsError("SECRET"), asyncio.CancelledError(), AssertionError()], ids=repr
)
@pytest.mark.parametrize("hook", ["requestheaders", "request"])
async def test_anything_that_a_step_raises_refuses(hook: str, error: BaseException):
    flow = harness.live_flow()
    await getattr(step(hook, raises(error), started()), hook)(flow)
    assert flow.response is not None
    assert flow.response.status_code == 503
    assert b"SECRET" not in (flow.response.content or b"")
    assert settled(flow)
    assert gate.of(flow).steps == []


async def test_a_refusal_of_a_step_is_answered_as_it_says():
    flow = harness.live_flow()
    await step("request", raises(PolicyDeniedError(detail="rule seven")), started()).request(flow)
    assert flow.response is not None
    assert flow.response.status_code == 403
    assert b"rule seven" not in (flow.response.content or b"")
    kept = gate.of(flow).refusal
    assert kept is not None
    assert kept.detail == "rule seven"


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError(), 502), (PolicyDeniedError(), 502), (AuditError(), 503), (GuardhouseError(code="unmaskable"), 502)]
)
async def test_a_step_that_fails_on_an_answer_withholds_it(error: Exception, status: int):
    flow = harness.live_flow(response=http.Response.make(200, b"secret", {"X-Leak": "secret"}))
    assert flow.response is not None
    flow.response.trailers = http.Headers([(b"x", b"secret")])
    await step("response", raises(error), started()).response(flow)
    assert flow.response.status_code in (status, 503)
    assert b"secret" not in (flow.response.content or b"")
    assert "X-Leak" not in flow.response.headers
    assert not flow.response.trailers


async def test_a_step_that_ends_normally_is_noted():
    flow = harness.live_flow()
    await step("request", lambda _: None, started()).request(flow)
    assert gate.of(flow).steps == ["guardhouse-test.request"]
    assert flow.response is None


async def test_a_step_that_misses_its_deadline_is_refused():
    runtime = harness.runtime(harness.snapshot(limits=harness.model.Limits(hook_deadline=0.01)))
    runtime.chain = ("guardhouse-test",)

    async def never(_: Any) -> None:
        await asyncio.sleep(60)

    flow = harness.live_flow()
    await step("request", never, runtime).request(flow)
    assert flow.response is not None
    assert flow.response.status_code == 503


async def test_a_whole_task_that_is_cancelled_refuses_and_stays_cancelled():
    flow = harness.live_flow()

    async def waits(_: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(step("request", waits, started()).request(flow))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert flow.response is not None
    assert flow.response.status_code == 503


async def test_an_answered_flow_is_not_shown_to_a_step_but_to_one_that_records():
    seen: list[str] = []
    runtime, flow = started(), harness.live_flow()
    fail_closed.open_record(runtime, flow)
    refuse(flow, PolicyDeniedError())
    await step("request", lambda _: seen.append("plain"), runtime).request(flow)
    await step("request", lambda _: seen.append("records"), runtime, sees_settled=True).request(flow)
    assert seen == ["records"]


async def test_a_flow_from_a_file_is_not_shown_to_any_step():
    seen: list[str] = []
    flow = tflow.tflow()
    flow.live = False
    await step("request", lambda _: seen.append("x"), started(), sees_settled=True).request(flow)
    assert seen == []


async def test_a_record_that_a_file_brought_is_wiped():
    flow = harness.live_flow(metadata={exchange.KEY: {"id": "forged", "principal": {"subject": "root"}}})
    await step("requestheaders", lambda _: None, started()).requestheaders(flow)
    assert exchange.read(flow.metadata).principal is None
    assert exchange.read(flow.metadata).id != "forged"


async def test_an_empty_slot_refuses():
    flow = harness.live_flow()
    runtime = Runtime()
    runtime.chain = ("guardhouse-test",)
    await step("request", lambda _: None, runtime).request(flow)
    assert flow.response is not None
    assert flow.response.status_code == 503


async def test_a_new_request_during_the_drain_is_told_so_and_one_under_way_goes_on():
    runtime = started()
    runtime.draining = True
    fresh, under_way = harness.live_flow(), harness.live_flow()
    await step("requestheaders", lambda _: None, runtime).requestheaders(fresh)
    await step("request", lambda _: None, runtime).request(under_way)
    assert fresh.response is not None
    assert fresh.response.json()["code"] == "shutting-down"
    assert fresh.response.headers["Retry-After"] == "5"
    assert under_way.response is None


async def test_a_client_whose_hook_fails_is_refused():
    client = tflow.tclient_conn()
    await step("client_connected", raises(ValueError()), started()).client_connected(client)
    assert client.error == "refused"


async def test_a_websocket_message_whose_hook_fails_is_dropped():
    flow = tflow.twebsocketflow()
    flow.live = True
    assert flow.websocket is not None
    await step("websocket_message", raises(ValueError()), started()).websocket_message(flow)
    assert flow.websocket.messages[-1].dropped


async def test_a_tcp_message_whose_hook_fails_is_emptied():
    flow = tflow.ttcpflow()
    flow.live = True
    await step("tcp_message", raises(ValueError()), started()).tcp_message(flow)
    assert flow.messages[-1].content == b""


async def test_nothing_to_record_with_for_long_ends_the_process():
    runtime = started()
    failing = step("request", raises(AuditError()), runtime)
    for _ in range(fail_closed.AUDIT_FAILURES - 1):
        await failing.request(harness.live_flow())
    with pytest.raises(SystemExit) as ended:
        await failing.request(harness.live_flow())
    assert ended.value.code == 70


async def test_one_success_between_starts_the_count_again():
    runtime = started()
    for _ in range(3):
        for _ in range(fail_closed.AUDIT_FAILURES - 1):
            await step("request", raises(AuditError()), runtime).request(harness.live_flow())
        await step("request", lambda _: None, runtime, name="guardhouse-intent").request(harness.live_flow())


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("*/*", False),
        ("", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
    ],
)
def test_a_browser_gets_a_page_and_everybody_else_a_problem(accept: str, is_page: bool):
    flow = harness.live_flow(headers=[("Accept", accept)])
    refuse(flow, PolicyDeniedError("<script>alert(1)</script> is not allowed."))
    assert flow.response is not None
    assert flow.response.headers["content-type"].startswith("text/html" if is_page else "application/problem+json")
    assert (b"<script>alert" in (flow.response.content or b"")) is not is_page


def test_an_answer_never_stands_beside_a_streamed_request():
    flow = harness.live_flow()
    flow.request.stream = True
    answer(flow, http.Response.make(202))
    assert flow.request.stream is False
