import pytest

from addons.core.policy.cases import CaseError, cases_from, cut, run
from tests.parts.policy import NOW, rule, snapshot

ISSUERS = {"dev": "http://127.0.0.1:8445"}
CASE = {
    "name": "agent deletes",
    "request": {"service": "crm", "method": "DELETE", "url": "/customers/7"},
    "principal": {"issuer": "dev", "subject": "alice", "kind": "agent", "groups": ["sre"], "actors": ["planner"]},
    "purpose": "demo/tour",
    "expect": {"effect": "hold", "rules": ["held"], "mask": []},
}
RULES = (
    rule("held", "hold", access=("delete",), principals={"groups": ("dev:sre",), "actors": ("dev:planner",)}),
    rule("reads", methods=("GET",), mask=("pii",)),
)


def verdict(**changes):
    (case,) = cases_from([{**CASE, **changes}], ISSUERS)
    return run(snapshot(*RULES), case, NOW)


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        pytest.param({}, (), id="as-written"),
        pytest.param({"expect": {"effect": "allow"}}, ("effect: expected allow, got hold",), id="another-effect"),
        pytest.param({"expect": {"rules": []}}, ("rules: expected [], got ['held']",), id="other-rules"),
        pytest.param({"expect": {"masks": ["secrets"], "approvals": ["one-sre"], "observed": None}}, (), id="all-that-is-owed"),
        pytest.param(
            {
                "request": {"service": "crm", "method": "GET", "url": "http://crm.test/customers"},
                "expect": {"effect": "allow", "mask": ["pii"]},
            },
            (),
            id="with-a-host",
        ),
        pytest.param(
            {"request": {"service": "crm", "method": "GET", "url": "/a/../b"}, "expect": {"code": "request-malformed"}},
            (),
            id="refused-before-policy",
        ),
        pytest.param(
            {"request": {"service": "nosuch", "method": "GET", "url": "/"}, "expect": {"code": "no-service"}}, (), id="no-such-service"
        ),
    ],
)
def test_a_case_compares_what_it_names(changes, differences):
    assert verdict(**changes).differences == differences


def test_a_refusal_that_was_not_expected_fails_the_case():
    assert "refused before policy (request-malformed)" in verdict(request={"service": "crm", "method": "GET", "url": "//a"}).differences[0]


def test_a_purpose_counts_as_sent_in_a_header_unless_the_case_says_claim():
    assert [cases_from([{**CASE, **more}], ISSUERS)[0].purpose_source for more in ({}, {"purpose_source": "claim"}, {"purpose": ""})] == [
        "header",
        "claim",
        "none",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param({}, "expected a list", id="not-a-list"),
        pytest.param([{**CASE, "exepct": {}}], "case 1 (agent deletes): unknown key 'exepct'", id="misspelt"),
        pytest.param([{**CASE, "expect": {}}], "expects nothing tests nothing", id="nothing-expected"),
        pytest.param([{**CASE, "request": {"service": "crm"}}], "`request.method` is missing", id="no-method"),
        pytest.param([{**CASE, "principal": {"issuer": "corp"}}], "expected one of dev", id="unknown-issuer"),
        pytest.param(["x"], "case 1: expected a mapping", id="not-a-mapping"),
    ],
)
def test_a_file_that_holds_no_cases_says_why(data, said):
    with pytest.raises(CaseError) as refused:
        cases_from(data, ISSUERS)
    assert said in str(refused.value)


def test_an_empty_file_has_no_cases():
    assert cases_from(None, ISSUERS) == []


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("/customers", "", "/customers"),
        ("http://crm.test:8443/a?b=http://x", "crm.test:8443", "/a?b=http://x"),
        ("https://crm.test", "crm.test", "/"),
        ("http://crm.test?x", "crm.test", "/?x"),
        ("http://crm.test\\a", "crm.test", "\\a"),
        ("/a?u=http://evil/", "", "/a?u=http://evil/"),
        ("ftp://x/", "", "ftp://x/"),
        ("*", "", "*"),
    ],
)
def test_a_url_is_cut_and_never_repaired(url, host, target):
    assert cut(url) == (host, target)
