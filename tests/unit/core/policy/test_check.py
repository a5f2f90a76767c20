import pytest

from addons.core.config import model
from addons.core.policy.check import problems
from tests.parts.policy import rule, snapshot


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(
            {"when": "operation.attributes.pth == '/'"},
            "the condition names the attribute `pth`, which services of kind http do not have",
            id="attribute-in-a-condition",
        ),
        pytest.param({"attributes": {"namespace": ("prod",)}}, "match names the attribute `namespace`", id="attribute-in-match"),
        pytest.param({"when": "operation.verb.lower() == 'get'"}, "the condition (`when`) of rule r may not hold a call", id="a-call"),
        pytest.param({"when": "nosuch"}, "names `nosuch`", id="unknown-variable"),
        pytest.param({"when": "1 +"}, "cannot be read", id="syntax"),
        pytest.param({"methods": ("FETCH",)}, "`methods` names 'FETCH'", id="method-nobody-can-send"),
        pytest.param({"verbs": ("get",)}, "`verbs` names 'get'", id="verb-in-lower-case"),
        pytest.param({"paths": ("/a/%2f",)}, "percent-escape", id="escaped-path"),
        pytest.param({"paths": ("//a",)}, "`//`", id="double-slash"),
        pytest.param({"paths": ("/a/../b",)}, "dot segment", id="dot-segment"),
        pytest.param(
            {"services": ("guardhouse",), "attributes": {"path": ("/",)}}, "kind guardhouse", id="the-built-in-service-has-no-attributes"
        ),
    ],
)
def test_a_rule_that_could_never_work_is_found_at_load(broken, said):
    found = list(problems(snapshot(rule(where="rules.yaml:7", **broken))))
    assert [problem.where for problem in found] == ["rules.yaml:7"]
    assert said in found[0].problem


def test_the_nearest_attribute_is_named():
    found = list(problems(snapshot(rule(when="operation.attributes.filter == 'x'"))))
    assert found[0].hint == "nearest: filters"


def test_sound_rules_have_no_problem():
    sound = [
        rule("a", methods=("GET",), paths=("/customers/**",), when="'email' not in operation.attributes.filters"),
        rule("b", "hold", services=("guardhouse",), verbs=("purge",)),
        rule("c", "deny", attributes={"method_override": ("DELETE",)}),
        rule("d", when="principal.attributes.department == 'x'"),
    ]
    assert list(problems(snapshot(*sound))) == []


def test_every_problem_of_every_rule_is_told():
    found = list(problems(snapshot(rule("a", when="x", paths=("//", "/%41")), rule("b", methods=("FETCH", "PURGE")))))
    assert len(found) == 5


def test_a_rule_for_all_services_must_hold_for_every_kind():
    kube = model.Service("kube", "kubernetes", "https", model.Address("10.0.0.1", 6443))
    crm = model.Service("crm", "http", "http", model.Address("127.0.0.1", 1))
    found = list(problems(snapshot(rule(when="operation.attributes.path == '/'"), services={"crm": crm, "kube": kube})))
    assert "kind kubernetes" in found[0].problem


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param({"verbs": ("tools/call",), "attributes": {"argument.region": ("eu",), "tool": ("report",)}}, None, id="sound"),
        pytest.param({"methods": ("POST",), "verbs": ("unknown", "session/listen")}, None, id="sound-verbs"),
        pytest.param({"verbs": ("tools/calls",)}, "`verbs` names 'tools/calls'", id="verb"),
        pytest.param({"methods": ("PUT",)}, "`methods` names 'PUT'", id="method"),
        pytest.param({"attributes": {"argument.": ("eu",)}}, "the attribute `argument.`", id="argument-without-a-name"),
        pytest.param({"attributes": {"arguments.region": ("eu",)}}, "the attribute `arguments.region`", id="misspelt"),
        pytest.param({"when": "operation.attributes.tol == 'x'"}, "the attribute `tol`", id="condition"),
    ],
)
def test_rules_for_mcp_servers_are_checked_by_what_mcp_has(asked, said):
    tools = model.Service("tools", "mcp", "http", model.Address("127.0.0.1", 1), mcp=model.Mcp())
    found = list(problems(snapshot(rule(services=("tools",), **asked), services={"tools": tools})))
    assert [said in problem.problem for problem in found] == ([] if said is None else [True])
