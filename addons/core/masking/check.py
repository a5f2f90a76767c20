"""What can be wrong in masking.yaml beyond its shape: names, transforms, thresholds, and promises that do not fit together."""

from collections.abc import Iterator

from addons.core.config.model import EntityRule, FieldRule, Profile, Snapshot
from addons.core.errors import ConfigProblem
from addons.core.masking.rules import ANSWERS_STRICTEST_FIRST, INFO_TYPES, RECORD, STRICTEST_FIRST, UNMARKED
from addons.core.masking.transforms import MAX_KEPT

SCOPES = ("tenant", "service", "session")
MODES = ("mask", "keep", "block")
FIELD_TYPES = INFO_TYPES | {
    "US_DRIVER_LICENSE",
    "US_BANK_NUMBER",
    "US_PASSPORT",
    "UK_NHS",
    "MEDICAL_LICENSE",
    "ORGANIZATION",
    "LOCATION",
    "CUSTOM",
}


def problems(snapshot: Snapshot) -> Iterator[ConfigProblem]:
    """Every problem of the masking part of a Snapshot."""
    masking = snapshot.masking
    if masking.pseudonym_scope not in SCOPES:
        yield _problem("", f"pseudonyms.scope is {masking.pseudonym_scope!r}, expected one of {', '.join(SCOPES)}")
    if masking.keys_of_objects not in MODES:
        yield _problem("", f"keys_of_objects is {masking.keys_of_objects!r}, expected one of {', '.join(MODES)}")
    for name, profile in masking.profiles.items():
        yield from _profile(name, profile)
    for service, terms in masking.services.items():
        yield from _service(snapshot, service, terms.always, terms.writes, terms.pass_media)
    for rule in snapshot.rules.rules:
        for name in rule.mask:
            if name not in masking.profiles:
                yield ConfigProblem(
                    rule.where or "rules.yaml", f"rule {rule.name} masks {name!r}, which masking.yaml does not define", _names(snapshot)
                )


def _profile(name: str, profile: Profile) -> Iterator[ConfigProblem]:
    if profile.on_unmaskable not in ANSWERS_STRICTEST_FIRST:
        yield _problem(profile.where, f"{name}.on_unmaskable is {profile.on_unmaskable!r}", "block, withhold or pass")
    if profile.on_unmaskable == "pass" and "SECRET" in profile.entities:
        yield _problem(
            profile.where, f"profile {name} masks SECRET and says on_unmaskable: pass", "a profile with SECRET blocks or withholds"
        )
    if name == RECORD and profile.reveal:
        yield _problem(profile.where, "the profile record cannot be revealed")
    if name == RECORD and (profile.exempt or profile.allow_values):
        yield _problem(profile.where, "the profile record can only be extended: exempt and allow_values do not count there")
    for info_type, rule in profile.entities.items():
        if info_type not in INFO_TYPES:
            yield _problem(profile.where, f"{name}.entities: no info type is called {info_type!r}", ", ".join(sorted(INFO_TYPES)))
        yield from _rule(f"{name}.{info_type}", rule, profile.where)
    for field in profile.fields:
        yield from _field(name, field, profile.where)


def _rule(name: str, rule: EntityRule, where: str) -> Iterator[ConfigProblem]:
    if rule.transform not in STRICTEST_FIRST:
        yield _problem(where, f"{name}: no transform is called {rule.transform!r}", ", ".join(STRICTEST_FIRST))
    if rule.threshold is not None and not 0 < rule.threshold <= 1:
        yield _problem(where, f"{name}.threshold is {rule.threshold}, expected a number above 0 and up to 1")
    if rule.keep_first < 0 or rule.keep_last < 0 or rule.keep_first + rule.keep_last > MAX_KEPT:
        yield _problem(where, f"{name} keeps {rule.keep_first} and {rule.keep_last} characters, at most {MAX_KEPT} together")
    if rule.info_type == "SECRET" and rule.transform in (*sorted(UNMARKED), "mask"):
        yield _problem(where, f"{name}: a SECRET cannot become {rule.transform}", "pseudonym, redact, replace, hash or block")


def _field(name: str, field: FieldRule, where: str) -> Iterator[ConfigProblem]:
    at = field.where or where
    if (field.path is None) == (field.key is None):
        yield _problem(at, f"{name}.fields: a rule has exactly one of path and key")
    if (field.scan is None) == (field.rule is None):
        yield _problem(at, f"{name}.fields: a rule has exactly one of scan and info_type")
    if field.path is not None and not field.path.startswith("/"):
        yield _problem(at, f"{name}.fields: the path {field.path!r} does not begin with /")
    if field.scan not in (None, "text"):
        yield _problem(at, f"{name}.fields: scan is {field.scan!r}", "text")
    if field.rule is not None:
        if field.rule.info_type not in FIELD_TYPES:
            yield _problem(at, f"{name}.fields: no info type is called {field.rule.info_type!r}", ", ".join(sorted(FIELD_TYPES)))
        yield from _rule(f"{name}.fields", field.rule, at)


def _service(
    snapshot: Snapshot, service: str, always: tuple[str, ...], writes: str, pass_media: tuple[str, ...]
) -> Iterator[ConfigProblem]:
    profiles = snapshot.masking.profiles
    for name in always:
        if name not in profiles:
            yield _problem("", f"services.{service}.always names {name!r}, which is no profile", _names(snapshot))
    unmarked = sorted({name for name in always if name in profiles and any(rule.transform in UNMARKED for rule in _rules(profiles[name]))})
    if unmarked and writes != "deny":
        yield _problem("", f"services.{service}.writes is {writes}, but {', '.join(unmarked)} makes values without a mark", "writes: deny")
    for media in pass_media:
        if media in ("*", "*/*") or media.startswith(("text/", "application/json", "multipart/")):
            yield _problem("", f"services.{service}.pass_media holds {media!r}: types that hold text are always masked")


def _rules(profile: Profile) -> list[EntityRule]:
    return [*profile.entities.values(), *(field.rule for field in profile.fields if field.rule)]


def _names(snapshot: Snapshot) -> str:
    return "profiles: " + ", ".join(sorted(snapshot.masking.profiles))


def _problem(where: str, problem: str, hint: str = "") -> ConfigProblem:
    return ConfigProblem(where or "masking.yaml", problem, hint)
