"""Nobody filters, sorts or selects by what they may not see: guesses would read the masked value bit by bit.

Runs after the rules, on the profiles that this request owes, unless the service says `filters: allow` in masking.yaml.
Whether a profile covers a name is the masking area's knowledge and comes in as an argument.
"""

from collections.abc import Callable

from addons.core.config.model import Snapshot
from addons.core.errors import PolicyDeniedError
from addons.core.exchange import Exchange
from addons.core.policy.facts import flatten

Covers = Callable[[Snapshot, tuple[str, ...], str], bool]


def check(snapshot: Snapshot, record: Exchange, covers: Covers) -> None:
    """Refuse (403 masked-field-filter) a request that names a masked field in its query, filter, sort or selector."""
    if record.operation is None or record.decision is None or not record.decision.masks:
        return
    if snapshot.masking.service(record.service or "").filters == "allow":
        return
    named = sorted({name for node in flatten(record.operation) for name in node.attributes.get("filters") or ()})
    found = [name for name in named if covers(snapshot, record.decision.masks, name)]
    if found:
        raise PolicyDeniedError(
            f"The field `{found[0]}` is masked for you, so the request may not filter, sort or select by it. Leave it out.",
            code="masked-field-filter",
            detail=f"{len(found)} of {len(named)} names are masked; profiles {', '.join(record.decision.masks)}",
        )
