"""Rows of design/masking.md section 5 that concern whole bodies, at the level of the engine."""

import asyncio
import gzip
import json
import random
import re
import socket
import subprocess
import sys
import zlib

import brotli
import pytest
import zstandard

from addons.core.errors import MaskingError, Unmaskable
from addons.core.masking.answer import Answer, Terms, mask_answer
from addons.core.masking.detector import Detector, Sight
from addons.core.masking.engine import MaskEngine
from addons.core.masking.pseudonym import Place
from addons.core.masking.redact import MaskRedactor
from tests import harness
from tests.parts import masking as parts

BODY = {
    "email": "ann@corp.example", "card": "4111 1111 1111 1111", "ssn": "219-09-9999", "itin": "912-70-1234", "iban": "DE89370400440532013000",
    "crypto": "pay 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "phone": "+1 212 555 0123", "token": "abc", "text": "key ghp_0123456789abcdefghijABCDEFGHIJ012345 end",
}  # fmt: skip
CLEAR = ["ann@corp", "4111 1111", "219-09", "912-70", "DE8937", "1A1zP1", "555 0123", '"abc"', "ghp_"]
CODINGS = {
    "identity": lambda data: data, "gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip


def every_view():
    return parts.view("all", of=parts.snapshot(parts.everything()))


def answered(body: bytes, coding: str = "identity", **more):
    engine = parts.warm_engine()
    fields = ((b"Content-Type", b"application/json"), (b"Content-Encoding", coding.encode()))
    view = more.get("view") or every_view()
    return mask_answer(
        Answer("GET", 200, "OK", fields, body),
        Terms(view, view.limits, Place("crm", name="/x")),
        engine.detector,
        engine.transformer,
        lambda: None,
    )


def test_row_1_every_coding_gives_the_same_masked_body():
    plain = json.dumps(BODY).encode()
    made = {coding: answered(encode(plain), coding).body for coding, encode in CODINGS.items()}
    assert len(set(made.values())) == 1
    document = json.loads(made["identity"])
    assert list(document) == list(BODY)
    assert not any(clear in made["identity"].decode() for clear in CLEAR)


def test_row_4_a_body_without_hits_is_the_same_object():
    body = b'{"status": "ok",  "n": [1, 2.50, 1e9], "id": "cd613e30-d8f1-4adf-91b7-584a2265b1f5"}\n'
    assert parts.mask(body, view_of_it=every_view()).body is body


def test_row_13_a_detector_that_raises_blocks():
    class Broken(Detector):
        is_loaded = True

        def spans(self, *args, **kwargs):
            raise RuntimeError("ann@corp.example")

    engine = MaskEngine(parts.FixedKeys(), harness.FakeClock(), Broken())
    view = every_view()
    answer = Answer("GET", 200, "OK", ((b"Content-Type", b"application/json"),), b'{"a": "ann@corp.example and more"}')
    for _ in range(3):
        with pytest.raises(Unmaskable) as caught:
            asyncio.run(engine.mask_answer(answer, Terms(view, view.limits, Place())))
        assert caught.value.reason == "crash"
        assert "ann@" not in str(caught.value) + caught.value.detail
    assert not engine.is_well
    redacted = MaskRedactor(engine, parts.snapshot, parts.FixedKeys()).redact(
        b'{"a": "ann@corp.example and more"}', "application/json", "crm"
    )
    assert (b"ann@" in redacted.body, redacted.complete) == (False, False)


def test_row_17_records_hold_no_value_whatever_the_caller_may_see():
    redactor = MaskRedactor(parts.warm_engine(), parts.snapshot, parts.FixedKeys())
    texts = [
        redactor.redact(json.dumps(BODY).encode(), "application/json", "crm").body.decode(),
        redactor.redact(json.dumps(BODY).encode(), None, None).body.decode(),
        redactor.redact(
            "&".join(f"{key}={value}" for key, value in BODY.items()).encode(), "application/x-www-form-urlencoded", "crm"
        ).body.decode(),
        redactor.redact_text("\n".join(f"{key}={value}" for key, value in BODY.items()), "crm"),
        redactor.redact_text("/customers/ann%40corp.example?email=ann%40corp.example&token=abc&ssn=219-09-9999", "crm"),
        str(redactor.redact_fields([(key, value) for key, value in BODY.items()], "crm")),
    ]
    for text in texts:
        assert not any(clear in text for clear in CLEAR), text
        assert "ann%40corp" not in text and "=abc" not in text


def test_what_cannot_be_stored_masked_is_stored_as_length_and_hmac():
    redactor = MaskRedactor(parts.warm_engine(), parts.snapshot, parts.FixedKeys())
    one = redactor.redact(b"\x89PNG ann@corp.example", "image/png", "crm")
    assert one.complete is False
    assert one.body.startswith(b"[withheld: media, 21 bytes, hmac-sha-256:")
    assert one.body == redactor.redact(b"\x89PNG ann@corp.example", "image/png", "crm").body
    assert redactor.redact(b"", "image/png", "crm").complete


async def test_a_cold_engine_writes_nothing_and_does_not_block_the_loop():
    engine = MaskEngine(parts.FixedKeys(), harness.FakeClock())
    redactor = MaskRedactor(engine, parts.snapshot, parts.FixedKeys())
    assert redactor.redact_text("ann@corp.example", "crm") == "[withheld]"
    assert redactor.redact(b"ann@corp.example", "text/plain", "crm").complete is False


def test_row_18_loading_and_the_first_email_try_no_connection():
    code = (
        "import socket\n"
        "def no(*a, **k): raise SystemExit('network: ' + repr(a))\n"
        "socket.socket.connect = no; socket.getaddrinfo = no; socket.create_connection = no\n"
        "from addons.core.masking.detector import Detector, Sight\n"
        "d = Detector(); d.load('token', 'US', ['US'])\n"
        "assert d.spans('mail ann@corp.co.uk now', Sight('x'))[0].info_type == 'EMAIL_ADDRESS'\n"
        "print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "fine\n", done.stderr
    assert socket.socket.connect is not None


def test_row_24_the_cache_changes_no_verdict():
    detector = parts.warm_detector()
    texts = ["4111111111111111", "212-555-0123", "219099999", "my ssn is 219-09-9999", "ann@corp.example"]
    keys = ["card", "gtin", "phone", "", "ssn", "notes"]
    contexts = [(text, Sight(key, near)) for text in texts for key in keys for near in (False, True)] * 17
    random.Random(3).shuffle(contexts)
    detector.cache.clear()
    with_cache = [detector.spans(text, sight) for text, sight in contexts]
    without = []
    for text, sight in contexts[:120]:
        detector.cache.clear()
        without.append(detector.spans(text, sight))
    assert with_cache[:120] == without


async def test_a_body_that_takes_too_long_is_refused():
    class Slow(harness.FakeClock):
        def monotonic(self) -> float:
            self.mono += 0.5
            return self.mono

    engine = MaskEngine(parts.FixedKeys(), Slow(), parts.warm_detector())
    view = every_view()
    answer = Answer(
        "GET", 200, "OK", ((b"Content-Type", b"application/json"),), json.dumps([f"text number {n} and more" for n in range(20)]).encode()
    )
    with pytest.raises(MaskingError) as caught:
        await engine.mask_answer(answer, Terms(view, view.limits, Place()))
    assert caught.value.extra == {"reason": "deadline"}


@pytest.mark.parametrize(
    ("media", "body", "stand_in"),
    [
        ("application/json", b"[broken", b"[]"),
        ("application/json", b'{"broken', b"{}"),
        ("image/png", b"\x89", b""),
        ("text/plain; charset=utf-7", b"x", b""),
    ],
)
def test_withhold_gives_an_empty_stand_in_of_the_same_type(media, body, stand_in):
    from addons.core.config import model

    softer = model.Profile("soft", {"EMAIL_ADDRESS": parts.rule("EMAIL_ADDRESS")}, on_unmaskable="withhold")
    view = parts.view("soft", of=parts.snapshot(softer))
    engine = parts.warm_engine()
    answer = Answer("GET", 200, "OK", ((b"Content-Type", media.encode()), (b"X-A", b"ann@corp.example")), body)
    made = mask_answer(answer, Terms(view, view.limits, Place()), engine.detector, engine.transformer, lambda: None)
    assert made.body == stand_in
    assert dict(made.fields)[b"Guardhouse-Masking"] == b"withheld"
    assert dict(made.fields)[b"Content-Type"] == media.partition(";")[0].encode()
    assert b"ann@" not in b"".join(value for _, value in made.fields)
    assert made.withheld


def test_the_same_secret_in_two_places_has_two_pseudonyms():
    document = json.loads(parts.mask('{"a": {"password": "s"}, "b": {"password": "s"}}').body)
    assert document["a"]["password"] != document["b"]["password"]
    other = json.loads(parts.mask('{"a": {"password": "s"}, "b": {}}', path="/y").body)
    assert document["a"]["password"] != other["a"]["password"]
    again = json.loads(parts.mask('{"a": {"password": "s"}, "b": {}}').body)
    assert document["a"]["password"] == again["a"]["password"]


def test_receipts_have_stars_for_indices_and_no_value():
    masked = parts.mask('{"c": [{"email": "ann@corp.example"}, {"email": "bob@corp.example"}]}')
    assert masked.receipt == [
        {"profile": "pii", "info_type": "EMAIL_ADDRESS", "path": "/c/*/email", "transform": "pseudonym", "count": 2, "revealed": False}
    ]
    assert masked.fields_seen == {"/c/*/email": 2}


def test_headers_links_and_trailers_are_scanned():
    engine, view = parts.warm_engine(), parts.view()
    fields = (
        (b"Content-Type", b"text/plain"), (b"Location", b"https://x.example/u/ann@corp.example?email=ann%40corp.example&page=2"),
        (b"Link", b'<https://x.example/?token=abcdef&page=3>; rel="next"'), (b"X-User", b"ann@corp.example"), (b"X-Api-Key", b"hunter2"), (b"X-Version", b"1.2.3"),
    )  # fmt: skip
    answer = Answer("GET", 200, "OK ann@corp.example", fields, b"x", ((b"Grpc-Message", b"no ann@corp.example"),))
    made = mask_answer(answer, Terms(view, view.limits, Place()), engine.detector, engine.transformer, lambda: None)
    values = dict(made.fields)
    assert values[b"Location"] == b"https://x.example/u/p-jfy6issxq26l5w@masked.invalid?email=p-jfy6issxq26l5w@masked.invalid&page=2"
    assert b"abcdef" not in values[b"Link"] and b"page=3" in values[b"Link"]
    assert values[b"X-User"] == b"p-jfy6issxq26l5w@masked.invalid"
    assert values[b"X-Api-Key"].startswith(b"[MASKED:SECRET:")
    assert values[b"X-Version"] == b"1.2.3"
    assert made.trailers == ((b"Grpc-Message", b"no p-jfy6issxq26l5w@masked.invalid"),)
    assert "ann@" not in made.reason


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /users/ann@corp.example/x?token=abc&page=2", "GET /users/[MASKED:EMAIL_ADDRESS:JFY6ISSXQ26L5W]/x?token=*&page=2"),
        ("/users/ann%40corp.example", "/users/[MASKED:EMAIL_ADDRESS:JFY6ISSXQ26L5W]"),
        ("token=abc&email=ann%40corp.example", "token=*&email=[MASKED:EMAIL_ADDRESS:JFY6ISSXQ26L5W]"),
        ('{"X-Api-Token": "a b=c&d=e"}', '{"X-Api-Token": "*"}'),
        ("connect to db failed: password=hunter2 host=db", "connect to db failed: password=* host=db"),
        ("plain words only", "plain words only"),
    ],
)
def test_lines_are_masked_by_name_and_by_form(text, masked):
    redactor = MaskRedactor(parts.warm_engine(), parts.snapshot, parts.FixedKeys())
    assert re.sub(r"\[MASKED:SECRET:\w+\]", "*", redactor.redact_text(text, "crm")) == masked


