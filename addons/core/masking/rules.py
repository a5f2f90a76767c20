"""Which masks apply to one answer: the MaskView, made from the Snapshot for a service and a set of profiles.

A view only ever adds: a value is masked when any of its profiles masks it, so one profile's exemption or allowed value
never lifts another's mask, and adding a profile can never reveal more. When profiles disagree about what a value
becomes, the stricter transform wins.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from addons.core.config.model import EntityRule, FieldRule, Masking, MaskLimits, Profile, Snapshot
from addons.core.masking import key_words
from addons.core.masking.detector import DEFAULT_TYPES, THRESHOLDS

STRICTEST_FIRST = ("block", "redact", "replace", "mask", "hash", "pseudonym", "encrypt", "bucket", "date_shift", "keep")
UNMARKED = frozenset({"encrypt", "bucket", "date_shift", "keep"})
ANSWERS_STRICTEST_FIRST = ("block", "withhold", "pass")
RECORD = "record"
INFO_TYPES = frozenset(THRESHOLDS)


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of a finding, and on whose account."""

    rule: EntityRule
    profile: str


@dataclass(frozen=True, slots=True)
class MaskView:
    """The profiles that apply to one answer, with what the file says around them."""

    service: str
    profiles: tuple[Profile, ...]
    info_types: frozenset[str]
    limits: MaskLimits
    keys_of_objects: str
    scope: str
    home_region: str
    hex: bool
    pass_media: tuple[str, ...]
    on_unmaskable: str
    digest: str
    has_fields: bool = False
    has_exempt: bool = False

    def active(self, pointer: str) -> tuple[Profile, ...]:
        """The profiles that do not exempt this place."""
        if not self.has_exempt:
            return self.profiles
        return tuple(one for one in self.profiles if not (one.exempt and any(path_matches(glob, pointer) for glob in one.exempt)))

    def field_rules(self, pointer: str, key: str, active: Iterable[Profile]) -> list[tuple[Profile, FieldRule]]:
        """The field rules of the active profiles that name this place."""
        return [(one, rule) for one in active for rule in one.fields if names_place(rule, pointer, key)]

    def choose(self, info_type: str, score: float, value: str, active: Iterable[Profile]) -> Choice | None:
        """The strictest rule of the active profiles for this finding, None when none of them masks it."""
        found: list[Choice] = []
        for one in active:
            rule = one.entities.get(info_type)
            if rule is None or value in one.allow_values:
                continue
            threshold = THRESHOLDS.get(info_type, 0.5) if rule.threshold is None else rule.threshold
            if score >= threshold:
                found.append(Choice(rule, one.name))
        return strictest(found)


def strictest(choices: list[Choice]) -> Choice | None:
    """The choice whose transform stands first in the list; None for none."""
    return min(choices, key=lambda choice: (STRICTEST_FIRST.index(choice.rule.transform), choice.profile), default=None)


