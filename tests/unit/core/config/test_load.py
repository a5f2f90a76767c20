"""What the files say arrives in the Snapshot, and the Snapshot says nothing else."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from addons.core.config import model
from addons.core.config.load import FILES, find_policies, load
from addons.core.errors import ConfigError, ConfigProblem

ROOT = Path(__file__).parents[4]
BASE = ROOT / "tests" / "golden" / "config" / "base"
SHIPPED = ROOT / "policies"
NOW = 1_700_000_000.0
HOME = {"HOME": "/home/somebody"}


@pytest.fixture(scope="module")
def base():
    return load(BASE, clock_now=NOW, environ=HOME)


def changed(tmp_path, file, find, write, source=BASE):
    """A copy of a policies folder with one text replaced."""
    folder = tmp_path / "policies"
    if not folder.exists():
        shutil.copytree(source, folder)
    text = (folder / file).read_text()
    assert find in text
    (folder / file).write_text(text.replace(find, write, 1))
    return folder


def refused(folder, environ=HOME, checks=()):
    with pytest.raises(ConfigError) as caught:
        load(folder, clock_now=NOW, environ=environ, checks=checks)
    return [(problem.where, problem.problem) for problem in caught.value.problems]


def test_listeners_and_places(base):
    gateway = base.gateway
    assert gateway.listeners == (
        model.Listener(
            "main", model.Address("0.0.0.0", 8443), model.Tls(model.Reference("file", "/etc/guardhouse/tls.pem", "listener-main")), ("crm", "shop"),
            False, "gateway.yaml:8",
        ),
        model.Listener("local", model.Address("127.0.0.1", 8442), None, ("shop",), False, "gateway.yaml:12"),
    )  # fmt: skip
    assert gateway.control.bind == model.Address("127.0.0.1", 8444)
    assert gateway.control.rate_limit_per_person == 1.0
    assert gateway.control.roles == {"investigator": ("corp:security",), "admin": ("corp:sre",)}
    assert (gateway.limits.headers, gateway.limits.hook_deadline, gateway.limits.body) == (32768, 10.0, 32 << 20)
    assert gateway.home == BASE.parent
    assert gateway.state == BASE.parent / "state-here"
    assert gateway.audit.database == BASE.parent / "recordings" / "audit.db"
    assert gateway.audit.anchor_files == (BASE.parent / "state-here" / "witness.notes",)
    assert gateway.keys == {
        "root": model.Reference("auto", "", "root-key"),
        "masking": model.Reference("env", "MASKING_KEY", "key-masking"),
    }
    assert gateway.development is None


def test_services(base):
    crm, shop = base.gateway.services["crm"], base.gateway.services["shop"]
    assert (crm.url, crm.hosts, crm.ca) == (
        "https://crm.example:9443",
        ("crm.guardhouse.example",),
        model.Reference("file", "/etc/guardhouse/ca.pem", "ca-crm"),
    )
    assert crm.credential == model.Credential("header", model.Reference("env", "CRM_TOKEN", "service-crm"), "X-Token")
    assert crm.observe == model.Observe(1893542400.0, "new rules")  # 2030-01-02T00:00:00Z
    assert crm.accept == model.Accept(get_body=True, cookies=("sid",))
    assert shop.credential == model.Credential("bearer", model.Reference("auto", "", "service-shop"), "Authorization")
    assert (shop.url, shop.response_timeout, shop.connect_timeout, shop.websocket) == ("http://127.0.0.1:9000", 300.0, 5.0, None)


def test_issuers(base):
    (corp,) = base.gateway.identity.issuers
    assert corp.kinds == (model.KindRule("agent", ("agent-cli",)), model.KindRule("human", (), "user_type", "employee"))
    assert (corp.authorized_parties, corp.token_types, corp.signing_algorithms) == (("agent-cli",), ("at+jwt",), ("ES256",))
    assert (corp.bound_claims, corp.claim_mappings, corp.leeway) == ({"tenant": "7"}, {"agent": "actors"}, 10.0)
    assert (corp.jwks.file, corp.jwks.cooldown, corp.jwks.max_keys) == (BASE.parent / "keys.json", 5.0, 64)
    assert base.gateway.identity.agents == {"corp:planner": "corp:alice"}
    assert base.gateway.identity.aliases == (("corp:alice", "corp:alice-admin"),)


def test_rules(base):
    read, hold, deny = base.rules.rules
    assert base.rules.default == "deny"
    assert (read.effect, read.services, read.methods, read.paths, read.mask) == ("allow", ("crm",), ("GET",), ("/customers/**",), ("pii",))
    assert read.attributes == {"dry_run": ("false",), "code": ("7", "x")}
    assert read.principals == {"kinds": ("human",), "groups": ("corp:support", "key:robots")}
    assert (read.when, read.where) == ("operation.attributes.dry_run != true", "rules.yaml:4")
    assert (hold.access, hold.approval, hold.reason, hold.audit, hold.services) == (
        ("delete",),
        "one-sre",
        "Cannot be undone.",
        "Metadata",
        None,
    )
    assert (deny.effect, deny.approval, deny.mask) == ("deny", None, ())


def test_masking(base):
    pii = base.masking.profiles["pii"]
    assert pii.entities == {
        "EMAIL_ADDRESS": model.EntityRule("EMAIL_ADDRESS", "pseudonym", 0.5, shape=True),
        "CREDIT_CARD": model.EntityRule("CREDIT_CARD", "mask", None, keep_last=4),
    }
    assert pii.fields == (
        model.FieldRule("/customers/*/notes", None, "text", None, "masking.yaml:10"),
        model.FieldRule(None, "born", None, model.EntityRule("DATE_OF_BIRTH", "redact"), "masking.yaml:11"),
    )
    assert (pii.exempt, pii.reveal, pii.on_unmaskable) == (("/**/id",), (model.Reveal(("corp:fraud",), (), ("human",)),), "withhold")
    assert base.masking.profiles["record"] == model.Profile("record", {})
    assert base.masking.service("crm") == model.MaskedService(always=("secrets",))
    assert base.masking.service("shop").always == ("secrets", "pii")


def test_approvals(base):
    terms = base.approvals.terms["one-sre"]
    assert terms.requirements == (model.Requirement("corp:sre", 1),)
    assert (terms.hold_timeout, terms.pending_status, terms.assurance, terms.max_auth_age) == (30.0, 503, "integration", 900.0)
    assert base.approvals.people == {"corp:bob": ("corp:sre",)}
    assert base.approvals.signals == model.Signals(BASE.parent / "state-here" / "signals", 0.25, {1001: "corp:bob"})
    assert base.approvals.integrations["pager"].secrets == (
        model.Reference("env", "WHSEC", "integration-pager"),
        model.Reference("auto", "", "integration-pager.2"),
    )


def test_retention(base):
    assert base.retention.rules == (
        {"match": {"services": ("crm",), "levels": ("Request",)}, "keep": 7776000.0, "then": "erase bodies"},
        {"match": {}, "keep": 31536000.0, "then": "purge"},
    )


def test_the_shipped_example_loads_and_is_loud_about_itself():
    snapshot = load(SHIPPED, clock_now=NOW, environ=HOME)
    assert snapshot.gateway.development is not None
    assert snapshot.approvals.signals.approvers == {os.getuid(): "dev:bob"}
    assert {warning.split(":")[0] for warning in snapshot.warnings} >= {"unsafe_development", "control"}
    assert any("retention is not built yet" in warning for warning in snapshot.warnings)
    assert any("accept_claimed_by_header" in warning for warning in snapshot.warnings)


def test_the_digest_is_over_what_the_files_say_and_not_how(base, tmp_path):
    folder = changed(tmp_path, "rules.yaml", "version: 1", "# a comment\nversion:   1")
    (folder / "tests").mkdir()
    (folder / "tests" / "cases.yaml").write_text("- {name: x}\n")
    assert load(folder, clock_now=NOW, environ=HOME).digest == base.digest
    assert base.digest == "sha-256:2fa882de8d07fa7aa0be23a88a6e8db19f73fa18a4882fe8c5089d1e2b99db2d"


@pytest.mark.parametrize("file", FILES)
def test_the_digest_covers_each_file(file, base, tmp_path):
    finds = {
        "gateway": ("32KiB", "33KiB"),
        "rules": ("GET", "PUT"),
        "masking": ("0.5", "0.6"),
        "approvals": ("20s", "21s"),
        "retention": ("1y", "2y"),
    }
    assert load(changed(tmp_path, f"{file}.yaml", *finds[file]), clock_now=NOW, environ=HOME).digest != base.digest


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("fault", ["missing", "empty", "not-utf-8", "a-folder"])
def test_a_file_that_cannot_be_read_refuses_all(file, fault, tmp_path):
    folder = tmp_path / "policies"
    shutil.copytree(BASE, folder)
    path = folder / f"{file}.yaml"
    path.unlink()
    if fault == "empty":
        path.write_text("# nothing\n")
    if fault == "not-utf-8":
        path.write_bytes(b"version: 1\nname: \xff\n")
    if fault == "a-folder":
        path.mkdir()
    line = 2 if fault == "not-utf-8" else 1
    assert [where for where, _ in refused(folder)] == [f"{file}.yaml:{line}"]


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        pytest.param({"HOME": "/h"}, "/h/.local/state/guardhouse/base-{hash}", id="home"),
        pytest.param({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "/x/guardhouse/base-{hash}", id="xdg"),
        pytest.param({"HOME": "/h", "XDG_STATE_HOME": "/x", "GUARDHOUSE_STATE": "/g"}, "/g", id="variable"),
    ],
)
def test_the_state_folder_is_one_for_each_site(environ, state, tmp_path):
    folder = changed(tmp_path, "gateway.yaml", "state: state-here", "state: null")
    found = load(folder, clock_now=NOW, environ=environ).gateway.state
    assert str(found) == state.format(hash=hashlib.sha256(str(folder).encode()).hexdigest()[:8])


@pytest.mark.parametrize(
    ("until", "warned"),
    [
        pytest.param("2030-01-02", True, id="day"),
        pytest.param("2030-01-02T12:00:00+02:00", True, id="time-with-zone"),
        pytest.param("2023-11-14", False, id="over"),
    ],
)
def test_observe_mode_is_loud_while_it_lasts(until, warned, tmp_path):
    snapshot = load(changed(tmp_path, "gateway.yaml", "2030-01-02", until), clock_now=NOW, environ=HOME)
    assert any("observe mode" in warning for warning in snapshot.warnings) is warned


@pytest.mark.parametrize(
    ("find", "write", "word"),
    [
        pytest.param(
            "bind: 127.0.0.1:8442\n    tls: none",
            "bind: 10.0.0.5:8442\n    tls: none\n    unsafe_cleartext: true",
            "unsafe_cleartext",
            id="cleartext",
        ),
        pytest.param("rate_limit:", "unsafe_metrics_open: true\n  rate_limit:", "unsafe_metrics_open", id="metrics"),
        pytest.param("  anchors: {to: [{file: state:witness.notes}]}", "  anchors: {to: []}", "no anchor", id="no-anchor"),
    ],
)
def test_what_is_unsafe_is_warned_of(find, write, word, tmp_path):
    snapshot = load(changed(tmp_path, "gateway.yaml", find, write), clock_now=NOW, environ=HOME)
    assert any(word in warning for warning in snapshot.warnings)


@pytest.mark.parametrize(
    ("find", "write", "word"),
    [
        pytest.param("on_unmaskable: withhold", "on_unmaskable: pass", "on_unmaskable is pass", id="pass"),
        pytest.param("kinds: [human]}", "purposes: [fraud/*], accept_claimed_by_header: true}", "only claimed in a header", id="reveal"),
        pytest.param("always: [secrets]", "always: []", "masks nothing unless a rule says so", id="no-mask"),
    ],
)
def test_what_lets_more_through_is_warned_of(find, write, word, tmp_path):
    snapshot = load(changed(tmp_path, "masking.yaml", find, write), clock_now=NOW, environ=HOME)
    assert any(word in warning for warning in snapshot.warnings)


def test_checks_of_the_areas_run_on_what_is_otherwise_right(tmp_path):
    seen = []

    def check(snapshot):
        seen.append(snapshot.digest)
        return [ConfigProblem("rules.yaml:4", "`when` is not a condition")]

    assert refused(BASE, checks=[check]) == [("rules.yaml:4", "`when` is not a condition")]
    assert len(seen) == 1
    refused(changed(tmp_path, "rules.yaml", "default: deny", "default: allow"), checks=[check])
    assert len(seen) == 1


def test_the_policies_folder_is_told_or_beside_addons_and_never_the_working_directory(tmp_path, monkeypatch):
    for name in ("told", "variable", "root/policies", "cwd/policies"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    environ = {"GUARDHOUSE_POLICIES": str(tmp_path / "variable")}
    root = tmp_path / "root"
    assert find_policies(str(tmp_path / "told"), environ, root) == tmp_path / "told"
    assert find_policies(None, environ, root) == tmp_path / "variable"
    assert find_policies(None, {}, root) == root / "policies"
    with pytest.raises(ConfigError):
        find_policies(None, {}, tmp_path / "elsewhere")


LOOPBACK_RULE = "with unsafe_development every address is a loopback literal"
LOOPBACK_FREE = [
    pytest.param("  issuer: 127.0.0.1:8445 ", "  issuer: \"{}\" ", id="development-issuer"),
    pytest.param("  example_service: 127.0.0.1:8446 ", "  example_service: \"{}\" ", id="example-service"),
    pytest.param("    bind: 127.0.0.1:8443", "    bind: \"{}\"", id="listener"),
    pytest.param("    bind: 127.0.0.1:8442", "    bind: \"{}\"", id="cleartext-listener"),
    pytest.param("  bind: 127.0.0.1:8444", "  bind: \"{}\"", id="control"),
    pytest.param("      issuer: http://127.0.0.1:8445", "      issuer: https://{}", id="issuer"),
    pytest.param("    url: http://127.0.0.1:8446                  #", "    url: https://{} #", id="service"),
    pytest.param("    url: http://127.0.0.1:8446\n    hosts: [echo", "    url: https://{}\n    hosts: [echo", id="second-service"),
    pytest.param("jwks: {uri: null", "jwks: {{uri: \"https://{}\"", id="keys-of-the-issuer"),
]  # fmt: skip


@pytest.mark.parametrize(("find", "write"), LOOPBACK_FREE)
@pytest.mark.parametrize("address", ["192.0.2.7:9555", "localhost:9555", "0.0.0.0:9555", "[2001:db8::1]:9555", "gateway.example:9555"])
def test_development_stays_on_this_machine(find, write, address, tmp_path):
    folder = changed(tmp_path, "gateway.yaml", find, write.format(address), source=SHIPPED)
    line = 1 + (folder / "gateway.yaml").read_text().split(address)[0].count("\n")
    assert any(where == f"gateway.yaml:{line}" and problem.endswith(LOOPBACK_RULE) for where, problem in refused(folder))


@pytest.mark.parametrize("address", ["127.0.0.2:9555", "127.255.255.254:9555", "[::1]:9555"])
def test_every_loopback_literal_will_do(address, tmp_path):
    folder = changed(tmp_path, "gateway.yaml", "    bind: 127.0.0.1:8442", f'    bind: "{address}"', source=SHIPPED)
    assert str(load(folder, clock_now=NOW, environ=HOME).gateway.listeners[1].bind) == address


def test_the_development_issuer_is_where_the_block_says(tmp_path):
    folder = changed(tmp_path, "gateway.yaml", "      issuer: http://127.0.0.1:8445", "      issuer: http://127.0.0.1:9555", source=SHIPPED)
    assert [problem for _, problem in refused(folder)] == [
        "issuer dev is at 127.0.0.1:9555, but the development issuer is at 127.0.0.1:8445"
    ]


@pytest.mark.parametrize(
    ("url", "loops"),
    [
        pytest.param("http://127.0.0.1:8443", True, id="loopback"),
        pytest.param("https://localhost:8443", True, id="localhost"),
        pytest.param("https://127.0.0.1:8444", True, id="control"),
        pytest.param("https://[::1]:8444", False, id="other-loopback"),
        pytest.param("https://crm.internal:8443", False, id="our-port-elsewhere"),
        pytest.param("https://10.0.0.7:8443", False, id="our-port-at-another-address"),
    ],
)
def test_a_service_is_never_ourselves(url, loops, tmp_path):
    """The base listens at 0.0.0.0:8443, and its control plane at 127.0.0.1:8444."""
    folder = changed(tmp_path, "gateway.yaml", "url: http://127.0.0.1:9000", f"url: {url}")
    if not loops:
        load(folder, clock_now=NOW, environ=HOME)
        return
    assert refused(folder)[0][1].startswith("service shop is at")


@pytest.mark.parametrize(
    ("control", "told"),
    [
        pytest.param("0.0.0.0:8443", "control binds 0.0.0.0:8443, which listener main binds already", id="same"),
        pytest.param("127.0.0.1:8443", "control binds 127.0.0.1:8443, which listener main binds already", id="within-all-interfaces"),
        pytest.param('"[::]:8442"', "control binds [::]:8442, which listener local binds already", id="both-families"),
        pytest.param('"[::1]:8442"', None, id="other-family"),
    ],
)
def test_two_of_ours_never_bind_one_address(control, told, tmp_path):
    folder = changed(tmp_path, "gateway.yaml", "bind: 127.0.0.1:8444", f"bind: {control}")
    if told is None:
        load(folder, clock_now=NOW, environ=HOME)
        return
    assert told in [problem for _, problem in refused(folder)]


def test_without_the_block_each_use_of_development_is_told_with_its_line(tmp_path):
    folder = tmp_path / "policies"
    shutil.copytree(SHIPPED, folder)
    lines = (folder / "gateway.yaml").read_text().splitlines()
    first = lines.index("unsafe_development:")
    last = next(number for number in range(first + 1, len(lines)) if lines[number] and not lines[number].startswith(" "))
    (folder / "gateway.yaml").write_text("\n".join([*lines[:first], *lines[last:]]) + "\n")
    told = refused(folder)
    assert [problem for _, problem in told] == [
        "`preset: development` is only for unsafe_development",
        "`approvers: {self: ...}` is only for unsafe_development",
    ]
    assert told[0][0].startswith("gateway.yaml:")
    assert told[1][0].startswith("approvals.yaml:")
