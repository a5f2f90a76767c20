"""The tour: what Guardhouse does, one step after the other, each checked.

`check` walks it by itself; `show` prints the same steps for a person to paste.
"""

import json
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _demo import Demo

PURPOSE = {"X-Purpose": "demo/tour"}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
RAW = re.compile(
    r"[\w.+-]+@(?!masked\.invalid)[\w-]+\.\w+|\b\d{3}-\d{2}-\d{4}\b|\b4\d{15}\b"
)  # an e-mail, a social security or a card number


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Walk:
    """What the steps hand to each other."""

    demo: "Demo"
    flow: str = ""
    approvals: dict[str, Any] = field(default_factory=dict)
    case: Path = Path()

    def call(self, method: str, path: str, person: str = "planner", base: str | None = None, **headers: str) -> Answer:
        """One request to the gateway, as somebody."""
        sent = {**PURPOSE, "Authorization": f"Bearer {self.demo.token(person)}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return fetch(method, (base or self.demo.gateway) + path, sent)

    def guardhouse(self, *arguments: str, person: str | None = None, expect: int = 0) -> str:
        done = self.demo.guardhouse(*arguments, person=person)
        expect_equal(
            done.returncode, expect, f"guardhouse {' '.join(arguments)}: {done.stderr.strip()[-300:]} {done.stdout.strip()[-300:]}"
        )
        return done.stdout

    def pending(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.guardhouse("approvals", "list", "--json", person="bob").splitlines()]
        return [row for row in found if row.get("state") == "pending"]

    def approve(self, approval: Mapping[str, Any], reason: str) -> None:
        self.guardhouse("approvals", "approve", approval["id"], "--digest", approval["digest"], "--reason", reason, person="bob")


def fetch(method: str, url: str, headers: Mapping[str, str]) -> Answer:
    request = urllib.request.Request(url, None, dict(headers), method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=70) as response:
            return Answer(response.status, response.headers, response.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read().decode())


def expect_equal(got: object, wanted: object, what: str) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {got!r}")


def read_masked(walk: Walk) -> str:
    answer = walk.call("GET", "/customers", traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    expect_equal(answer.status, 200, f"GET /customers: {answer.text[:300]}")
    leaked = RAW.search(answer.text)
    if leaked:
        raise AssertionError("a personal value came through unmasked")
    marks = answer.text.count("[MASKED:") + answer.text.count("@masked.invalid")
    if not marks:
        raise AssertionError("nothing was masked")
    return f"200, {len(answer.json['customers'])} customers, {marks} values masked"


def no_credential(walk: Walk) -> str:
    answer = fetch("GET", walk.demo.gateway + "/customers", PURPOSE)
    expect_equal((answer.status, answer.json["code"]), (401, "credential-required"), "without a token")
    return f"401 {answer.json['code']}"


def stream_masked(walk: Walk) -> str:
    """Three events of a stream that would go on for ever; they come one by one, and so do their masks."""
    sent = {**PURPOSE, "Authorization": f"Bearer {walk.demo.token('planner')}"}
    request = urllib.request.Request(walk.demo.gateway + "/events", None, sent)
    seen: list[str] = []
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        while len(seen) < 3:
            line = response.readline().decode()
            if line.startswith("data:"):
                seen.append(line)
    if RAW.search("".join(seen)):
        raise AssertionError("a personal value came through in a stream")
    marks = sum(line.count("[MASKED:") + line.count("@masked.invalid") for line in seen)
    if not marks:
        raise AssertionError("nothing was masked in the stream")
    return f"3 events, {marks} values masked as they passed"


def export_denied(walk: Walk) -> str:
    answer = walk.call("GET", "/export/customers.csv")
    expect_equal((answer.status, answer.json["code"]), (403, "policy-denied"), "GET /export/customers.csv")
    return f"403: {answer.json['detail']}"


def held_and_released(walk: Walk) -> str:
    """The request waits on its socket; somebody approves; it goes on."""
    got: list[Answer] = []
    caller = threading.Thread(target=lambda: got.append(walk.call("DELETE", "/customers/7")), daemon=True)
    started = time.monotonic()
    caller.start()
    approval = wait_for(lambda: next(iter(walk.pending()), None), 20, "the held request in `guardhouse approvals list`")
    if got:
        raise AssertionError(f"it was not held: {got[0].status} {got[0].text[:300]}")
    walk.approve(approval, "The customer asked for it, ticket 4711")
    caller.join(20)
    expect_equal([answer.status for answer in got], [204], f"the released DELETE: {got[0].text[:300] if got else 'no answer'}")
    return f"held {time.monotonic() - started:.1f} s as {approval['id'][:16]}..., approved by bob, then 204"


def ticket(walk: Walk) -> str:
    answer = walk.call("DELETE", "/customers/8", Prefer="respond-async")
    expect_equal(answer.status, 202, f"DELETE with Prefer: respond-async: {answer.text[:300]}")
    walk.approvals["ticket"] = answer.json
    walk.approve({"id": answer.json["approval_id"], "digest": answer.json["digest"]}, "Agreed, ticket 4712")
    return f"202 with a ticket, approved by bob ({answer.json['digest'][13:17]} ...)"


def changed_byte(walk: Walk) -> str:
    answer = walk.call("DELETE", "/customers/8?x", Prefer="respond-async")
    expect_equal(answer.status, 202, f"the changed request: {answer.text[:300]}")
    if answer.json["approval_id"] == walk.approvals["ticket"]["approval_id"]:
        raise AssertionError("another request met the same approval")
    expect_equal(walk.call("GET", "/customers/8").status, 200, "customer 8 after the changed request")
    return "one byte more: not approved, a new ticket, nothing sent"


def runs_once(walk: Walk) -> str:
    first = walk.call("DELETE", "/customers/8", Prefer="respond-async")
    expect_equal(first.status, 204, f"the approved bytes: {first.text[:300]}")
    second = walk.call("DELETE", "/customers/8", Prefer="respond-async")
    expect_equal(second.status, 202, "the same bytes again")
    return "the approved bytes ran once (204); again: a new ticket"


def search(walk: Walk) -> str:
    held = walk.guardhouse("search", "effect:hold", "--json", person="carol").splitlines()
    found = [
        json.loads(line)
        for line in walk.guardhouse("search", "stage:ResponseComplete", "path:/customers", "--json", person="carol").splitlines()
    ]
    mine = [row for row in found if row.get("trace") == TRACE_ID] or found
    if not held or not mine:
        raise AssertionError("search found nothing")
    walk.flow = mine[0]["flow"]
    return f"{len(held)} events under a hold, {len(found)} finished reads"


def show_trace(walk: Walk) -> str:
    text = walk.guardhouse("show", walk.flow, "--json", person="carol")
    for wanted in (TRACE_ID, "planner", "demo/tour", "people-and-agents-read-customers"):
        if wanted not in text:
            raise AssertionError(f"`show` does not say {wanted}")
    if RAW.search(text):
        raise AssertionError("`show` holds an unmasked value")
    return "who, for whom, why, by which rule, in which trace; nothing unmasked"


def export(walk: Walk) -> str:
    walk.case = walk.demo.home / "case.flows"
    walk.guardhouse("export", "--format", "flows", "stage:ResponseComplete", "-o", str(walk.case), person="carol")
    if RAW.search(walk.case.read_bytes().decode("latin-1")):
        raise AssertionError("the export holds an unmasked value")
    return f"{walk.case.stat().st_size} bytes for mitmproxy's own tools"


def stop(walk: Walk) -> str:
    expect_equal(walk.demo.stop(), 0, "the gateway's exit code after SIGTERM")
    return "drained, exit 0; the example service is gone with it"


def replay(walk: Walk) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "addons.cli.main", "replay", "serve", str(walk.case), "--port", str(port)]
    with subprocess.Popen(command, env=walk.demo.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            base = f"http://127.0.0.1:{port}"
            answer = wait_for(lambda: attempt(base + "/customers"), 30, "the sandbox")
            expect_equal(answer.status, 200, "the recorded GET /customers")
            expect_equal(fetch("GET", base + "/never-asked", {}).status, 404, "what was not recorded")
        finally:
            process.terminate()
    return "the recorded answer again, and 404 for what was not recorded"


def verify(walk: Walk) -> str:
    report = json.loads(walk.guardhouse("verify", "--json"))
    return f"sound: {report.get('events', report.get('size', '?'))} events, every checkpoint signed, pin and witness agree"


def tampered(walk: Walk) -> str:
    with sqlite3.connect(walk.demo.store) as store:
        for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
            store.execute(f'DROP TRIGGER "{name}"')
        store.execute("UPDATE event SET core = CAST(replace(CAST(core AS TEXT), '\"hold\"', '\"deny\"') AS BLOB) WHERE effect = 3")
        store.execute(
            "UPDATE event SET core = CAST(replace(CAST(core AS TEXT), '\"status\":204', '\"status\":403') AS BLOB) WHERE status = 204"
        )
    store.close()
    report = walk.guardhouse("verify", "--json", expect=1)
    return f"caught, exit 1: {json.loads(report)['faults'][0]['what'][:90]}" if "faults" in report else "caught, exit 1"


def wait_for[T](probe: Callable[[], T | None], seconds: float, what: str) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = probe()
        if found is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def attempt(url: str) -> Answer | None:
    try:
        return fetch("GET", url, {})
    except OSError:
        return None


STEPS: list[tuple[str, Callable[[Walk], str]]] = [
    ("nobody gets in without a credential", no_credential),
    ("an agent, acting for alice, reads customers: masked", read_masked),
    ("a stream is masked as it passes", stream_masked),
    ("the agent is denied an export", export_denied),
    ("the agent deletes a customer: held until bob approves", held_and_released),
    ("a ticket instead of waiting, approved", ticket),
    ("one changed byte is not what was approved", changed_byte),
    ("the approved bytes run once and not twice", runs_once),
    ("an investigator searches", search),
    ("an investigator looks at one request", show_trace),
    ("an investigator exports flows", export),
    ("the gateway stops", stop),
    ("replay, with nothing behind it", replay),
    ("the log is proven whole", verify),
    ("somebody edits a row", tampered),
]


def check(demo: "Demo") -> int:
    """Walk the tour; a line per step; 0 when every answer was right."""
    walk = Walk(demo)
    for number, (title, step) in enumerate(STEPS, 1):
        try:
            said = step(walk)
        except (AssertionError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            print(f"FAIL {number:2}  {title}: {type(error).__name__}: {error}", flush=True)
            print(f"---- what the gateway said last:\n{demo.log.read_text(errors='replace')[-3000:]}", flush=True)
            return 1
        print(f"ok   {number:2}  {title}: {said}", flush=True)
    print(f"All {len(STEPS)} steps hold.", flush=True)
    return 0


def show(demo: "Demo") -> None:
    """Print the tour for a person: every command works as it stands, in another terminal."""
    environment = demo.home / "env"
    lines = [f"export GUARDHOUSE_POLICIES={demo.home}/policies GUARDHOUSE_STATE={demo.home}/state"]
    lines += [f"export {name.upper()}={demo.token(name)}" for name in ("planner", "bob", "carol")]
    lines += [f'guardhouse() {{ "{sys.executable}" -m addons.cli.main "$@"; }}']
    environment.write_text("\n".join(lines) + "\n")
    environment.chmod(0o600)
    auth = '-H "Authorization: Bearer $PLANNER" -H "X-Purpose: demo/tour"'
    print(
        f"""
Guardhouse runs. In another terminal, paste this first (tokens of the example's people, good for an hour):

  source {environment}

 1  An agent that acts for alice reads customers; personal values come masked:
  curl -s {demo.gateway}/customers {auth}

 2  It may not export:
  curl -s {demo.gateway}/export/customers.csv {auth}
    but it may watch events; they are masked as they pass (Ctrl-C ends it):
  curl -sN {demo.gateway}/events {auth}

 3  It deletes a customer. The request waits for a person, up to 50 seconds:
  curl -si -X DELETE {demo.gateway}/customers/7 {auth}

 4  Meanwhile bob decides: in a browser, with $BOB pasted at sign-in (the certificate is the demo's own):
  {demo.control}/approvals
    or in a third terminal:
  GUARDHOUSE_TOKEN=$BOB guardhouse approvals list
  GUARDHOUSE_TOKEN=$BOB guardhouse approvals approve ID --reason "The customer asked for it"

 5  carol investigates:
  GUARDHOUSE_TOKEN=$CAROL guardhouse search effect:hold
  GUARDHOUSE_TOKEN=$CAROL guardhouse export --format flows 'stage:ResponseComplete' -o case.flows
  guardhouse replay serve case.flows

 6  And the log proves itself:
  guardhouse verify

Ctrl-C here ends it and removes {demo.home}.
""",
        flush=True,
    )
