"""A transcript is what the log has of a session, in its order."""

from addons.core.recording import transcript


def event(seq: int, kind: str = "ws", stage: str = "Mark", core: dict | None = None, **fields: object) -> dict:
    return {"seq": seq, "ts_us": seq * 10, "kind": kind, "stage": stage, "core": core or {}, "fields": fields}


def test_messages_in_order_with_who_said_them_and_why_not():
    found = transcript.lines(
        [
            event(1, kind="http", stage="RequestReceived"),
            event(2, core={"number": 1, "side": "client", "verb": "text", "passed": True, "bytes": 5}, chunk="hello"),
            event(
                3,
                core={"number": 2, "side": "client", "verb": "text", "passed": False, "bytes": 7, "rules": ["no"]},
                chunk={"a": 1},
                reason="policy-denied",
                operation={"text": "call reset"},
            ),
            event(4, core={"verb": "control"}, note={"frames": []}),
            event(5, kind="http", stage="ResponseComplete"),
        ]
    )
    assert [(line.seq, line.number, line.side, line.is_passed, line.content) for line in found] == [
        (2, 1, "client", True, "hello"), (3, 2, "client", False, '{"a": 1}'), (4, None, "", True, '{"frames": []}'),
    ]  # fmt: skip
    assert (found[1].reason, found[1].rules, found[1].operation) == ("policy-denied", ("no",), "call reset")


def test_no_messages_no_transcript():
    assert transcript.lines([event(1, kind="http", stage="RequestReceived"), event(2, stage="RequestReceived")]) == []
