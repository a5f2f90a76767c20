from dataclasses import replace

import pytest

from addons.core.config import model
from addons.core.errors import PolicyDeniedError
from addons.core.exchange import Decision, Effect
from addons.core.policy import masked_filters
from tests.parts.policy import operation, record, snapshot


def covers(configuration, profiles, name):
    return "pii" in profiles and name == "email"


def asking(*names, masks=("pii", "secrets"), **more):
    flow = record(operation(attributes={"filters": list(names)}), **more)
    flow.decision = Decision(Effect.ALLOW, masks=masks)
    return flow


def test_a_masked_field_in_a_filter_is_refused():
    with pytest.raises(PolicyDeniedError) as refused:
        masked_filters.check(snapshot(), asking("name", "email"), covers)
    assert (refused.value.status, refused.value.code) == (403, "masked-field-filter")
    assert "`email` is masked for you" in str(refused.value)


def test_so_is_one_in_a_nested_operation():
    flow = asking()
    flow.operation = replace(flow.operation, children=(operation(attributes={"filters": ["email"]}),))
    with pytest.raises(PolicyDeniedError):
        masked_filters.check(snapshot(), flow, covers)


@pytest.mark.parametrize(
    ("flow", "filters"),
    [
        pytest.param(asking("name"), "deny", id="another-field"),
        pytest.param(asking("email", masks=("secrets",)), "deny", id="not-masked-for-this-principal"),
        pytest.param(asking("email", masks=()), "deny", id="nothing-is-masked"),
        pytest.param(asking("email"), "allow", id="the-service-allows-it"),
    ],
)
def test_what_is_not_masked_may_be_filtered_by(flow, filters):
    base = snapshot()
    masking = replace(base.masking, services={"crm": model.MaskedService(filters=filters)})
    masked_filters.check(replace(base, masking=masking), flow, covers)
