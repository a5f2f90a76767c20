"""References become secrets when they are used, and a secret shows itself to nobody."""

import base64
import copy
import json
import os
import pickle
import stat
import threading
from dataclasses import replace

import pytest

from addons.core.config.model import Reference
from addons.core.errors import ConfigError, CredentialError
from addons.core.services.credentials.references import MAX_SECRET, Secret, Secrets, key_bytes, open_keys
from tests import harness

CANARY = b"c4n4ry-very-secret"


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


def put(path, value, mode=0o600):
    path.write_bytes(value)
    path.chmod(mode)
    return path


def file_ref(path):
    return Reference("file", str(path), "service-crm")


def auto(name):
    return Reference("auto", "", name)


def refusal(secrets, ref):
    with pytest.raises(CredentialError) as caught:
        secrets.resolve(ref)
    assert CANARY.decode() not in f"{caught.value} {caught.value.detail}"
    return caught.value.detail


def test_a_secret_shows_itself_to_nobody():
    secret = Secret(CANARY, "v1")
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    assert json.dumps({"s": secret}, default=str) == '{"s": "***"}'
    for give_away in (pickle.dumps, json.dumps, copy.copy, copy.deepcopy, vars):
        with pytest.raises(TypeError):
            give_away(secret)
    assert secret.reveal() == CANARY


def test_an_environment_variable(state):
    secrets = Secrets(state, {"TOKEN": "abc", "EMPTY": ""})
    assert secrets.resolve(Reference("env", "TOKEN", "x")).reveal() == b"abc"
    assert refusal(secrets, Reference("env", "EMPTY", "x")) == "env:EMPTY: the variable is not set"
    assert refusal(secrets, Reference("env", "NONE", "x")) == "env:NONE: the variable is not set"


@pytest.mark.parametrize(
    ("written", "revealed"),
    [
        pytest.param(b"token", b"token", id="plain"),
        pytest.param(b"token\n", b"token", id="newline"),
        pytest.param(b"token\r\n", b"token", id="windows-newline"),
        pytest.param(b" to ken ", b" to ken ", id="spaces-are-kept"),
    ],
)
def test_a_file(written, revealed, tmp_path, state):
    ref = file_ref(put(tmp_path / "token", written))
    assert Secrets(state, {}).resolve(ref).reveal() == revealed


def test_a_file_in_the_state_folder(state):
    put(state / "token", b"abc\n")
    assert Secrets(state, {}).resolve(Reference("state", "token", "x")).reveal() == b"abc"


def test_a_replaced_file_is_read_again_without_a_restart(tmp_path, state):
    path = put(tmp_path / "token", b"one")
    secrets = Secrets(state, {})
    first = secrets.resolve(file_ref(path))
    assert secrets.resolve(file_ref(path)) is first
    put(tmp_path / "new", b"two").replace(path)
    second = secrets.resolve(file_ref(path))
    assert (second.reveal(), first.version == second.version) == (b"two", False)


def test_a_file_behind_a_swapped_link_is_read_again(tmp_path, state):
    """As Kubernetes rotates a mounted Secret: `..data` is a link that is swapped."""
    for name, value in (("v1", b"one"), ("v2", b"two")):
        (tmp_path / name).mkdir()
        put(tmp_path / name / "token", value, 0o400)
    link = tmp_path / "data"
    link.symlink_to("v1")
    secrets = Secrets(state, {})
    assert secrets.resolve(file_ref(link / "token")).reveal() == b"one"
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").replace(link)
    assert secrets.resolve(file_ref(link / "token")).reveal() == b"two"


def test_a_file_that_was_opened_to_others_is_refused_from_then_on(tmp_path, state):
    path = put(tmp_path / "token", CANARY)
    secrets = Secrets(state, {})
    secrets.resolve(file_ref(path))
    path.chmod(0o644)
    assert "others can read or write the file (mode 0644)" in refusal(secrets, file_ref(path))


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o666, 0o777], ids=oct)
def test_a_file_that_others_can_read_or_anybody_else_can_write_is_no_secret(mode, tmp_path, state):
    assert "others can read or write" in refusal(Secrets(state, {}), file_ref(put(tmp_path / "token", CANARY, mode)))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640], ids=oct)
def test_a_group_may_read_a_mounted_secret(mode, tmp_path, state):
    assert Secrets(state, {}).resolve(file_ref(put(tmp_path / "token", b"x", mode))).reveal() == b"x"


def test_a_file_of_the_state_folder_is_for_us_alone(state):
    put(state / "token", CANARY, 0o640)
    assert "others can read" in refusal(Secrets(state, {}), Reference("state", "token", "x"))


