"""One event for each message: masked for the record, bounded, and kept at the level that policy says."""

from dataclasses import replace

import pytest

from addons.core.audit import messages
from addons.core.audit.messages import Seen
from addons.core.exchange import Access, Decision, Effect, Exchange, Operation, Redacted


class Upper:
    """A redactor whose mask is easy to see."""

    def redact(self, data, media_type, service):
        return Redacted(data.upper(), complete=media_type != messages.BINARY)

    def redact_text(self, text, service):
        return text.upper()

    def is_quick(self, data, media_type, service):
        return True


RECORD = Exchange(id="01890a5d-ac96-774b-bcce-b302099a8057", service="chat", decision=Decision(Effect.ALLOW, ("r",)))
SEEN = Seen(3, "client", True, b"hello", True, room=100)


def test_what_an_event_says():
    event = messages.message(RECORD, SEEN, Upper())
    assert (event.stage, event.kind, event.fields["chunk"]) == ("Mark", "ws", b"HELLO")
    told = {
        name: event.core[name] for name in ("flow", "service", "verb", "protocol", "number", "side", "bytes", "passed", "masking_complete")
    }
    assert told == {
        "flow": RECORD.id, "service": "chat", "verb": "text", "protocol": "websocket", "number": 3, "side": "client", "bytes": 5, "passed": True,
        "masking_complete": True,
    }  # fmt: skip


def test_a_refused_message_says_by_which_rule():
    operation = Operation("jsonrpc", "reset", "call reset", frozenset({Access.EXECUTE}), ("reset",), {"method": "reset"})
    seen = replace(SEEN, is_passed=False, operation=operation, decision=Decision(Effect.DENY, ("no-reset",)), reason="policy-denied")
    event = messages.message(RECORD, seen, Upper())
    assert (event.core["effect"], event.core["rules"], event.core["access"], event.core["passed"]) == (
        "deny",
        ["no-reset"],
        ["execute"],
        False,
    )
    assert event.fields["reason"] == b"policy-denied"
    assert b"CALL RESET" in event.fields["operation"]


def test_beyond_the_cap_only_digest_and_length_are_kept():
    event = messages.message(RECORD, replace(SEEN, room=4), Upper())
    assert "chunk" not in event.fields
    assert b'"length":5,"sha256":"' in event.fields["note"]
    assert b"HELLO" not in event.fields["note"]


@pytest.mark.parametrize(
    ("level", "side", "kept"),
    [
        ("Metadata", "client", False),
        ("Request", "client", True),
        ("Request", "upstream", False),
        ("RequestResponse", "upstream", True),
    ],
)
def test_the_level_says_which_side_is_kept(level, side, kept):
    record = replace(RECORD, decision=Decision(Effect.ALLOW, audit_level=level))
    assert ("chunk" in messages.message(record, replace(SEEN, side=side), Upper()).fields) is kept


def test_a_binary_message_that_cannot_be_masked_is_said_to_be_incomplete():
    assert messages.message(RECORD, replace(SEEN, is_text=False), Upper()).core["masking_complete"] is False


def test_control_frames_are_masked_and_counted():
    event = messages.control(
        RECORD,
        [{"frame": "ping", "from": "client", "payload": b"abc"}, {"frame": "pong", "from": "upstream", "payload": b"\xff"}],
        2,
        Upper(),
    )
    assert b'"payload":"ABC"' in event.fields["note"]
    assert b'"uncounted":2' in event.fields["note"]
    assert event.core["masking_complete"] is False