def test_a_value_across_a_window_is_found_whole():
    detector = parts.warm_detector()
    for at in range(4060, 4100, 3):
        text = "word " * (at // 5) + "x" * (at % 5) + " ann@corp.example and 4111 1111 1111 1111 " + "word " * 200
        found = {text[span.start : span.end] for span in detector.spans(text, Sight("notes"))}
        assert {"ann@corp.example", "4111 1111 1111 1111"} <= found


def test_numbers_are_masked_only_where_a_rule_names_them():
    body = '{"n": [1, 2.50, 4111111111111111], "ssn": 219099999, "card": {"number": 4111111111111111}, "pin_token": 12, "date_of_birth": 19700102, "ok": true}'
    masked = parts.mask(body).body.decode()
    assert masked == '{"n": [1, 2.50, 4111111111111111], "ssn": 0, "card": {"number": 0}, "pin_token": 0, "date_of_birth": 0, "ok": true}'


def test_a_bare_number_is_judged_with_the_object_it_stands_in():
    body = '{"card": {"number": "4111111111111111"}, "order": {"number": "4111111111111111"}, "phone": {"number": "2125550123"}}'
    document = json.loads(parts.mask(body).body)
    assert document["card"]["number"].startswith("[MASKED:CREDIT_CARD:1111:")
    assert document["order"]["number"] == "4111111111111111"
    assert document["phone"]["number"].startswith("[MASKED:PHONE_NUMBER:")
