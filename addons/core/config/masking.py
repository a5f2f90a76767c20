"""masking.yaml: what a masked value becomes, and where. Whether an info type can be detected is the masking area's check."""

import re
from collections.abc import Mapping

from addons.core.config.model import EntityRule, FieldRule, MaskedService, Masking, MaskLimits, Profile, Reveal
from addons.core.config.reading import NAME
from addons.core.config.rules import KEY_ALIAS, KINDS
from addons.core.config.section import Section

TRANSFORMS = ("block", "redact", "replace", "mask", "hash", "pseudonym", "encrypt", "bucket", "date_shift", "keep")
SCOPES = ("tenant", "service", "session")
ALWAYS = ("secrets", "pii")  # what a service that the file does not name gets
_INFO_TYPE = re.compile(r"[A-Z][A-Z_]{1,31}")
_POINTER = re.compile(r"(/[^\s]*)+")
_REGION = re.compile(r"[A-Z]{2}")


def read(file: Section) -> Masking:
    profiles = {name: _profile(name, at) for name, at in file.named("profiles", "masking.profiles")}
    for name in ALWAYS:
        if name not in profiles:
            file.wrong(
                "profiles", f"the profile `{name}` is missing", "a service that is not named in this file gets `always: [secrets, pii]`"
            )
    profiles.setdefault("record", Profile("record", {}))
    regions = file.section("phone_regions", "masking.phone_regions")
    return Masking(
        nlp_engine=_engine(file),
        home_region=regions.text("home", "US", _REGION, "a region such as US"),
        text_regions=regions.texts("text", ("US",), _REGION, "a list of regions such as US", least=1),
        pseudonym_scope=file.section("pseudonyms", "masking.pseudonyms").choice("scope", SCOPES, "tenant"),
        limits=_limits(file.section("limits", "masking.limits")),
        keys_of_objects=file.choice("keys_of_objects", ("mask", "keep", "block"), "mask"),
        profiles=profiles,
        services=_services(file),
    )


def _engine(file: Section) -> object:
    node = file.values.get("nlp_engine")
    if node is None or node.value == "token":
        return "token"
    if isinstance(node.value, dict):
        return node.plain()
    file.wrong("nlp_engine", f"`nlp_engine` is {node.shape}, expected token or presidio's own NLP configuration")
    return "token"


def _limits(at: Section) -> MaskLimits:
    return MaskLimits(
        whole=at.size("whole", 1 << 20),
        decoded=at.size("decoded", 64 << 20),
        ratio=at.integer("ratio", 200),
        depth=at.integer("depth", 200, 1, 1000),
        line=at.size("line", 4 << 20),
        event=at.size("event", 1 << 20),
        time=at.duration("time", 2.0, 0.01, 60.0),
    )


def _profile(name: str, at: Section) -> Profile:
    if not NAME.fullmatch(name):
        at.reading.tell(at.line, f"the profile's name is {at.quote(name)}, expected lower-case letters, digits and `-`")
    reveals = tuple(_reveal(item) for item in at.items("reveal", "masking.reveal"))
    if name == "record" and reveals:
        at.wrong("reveal", "the profile `record` covers what is stored and has no `reveal`", "it can only be extended")
    profile = Profile(
        name=name,
        entities=_entities(at),
        fields=tuple(_field(item) for item in at.items("fields", "masking.fields")),
        exempt=at.texts("exempt", pattern=_POINTER, expected="a list of JSON pointer globs that begin with `/`"),
        allow_values=at.texts("allow_values"),
        reveal=reveals,
        on_unmaskable=at.choice("on_unmaskable", ("block", "withhold", "pass"), "block"),
        hex=at.flag("hex"),
        where=at.where,
    )
    if profile.on_unmaskable == "pass" and "SECRET" in profile.entities:
        at.wrong("on_unmaskable", "a profile with SECRET may not say `pass`", "say block or withhold")
    elif profile.on_unmaskable == "pass":
        at.reading.warnings.append(f"profile {name}: on_unmaskable is pass, so what cannot be read goes out unmasked ({at.where})")
    return profile


def _entities(at: Section) -> Mapping[str, EntityRule]:
    found = {}
    for info_type, entry in at.named("entities", "masking.entities"):
        if not _INFO_TYPE.fullmatch(info_type):
            entry.reading.tell(entry.line, f"the info type is {entry.quote(info_type)}, expected capitals and `_`")
        found[info_type] = _entity(info_type, entry, entry.choice("transform", TRANSFORMS, "pseudonym"))
    return found


def _entity(info_type: str, at: Section, transform: str, threshold: bool = True) -> EntityRule:
    rule = EntityRule(
        info_type=info_type,
        transform=transform,
        threshold=at.maybe_number("threshold", 0.01, 1.0) if threshold else None,
        keep_first=at.integer("keep_first", 0, 0, 8),
        keep_last=at.integer("keep_last", 0, 0, 8),
        shape=at.flag("shape"),
    )
    if (rule.keep_first or rule.keep_last) and transform != "mask":
        at.wrong("keep_last", "`keep_first` and `keep_last` belong to `transform: mask`", "with pseudonym, use `shape`")
    return rule


def _field(at: Section) -> FieldRule:
    path, key, scan = (
        at.maybe_text("path", _POINTER, "a JSON pointer glob that begins with `/`"),
        at.maybe_text("key"),
        at.maybe_text("scan"),
    )
    if (path is None) == (key is None):
        at.reading.tell(at.line, "a field has exactly one of `path` and `key`")
    if scan is not None and scan != "text":
        at.wrong("scan", f"`scan` is {at.quote(scan)}, expected text")
    if scan is None:
        rule = _entity(
            at.text("info_type", pattern=_INFO_TYPE, expected="an info type in capitals, or `scan: text`"),
            at,
            at.choice("transform", TRANSFORMS),
            False,
        )
        return FieldRule(path, key, None, rule, at.where)
    if at.has("info_type") or at.has("transform"):
        at.wrong("scan", "`scan` does not go with `info_type` or `transform`", "a scanned text is masked by the entities of the profile")
    return FieldRule(path, key, scan, None, at.where)


def _reveal(at: Section) -> Reveal:
    found = Reveal(at.texts("groups"), at.texts("purposes"), at.texts("kinds"), at.flag("accept_claimed_by_header"))
    at.people("groups", found.groups, (KEY_ALIAS,))
    at.known("kinds", found.kinds, KINDS, "kind of principal")
    if not (found.groups or found.purposes or found.kinds):
        at.reading.tell(at.line, "a `reveal` without groups, purposes or kinds would reveal to everybody", "name who may see it")
    if found.accept_claimed_by_header:
        at.reading.warnings.append(f"a reveal accepts a purpose that is only claimed in a header ({at.where})")
    return found


def _services(file: Section) -> Mapping[str, MaskedService]:
    found = {}
    names = file.reading.names
    for name, at in file.named("services", "masking.services"):
        found[name] = MaskedService(
            always=at.texts("always", ALWAYS),
            pass_media=at.texts("pass_media"),
            joined_paths=at.texts("joined_paths"),
            writes=at.choice("writes", ("deny", "allow"), "deny"),
            filters=at.choice("filters", ("deny", "allow"), "deny"),
            recompress=at.choice("recompress", ("none", "gzip"), "none"),
        )
        at.known("always", found[name].always, names.profiles, "profile")
        if not found[name].always:
            file.reading.warnings.append(f"service {name}: masks nothing unless a rule says so ({at.where})")
    file.known("services", found, names.services, "service")
    return found
