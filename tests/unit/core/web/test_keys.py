"""API keys over REST, with the real log: who may, what is made, what is on record, what never is."""

import asyncio
import json
from dataclasses import replace

import pytest

from addons.core.audit.reader import Reader
from addons.core.errors import ApiKeyUnknown
from addons.core.identity import key_rows
from addons.core.identity.api_keys import ApiKeys
from tests.parts.control import Bench, bearer, person
from tests.unit.core.web.test_reading import opened

ASKED = {"name": "nightly-report", "owner": "dev:alice", "kind": "service", "expires_in": 86_400, "groups": ["readers"]}
ASKED |= {"allowed_cidrs": ["192.0.2.0/24"]}
PEER = "192.0.2.1"


@pytest.fixture
async def bench(tmp_path):
    made = Bench(database=tmp_path / "audit.db")
    log = await opened(tmp_path, made.clock)

    async def find(key_id):
        rows = await log.rows(key_rows.TABLE, {"id": key_id}, limit=1)
        return rows[0] if rows else None

    async def touch(key_id, at_us):
        await log.move([key_rows.used(key_id, at_us)])

    keys = ApiKeys(made.clock, b"p" * 32, find, touch)
    made = replace(made, store=log, api_keys=keys)
    made.identity.add("root", person("root", "dev:sre"))
    yield made
    await keys.close()
    await log.close()


async def call(bench, method, path, body=None, token="root"):
    async with bench.client() as client:
        return await client.request(method, "/v1/keys" + path, json=body, headers=bearer(token))


async def principal_of(bench, text, peer=PEER):
    return await bench.api_keys.verify(text, bench.snapshot, peer)


async def test_a_key_is_issued_shown_once_and_works(bench):
    answer = await call(bench, "POST", "", ASKED)
    told = answer.json()
    text = told.pop("key")
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert told == {
        "id": told["id"], "name": "nightly-report", "subject": f"key:{told['id']}", "owner": "dev:alice", "kind": "service", "state": "active",
        "groups": ["key:readers"], "allowed_cidrs": ["192.0.2.0/24"], "created_at": "2023-11-14T22:13:20Z", "expires_at": "2023-11-15T22:13:20Z",
    }  # fmt: skip
    principal = await principal_of(bench, text)
    assert (principal.person, principal.owner, principal.groups) == (told["subject"], "dev:alice", ("key:readers",))
    listed = (await call(bench, "GET", "")).json()["keys"]
    assert [(key["id"], "key" in key) for key in listed] == [(told["id"], False)]


async def test_the_use_of_a_key_is_listed(bench):
    text = (await call(bench, "POST", "", ASKED)).json()["key"]
    assert "last_used_at" not in (await call(bench, "GET", "")).json()["keys"][0]
    await principal_of(bench, text)
    await bench.api_keys.close()
    assert (await call(bench, "GET", "")).json()["keys"][0]["last_used_at"] == "2023-11-14T22:13:20Z"


async def test_every_change_is_on_record_and_the_key_itself_is_nowhere(bench):
    made = (await call(bench, "POST", "", ASKED | {"reason": "asked by jane@example.com"})).json()
    turned = (await call(bench, "POST", f"/{made['id']}/rotate", {})).json()
    await call(bench, "GET", "")
    await call(bench, "POST", f"/{made['id']}/revoke", {"reason": "found in a log"})

    def read():
        with Reader.open(bench.database) as reader:
            return reader.events("kind IN (19, 13)", ())

    found = await asyncio.to_thread(read)
    told = [(e.kind, e.core["verb"], e.core.get("ref"), json.loads(e.fields["principal"])["subject"]) for e in found]
    id = made["id"]
    assert told == [
        ("key", "issued", id, "root"),
        ("key", "rotated", id, "root"),
        ("read", "keys", None, "root"),
        ("key", "revoked", id, "root"),
    ]
    assert [e.fields.get("reason") for e in found] == [b"asked by [MASKED]", None, None, b"found in a log"]
    assert json.loads(found[0].fields["note"])["owner"] == "dev:alice"
    stored = await asyncio.to_thread(lambda: b"".join(p.read_bytes() for p in bench.database.parent.glob("audit.db*")))
    for text in (made["key"], turned["key"]):
        assert text.encode() not in stored and text.split("_", 2)[2].rsplit("_", 1)[0].encode() not in stored


async def test_a_rotated_key_has_a_new_secret_and_the_same_subject(bench):
    made = (await call(bench, "POST", "", ASKED)).json()
    under_way = await principal_of(bench, made["key"])
    turned = (await call(bench, "POST", f"/{made['id']}/rotate", {})).json()
    assert (turned["id"], turned["expires_at"]) == (made["id"], made["expires_at"])
    assert (await principal_of(bench, turned["key"])).person == under_way.person
    with pytest.raises(ApiKeyUnknown):
        await principal_of(bench, made["key"])
    with pytest.raises(ApiKeyUnknown):
        bench.api_keys.still_good(under_way)


