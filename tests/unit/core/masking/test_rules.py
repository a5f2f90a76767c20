"""Views, globs, and what a mask covers."""

from dataclasses import replace

import pytest

from addons.core.config import model
from addons.core.masking import check
from addons.core.masking.detector import DEFAULT_TYPES
from addons.core.masking.rules import covers, path_matches, record_view, view_of
from tests.parts import masking as parts


@pytest.mark.parametrize(
    ("glob", "pointer", "matches"),
    [
        ("/customers/*/notes", "/customers/3/notes", True),
        ("/customers/*/notes", "/customers/3/4/notes", False),
        ("/customers/*/notes", "/customers/3/notes/x", False),
        ("/**/id", "/id", True),
        ("/**/id", "/a/b/id", True),
        ("/**/id", "/a/bid", False),
        ("/a/**", "/a/b/c", True),
        ("/a.b", "/axb", False),
        ("/*", "/a", True),
        ("/*", "/a/b", False),
    ],
)
def test_globs_over_pointers(glob, pointer, matches):
    assert path_matches(glob, pointer) is matches


@pytest.mark.parametrize(
    "name",
    ["email", "-email", "+email", "customer.email", "filter[email]", "customer/email", "customerEmail", "phone", "ssn", "card_number", "password",
     "api_key", "date_of_birth", "dateOfBirth", "/customers/*/notes", "notes", "customers.3.notes"],
)  # fmt: skip
def test_what_is_masked_cannot_be_filtered_by(name):
    assert covers(parts.snapshot(), ["pii", "secrets"], name)


@pytest.mark.parametrize(
    "name", ["id", "name", "status", "created_at", "page", "limit", "sort", "plan", "next_page_token", "customers", ""]
)
def test_an_open_field_can_be_filtered_by(name):
    assert not covers(parts.snapshot(), ["pii", "secrets"], name)


def test_only_the_profiles_that_apply_count():
    assert not covers(parts.snapshot(), ["secrets"], "email")
    assert covers(parts.snapshot(), ["secrets"], "password")
    assert not covers(parts.snapshot(), [], "email")


def test_a_profile_that_is_not_defined_is_an_error():
    with pytest.raises(KeyError):
        view_of(parts.snapshot(), "crm", ["nope"])


def test_the_record_view_holds_the_default_types_whatever_the_file_says():
    weak = model.Profile("record", {}, exempt=("/**",), allow_values=("ann@corp.example",))
    view = record_view(parts.snapshot(parts.PII, parts.SECRETS, weak), "crm")
    assert view.info_types >= DEFAULT_TYPES
    assert b"ann@corp" not in parts.mask('{"email": "ann@corp.example"}', view_of_it=view).body


def test_an_exemption_of_one_profile_lifts_no_other():
    body = '{"id": "ghp_0123456789abcdefghijABCDEFGHIJ012345", "email": "support@corp.example"}'
    assert b"ghp_" not in parts.mask(body).body
    assert b"support@corp.example" in parts.mask(body).body
    strict = model.Profile("strict", {"EMAIL_ADDRESS": parts.rule("EMAIL_ADDRESS", "redact")})
    view = parts.view("pii", "strict", of=parts.snapshot(parts.PII, strict))
    assert b"support@corp" not in parts.mask(body, view_of_it=view).body


def test_the_stricter_transform_wins():
    redacting = model.Profile("redacting", {"EMAIL_ADDRESS": parts.rule("EMAIL_ADDRESS", "redact")})
    view = parts.view("pii", "redacting", of=parts.snapshot(parts.PII, redacting))
    assert parts.mask('{"a": "ann@corp.example"}', view_of_it=view).body.startswith(b'{"a": "[MASKED:EMAIL_ADDRESS:')


def broken(**changes):
    base = parts.snapshot()
    return [problem.problem for problem in check.problems(replace(base, masking=replace(base.masking, **changes)))]


def profile(name="pii", **more):
    return {name: replace(parts.PII, **more)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"pseudonym_scope": "planet"}, "pseudonyms.scope", id="scope"),
        pytest.param({"keys_of_objects": "drop"}, "keys_of_objects", id="keys"),
        pytest.param({"profiles": profile(entities={"EMAIL": parts.rule("EMAIL")})}, "no info type is called 'EMAIL'", id="type"),
        pytest.param(
            {"profiles": profile(entities={"US_SSN": parts.rule("US_SSN", "rot13")})}, "no transform is called 'rot13'", id="transform"
        ),
        pytest.param({"profiles": profile(entities={"US_SSN": parts.rule("US_SSN", threshold=0.0)})}, "threshold", id="threshold"),
        pytest.param(
            {"profiles": profile(entities={"SECRET": parts.rule("SECRET")}, on_unmaskable="pass")}, "on_unmaskable: pass", id="pass"
        ),
        pytest.param({"profiles": profile(entities={"SECRET": parts.rule("SECRET", "keep")})}, "cannot become keep", id="keep-secret"),
        pytest.param(
            {"profiles": profile(entities={"CREDIT_CARD": parts.rule("CREDIT_CARD", "mask", keep_last=12)})}, "keeps 0 and 12", id="kept"
        ),
        pytest.param(
            {"profiles": profile(fields=(model.FieldRule(path="/a", key="a", scan="text"),))}, "exactly one of path and key", id="field"
        ),
        pytest.param({"profiles": profile(fields=(model.FieldRule(path="a", scan="text"),))}, "does not begin with /", id="path"),
        pytest.param({"services": {"crm": model.MaskedService(always=("nope",))}}, "which is no profile", id="always"),
        pytest.param({"services": {"crm": model.MaskedService(pass_media=("text/*",))}}, "always masked", id="pass-media"),
    ],
)
def test_what_does_not_fit_together_is_a_problem(changes, says):
    assert any(says in problem for problem in broken(**changes))


def test_the_shipped_shape_has_no_problem():
    assert list(check.problems(parts.snapshot())) == []


def test_unmarked_values_need_writes_denied():
    shifting = model.Profile("pii", {"DATE_OF_BIRTH": parts.rule("DATE_OF_BIRTH", "date_shift")})
    assert any(
        "without a mark" in one
        for one in broken(profiles={"pii": shifting}, services={"crm": model.MaskedService(always=("pii",), writes="allow")})
    )
