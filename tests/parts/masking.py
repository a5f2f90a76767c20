"""The masking parts of tests: one warm detector per session, and a small body masker with a known key."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from addons.core.config import model
from addons.core.errors import Unmaskable
from addons.core.masking.detector import Detector
from addons.core.masking.engine import MaskEngine
from addons.core.masking.pseudonym import Place
from addons.core.masking.receipt import Masked, Tally
from addons.core.masking.rules import MaskView, view_of
from tests import harness

REGIONS = ("US", "GB", "DE", "FR", "IN", "BR", "JP", "AU")
KEY = bytes(range(32))


class FixedKeys:
    """A key ring whose every key is 00..1f: the key of the vectors in the design."""

    def derive(self, label: str) -> bytes:
        return KEY


@lru_cache(maxsize=1)
def warm_detector() -> Detector:
    """The one loaded detector of this test session."""
    detector = Detector()
    detector.load("token", "US", REGIONS)
    return detector


def warm_engine(clock: harness.FakeClock | None = None) -> MaskEngine:
    """An engine that is warm from the start."""
    return MaskEngine(FixedKeys(), clock or harness.FakeClock(), warm_detector())


def rule(info_type: str, transform: str = "pseudonym", **more: Any) -> model.EntityRule:
    return model.EntityRule(info_type, transform, **more)


PII = model.Profile(
    "pii",
    {
        "EMAIL_ADDRESS": rule("EMAIL_ADDRESS", threshold=0.5, shape=True),
        "PHONE_NUMBER": rule("PHONE_NUMBER", threshold=0.4),
        "CREDIT_CARD": rule("CREDIT_CARD", "mask", threshold=0.5, keep_last=4),
        "US_SSN": rule("US_SSN", "redact", threshold=0.5),
        "IBAN_CODE": rule("IBAN_CODE", threshold=0.5),
    },
    fields=(
        model.FieldRule(path="/customers/*/notes", scan="text"),
        model.FieldRule(key="date_of_birth", rule=rule("DATE_OF_BIRTH", "redact")),
    ),
    exempt=("/**/id",),
    allow_values=("support@corp.example",),
)
SECRETS = model.Profile("secrets", {"SECRET": rule("SECRET")})
RECORD = model.Profile("record", {})


def everything() -> model.Profile:
    """A profile that masks every info type the detector knows."""
    from addons.core.masking.rules import INFO_TYPES

    return model.Profile("all", {name: rule(name) for name in sorted(INFO_TYPES)})


def snapshot(
    *profiles: model.Profile, limits: model.MaskLimits | None = None, services: dict[str, model.MaskedService] | None = None, **masking: Any
) -> model.Snapshot:
    """The shipped profiles, or these; keywords replace members of Masking."""
    base = harness.snapshot()
    named = {one.name: one for one in (profiles or (PII, SECRETS, RECORD))}
    changed = replace(
        base.masking, profiles=named, limits=limits or model.MaskLimits(), services=services or base.masking.services, **masking
    )
    return replace(base, masking=changed)


def view(*names: str, of: model.Snapshot | None = None, service: str = "crm") -> MaskView:
    """The view of these profiles, by default of pii and secrets."""
    return view_of(of or snapshot(), service, names or ("pii", "secrets"))


def mask(
    body: bytes | str,
    media: str | None = "application/json",
    view_of_it: MaskView | None = None,
    tally: Tally | None = None,
    path: str = "/x",
) -> Masked:
    """Mask a body with the warm engine."""
    data = body.encode() if isinstance(body, str) else body
    return warm_engine().mask_body(data, media, view_of_it or view(), Place(service="crm", name=path), tally)


__all__ = [
    "KEY",
    "PII",
    "RECORD",
    "SECRETS",
    "FixedKeys",
    "Unmaskable",
    "everything",
    "mask",
    "rule",
    "snapshot",
    "view",
    "warm_detector",
    "warm_engine",
]
