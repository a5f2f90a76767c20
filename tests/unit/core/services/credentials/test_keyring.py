"""Keys by label: HKDF-SHA256 with empty salt, the label as info."""

import copy
import json
import pickle

import pytest

from addons.core.services.credentials.keyring import LABELS, KeyRing

ROOT = bytes(range(32))
# Computed with RFC 5869 by hand (hmac): PRK = HMAC(32 zero bytes, root), key = HMAC(PRK, label || 0x01).
VECTORS = {
    "masking": "3ad5757fba797bdfe791f11ed56b3322f76ef31700b24167b2163148b786abcd",
    "approval-mac": "e38d02f025807a5fc986424b73dd16b08c9ef207883614e69586fafe5e533a2c",
    "span-id": "05f7d3a1c15dd0d0cd4cc5eb85394430b5574af31addbb2d509ea826cc552bd0",
}


@pytest.mark.parametrize(("label", "expected"), VECTORS.items())
def test_a_key_is_the_hkdf_of_its_label(label, expected):
    assert KeyRing(ROOT, {}).derive(label).hex() == expected


def test_no_two_labels_share_a_key():
    ring = KeyRing(ROOT, {})
    assert len({ring.derive(label) for label in LABELS} | {ROOT}) == len(LABELS) + 1


def test_an_override_is_the_key_itself_and_changes_no_other():
    ring = KeyRing(b"r" * 32, {"masking": ROOT})
    assert ring.derive("masking") == ROOT
    assert ring.derive("evidence") == KeyRing(b"r" * 32, {}).derive("evidence")


@pytest.mark.parametrize(
    ("root", "overrides"),
    [
        pytest.param(b"", {}, id="no-root"),
        pytest.param(b"x" * 31, {}, id="short-root"),
        pytest.param(ROOT, {"masking": b"x" * 33}, id="long-override"),
        pytest.param(ROOT, {"mask": ROOT}, id="unknown-label"),
    ],
)
def test_what_is_not_a_key_is_refused(root, overrides):
    with pytest.raises(ValueError, match=r"a key has 32 bytes|unknown key label"):
        KeyRing(root, overrides)


def test_a_label_that_nobody_listed_has_no_key():
    with pytest.raises(KeyError):
        KeyRing(ROOT, {}).derive("anything")


def test_a_ring_shows_no_key():
    ring = KeyRing(ROOT, {})
    assert f"{ring} {ring!r}" == "KeyRing(***) KeyRing(***)"
    for give_away in (pickle.dumps, json.dumps, copy.copy, copy.deepcopy, vars):
        with pytest.raises(TypeError):
            give_away(ring)