@pytest.mark.parametrize(
    ("make", "detail"),
    [
        pytest.param(lambda path: None, "No such file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "", id="folder"),
        pytest.param(lambda path: os.mkfifo(path, 0o600), "it is not a file", id="fifo"),
        pytest.param(lambda path: put(path, b""), "the file is empty", id="empty"),
        pytest.param(lambda path: put(path, b"\n"), "the file is empty", id="only-a-newline"),
        pytest.param(lambda path: put(path, b"x" * (MAX_SECRET + 1)), "more than 65536 bytes", id="too-long"),
    ],
)
def test_what_is_no_secret_file_is_refused(make, detail, tmp_path, state):
    make(tmp_path / "token")
    assert detail in refusal(Secrets(state, {}), file_ref(tmp_path / "token"))


def test_a_reference_of_a_later_part_resolves_to_nothing(state):
    assert "not built yet" in refusal(Secrets(state, {}), Reference("exec", "/bin/true", "x"))


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param("root-key", lambda value: value, id="a-key-is-32-bytes"),
        pytest.param("service-crm", lambda value: base64.urlsafe_b64decode(value + b"="), id="a-credential-is-text"),
        pytest.param(
            "integration-demo", lambda value: base64.b64decode(value.removeprefix(b"whsec_"), validate=True), id="a-webhook-secret"
        ),
    ],
)
def test_auto_makes_a_file_once_for_us_alone(name, form, state):
    secrets = Secrets(state, {})
    secrets.ensure(auto(name))
    value = secrets.resolve(auto(name)).reveal()
    assert len(form(value)) == 32
    assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
    secrets.ensure(auto(name))
    assert Secrets(state, {}).resolve(auto(name)).reveal() == value
    assert [path.name for path in state.iterdir()] == [name]


def test_the_state_folder_is_made_for_us_alone(tmp_path):
    Secrets(tmp_path / "a" / "state", {}).ensure(auto("root-key"))
    assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700


def test_a_state_folder_that_others_can_enter_gets_no_secrets(tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    (tmp_path / "state").chmod(0o755)
    assert "not ours alone" in refusal(Secrets(tmp_path / "state", {}), auto("service-crm"))


def test_who_makes_the_same_file_at_the_same_time_gets_the_same_secret(state):
    found = []
    threads = [threading.Thread(target=lambda: found.append(Secrets(state, {}).resolve(auto("service-crm")).reveal())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8


def test_a_key_is_never_made_by_using_it(state):
    assert "No such file" in refusal(Secrets(state, {}), auto("root-key"))


ROOT = bytes(range(32))


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(ROOT, id="bytes"),
        pytest.param(ROOT.hex().encode() + b"\n", id="hex"),
        pytest.param(base64.b64encode(b"\xff" * 31 + b"\xfe"), id="base64"),
        pytest.param(base64.urlsafe_b64encode(b"\xff" * 31 + b"\xfe").rstrip(b"=") + b"\n", id="base64url"),
    ],
)
def test_a_key_may_be_written_as_bytes_hex_or_base64(written):
    assert key_bytes(written) in (ROOT, b"\xff" * 31 + b"\xfe")


@pytest.mark.parametrize(
    "written", [b"", b"x" * 31, b"x" * 33, b"zz" * 32, b"!" * 43, base64.b64encode(b"x" * 31), b"\xff" * 64], ids=range(7)
)
def test_what_is_not_32_bytes_is_no_key(written):
    with pytest.raises(ValueError, match=r"not a key|non-hexadecimal"):
        key_bytes(written)


def keys_of(tmp_path, state, **keys):
    audit = replace(harness.snapshot(tmp_path).gateway.audit, database=tmp_path / "audit.db")
    return harness.snapshot(tmp_path, state=state, audit=audit, keys={"root": auto("root-key"), **keys})


def test_the_root_key_is_made_at_the_first_start_and_kept(tmp_path, state):
    snapshot = keys_of(tmp_path, state)
    first = open_keys(snapshot, Secrets(state, {})).derive("masking")
    put(tmp_path / "audit.db", b"a store")
    assert open_keys(snapshot, Secrets(state, {})).derive("masking") == first


def test_an_override_counts(tmp_path, state):
    snapshot = keys_of(tmp_path, state, masking=file_ref(put(tmp_path / "masking", ROOT.hex().encode())))
    assert open_keys(snapshot, Secrets(state, {})).derive("masking") == ROOT


def test_a_root_key_that_is_missing_beside_a_store_refuses_the_start(tmp_path, state):
    put(tmp_path / "audit.db", b"a store")
    with pytest.raises(ConfigError, match=r"keys.root: the root key is missing beside an existing store"):
        open_keys(keys_of(tmp_path, state), Secrets(state, {}))
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "mode", "told"),
    [
        pytest.param(None, 0, "No such file", id="missing"),
        pytest.param(CANARY, 0o600, "does not hold 32 bytes", id="no-key"),
        pytest.param(ROOT, 0o644, "others can read", id="readable-by-others"),
    ],
)
def test_a_key_that_cannot_be_used_refuses_the_start(value, mode, told, tmp_path, state):
    if value is not None:
        put(tmp_path / "key", value, mode)
    with pytest.raises(ConfigError, match=told) as caught:
        open_keys(keys_of(tmp_path, state, masking=file_ref(tmp_path / "key")), Secrets(state, {}))
    assert "keys.masking" in str(caught.value)
    assert CANARY.decode() not in str(caught.value)