@lru_cache(maxsize=1024)
def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob over JSON pointers: `*` stays within a segment, `**` crosses them (and may be nothing)."""
    parts = [r".*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") for part in glob.strip("/").split("/")]
    text = "/" + "/".join(parts)
    return re.compile(text.replace("/.*/", "/(?:.*/)?"), re.DOTALL)


@lru_cache(maxsize=1024)
def literal_end(glob: str) -> str:
    """What every pointer under this glob ends with; empty when the last segment has a star."""
    last = glob.rpartition("/")[2]
    return "" if "*" in last else "/" + last


def path_matches(glob: str, pointer: str) -> bool:
    """Whether a JSON pointer lies under this glob."""
    return pointer.endswith(literal_end(glob)) and glob_pattern(glob).fullmatch(pointer) is not None


def names_place(rule: FieldRule, pointer: str, key: str) -> bool:
    """Whether a field rule means this place. Keys are compared by their words: `dateOfBirth` is `date_of_birth`."""
    if rule.key is not None:
        return bool(key) and key_words.words(rule.key) == key_words.words(key)
    return rule.path is not None and path_matches(rule.path, pointer)


_VIEWS: dict[tuple[int, str, tuple[str, ...]], tuple[Masking, MaskView]] = {}
_PROFILES: dict[tuple[int, str | None], tuple[Snapshot, frozenset[str]]] = {}
_MAX_VIEWS = 256


def view_of(snapshot: Snapshot, service: str, names: Iterable[str], *, limits: MaskLimits | None = None) -> MaskView:
    """The view of these profiles. A name that the file does not define raises KeyError: closed."""
    made = view_of_profiles(snapshot.masking, service, names)
    return made if limits is None else replace(made, limits=limits)


def view_of_profiles(masking: Masking, service: str, names: Iterable[str]) -> MaskView:
    """The same, of the masking part alone."""
    key = (id(masking), service, tuple(sorted(set(names))))
    kept = _VIEWS.get(key)
    if kept is not None and kept[0] is masking:
        return kept[1]
    made = _make(masking, service, key[2])
    if len(_VIEWS) >= _MAX_VIEWS:
        _VIEWS.clear()
    _VIEWS[key] = (masking, made)  # keeps `masking` alive, so that its id stays its own
    return made


def record_view(snapshot: Snapshot, service: str | None) -> MaskView:
    """The view of everything that is stored: all profiles the service may owe, and `record`. Ignores `reveal`."""
    names = {RECORD, *record_profiles(snapshot, service)}
    return view_of(snapshot, service or "", names)


def record_profiles(snapshot: Snapshot, service: str | None) -> frozenset[str]:
    """What a service always masks and what any rule may mask there; of an unknown service: every profile."""
    kept = _PROFILES.get((id(snapshot), service))
    if kept is not None and kept[0] is snapshot:
        return kept[1]
    made = frozenset(_record_profiles(snapshot, service))
    if len(_PROFILES) >= _MAX_VIEWS:
        _PROFILES.clear()
    _PROFILES[(id(snapshot), service)] = (snapshot, made)
    return made


def _record_profiles(snapshot: Snapshot, service: str | None) -> set[str]:
    if service is None or service not in snapshot.gateway.services:
        return set(snapshot.masking.profiles)
    named = {name for rule in snapshot.rules.rules if rule.services is None or service in rule.services for name in rule.mask}
    return {*snapshot.masking.service(service).always, *named}


def built_in_record(extra: Profile | None) -> Profile:
    """The `record` profile: the default info types, always; the file can add to it and not take away."""
    entities: dict[str, EntityRule] = {name: EntityRule(name) for name in DEFAULT_TYPES}
    entities["CREDIT_CARD"] = EntityRule("CREDIT_CARD", "mask", keep_last=4)
    base = Profile(RECORD, entities)
    if extra is None:
        return base
    return replace(base, entities={**entities, **extra.entities}, fields=extra.fields)


def _make(masking: Masking, service: str, names: tuple[str, ...]) -> MaskView:
    profiles = tuple(built_in_record(masking.profiles.get(RECORD)) if name == RECORD else masking.profiles[name] for name in names)
    terms = masking.service(service)
    types = {name for one in profiles for name in one.entities} | {
        rule.rule.info_type for one in profiles for rule in one.fields if rule.rule
    }
    answers = [one.on_unmaskable for one in profiles]
    has_secret = any("SECRET" in one.entities for one in profiles)
    answer = min(answers, key=ANSWERS_STRICTEST_FIRST.index, default="block")
    digest = hashlib.sha256(repr((profiles, service, terms, masking.pseudonym_scope, masking.keys_of_objects)).encode()).hexdigest()
    return MaskView(
        service=service,
        profiles=profiles,
        info_types=frozenset(types),
        limits=masking.limits,
        keys_of_objects=masking.keys_of_objects,
        scope=masking.pseudonym_scope,
        home_region=masking.home_region,
        hex=any(one.hex for one in profiles),
        pass_media=terms.pass_media,
        on_unmaskable="block" if answer == "pass" and has_secret else answer,
        digest=digest,
        has_fields=any(one.fields for one in profiles),
        has_exempt=any(one.exempt for one in profiles),
    )


_STEP = re.compile(r"[/\[\].]+")


def covers(snapshot: Snapshot, profiles: Iterable[str], name: str) -> bool:
    """Whether a field of this name, or at this path, is masked by one of these profiles.

    For names used in queries, filters and sorts (`email`, `-customer.email`, `filter[ssn]`, `/customers/*/notes`): a
    filter on a masked field answers bit by bit what the mask hides.
    """
    view = view_of(snapshot, "", profiles)
    bare = name.lstrip("+-!~ ").strip()
    steps = [step for step in _STEP.split(bare) if step]
    pointer = "/" + "/".join(steps)
    return any(_covers_key(view, step) for step in (*steps, bare) if step) or any(
        _rule_covers(rule, pointer, steps) for one in view.profiles for rule in one.fields
    )


def _covers_key(view: MaskView, key: str) -> bool:
    family = key_words.family(key)
    return family is not None and not family.needs_person and family.info_type in view.info_types


def _rule_covers(rule: FieldRule, pointer: str, steps: list[str]) -> bool:
    if rule.key is not None:
        return any(key_words.words(step) == key_words.words(rule.key) for step in steps)
    assert rule.path is not None
    last = rule.path.rstrip("/").rpartition("/")[2]
    return path_matches(rule.path, pointer) or ("*" not in last and bool(steps) and key_words.words(steps[-1]) == key_words.words(last))


def covers_pointer(view: MaskView, pointer: str) -> bool:
    """Whether a JSON pointer is, contains or lies under a place that this view masks by key or by field rule."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    if any(_covers_key(view, step) for step in steps):
        return True
    return any(_rule_touches(rule, pointer, steps) for one in view.profiles for rule in one.fields)


def _rule_touches(rule: FieldRule, pointer: str, steps: list[str]) -> bool:
    if rule.key is not None:
        return any(key_words.words(step) == key_words.words(rule.key) for step in steps)
    assert rule.path is not None
    globs = rule.path.strip("/").split("/")
    if "**" in globs:
        globs = globs[: globs.index("**")]
    shared = zip(globs, steps, strict=False)
    return all(path_matches("/" + glob, "/" + step.replace("/", "~1")) for glob, step in shared)