async def test_with_an_overlap_both_secrets_work_until_it_ends(bench):
    made = (await call(bench, "POST", "", ASKED)).json()
    turned = (await call(bench, "POST", f"/{made['id']}/rotate", {"overlap": 3600, "expires_in": 90_000})).json()
    assert (turned["previous_until"], turned["expires_at"]) == ("2023-11-14T23:13:20Z", "2023-11-15T23:13:20Z")
    assert (await principal_of(bench, made["key"])).expires_at == 1_700_003_600.0
    bench.clock.wall += 3600
    with pytest.raises(ApiKeyUnknown):
        await principal_of(bench, made["key"])
    assert (await principal_of(bench, turned["key"])).expires_at == 1_700_090_000.0


async def test_a_revoked_key_ends_at_once_also_under_way_and_for_ever(bench):
    made = (await call(bench, "POST", "", ASKED)).json()
    under_way = await principal_of(bench, made["key"])
    answer = await call(bench, "POST", f"/{made['id']}/revoke", {})
    assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    for check in (lambda: bench.api_keys.still_good(under_way),):
        with pytest.raises(ApiKeyUnknown):
            check()
    with pytest.raises(ApiKeyUnknown):
        await principal_of(bench, made["key"])
    for path in ("rotate", "revoke"):
        assert (await call(bench, "POST", f"/{made['id']}/{path}", {})).status_code == 409


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"owner": ""}, id="no-owner"),
        pytest.param({"owner": "nobody:alice"}, id="unknown-issuer"),
        pytest.param({"kind": "human"}, id="human"),
        pytest.param({"expires_in": 0}, id="no-end"),
        pytest.param({"expires_in": 91 * 86_400}, id="too-long"),
        pytest.param({"expires_in": "86400"}, id="text-for-a-number"),
        pytest.param({"allowed_cidrs": ["10.0.0.1/8"]}, id="not-a-network"),
        pytest.param({"groups": ["dev:sre"]}, id="a-group-of-people"),
        pytest.param({"id": "aaaaaaaaaaaa"}, id="a-wish-for-an-id"),
    ],
)
async def test_what_is_no_proper_key_is_refused(bench, changes):
    answer = await call(bench, "POST", "", ASKED | changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("missing", ["owner", "expires_in", "kind", "name"])
async def test_a_key_without_owner_or_end_is_refused(bench, missing):
    answer = await call(bench, "POST", "", {name: value for name, value in ASKED.items() if name != missing})
    assert answer.status_code == 422


@pytest.mark.parametrize("token", ["alice", "dave"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("POST", "/abc/rotate"), ("POST", "/abc/revoke")])
async def test_only_admins_have_to_do_with_keys(bench, token, method, path):
    answer = await call(bench, method, path, ASKED if method == "POST" else None, token=token)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_key_does_not_open_the_control_plane(bench):
    text = (await call(bench, "POST", "", ASKED | {"allowed_cidrs": []})).json()["key"]
    async with bench.client() as client:
        for headers in (bearer(text), {"X-Api-Key": text}):
            assert (await client.get("/v1/keys", headers=headers)).status_code == 401


async def test_an_unknown_key_is_not_there(bench):
    assert (await call(bench, "POST", "/aaaaaaaaaaaa/revoke", {})).status_code == 404


async def test_a_row_that_somebody_wrote_into_the_file_is_listed_as_damaged_and_stays_dead(bench):
    made = (await call(bench, "POST", "", ASKED)).json()
    await bench.store.move([key_rows.Update(key_rows.TABLE, {"groups": '["key:admins"]'}, {"id": made["id"]})])
    assert (await call(bench, "GET", "")).json()["keys"] == [{"id": made["id"], "state": "damaged"}]
    with pytest.raises(ApiKeyUnknown):
        await principal_of(bench, made["key"])
    assert (await call(bench, "POST", f"/{made['id']}/rotate", {})).status_code == 409


async def test_two_rotations_at_once_make_one_secret(bench):
    made = (await call(bench, "POST", "", ASKED)).json()
    answers = await asyncio.gather(*(call(bench, "POST", f"/{made['id']}/rotate", {}) for _ in range(4)))
    good = [answer.json()["key"] for answer in answers if answer.status_code == 200]
    working = 0
    for text in good:
        try:
            await principal_of(bench, text)
            working += 1
        except ApiKeyUnknown:
            pass
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert working == 1


async def test_without_a_key_book_nothing_is_served(tmp_path):
    bench = Bench()
    bench.identity.add("root", person("root", "dev:sre"))
    assert (await call(bench, "POST", "", ASKED)).status_code == 503
