"""No change to a valid token makes another valid token: every byte flip, header edit and claim edit is refused."""

import base64
import json
import random

import pytest

from addons.core.errors import GuardhouseError
from tests.parts.identity import Desk, b64, sign

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
STRANGE = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    "",
    "root",
    "\x00",
    [],
    ["root"],
    {},
    {"sub": "root"},
    "https://evil.example/",
    2**53,
    "none",
    "HS256",
    "k2",
]


def unpacked(part: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def flip(token: str, dice: random.Random) -> str:
    """Another character at one place."""
    at = dice.randrange(len(token))
    other = dice.choice([char for char in ALPHABET + ".= \n\x00%" if char != token[at]])
    return token[:at] + other + token[at + 1 :]


def cut(token: str, dice: random.Random) -> str:
    """A piece removed or doubled."""
    start, length = dice.randrange(len(token)), dice.randrange(1, 5)
    return (
        token[:start] + token[start + length :]
        if dice.random() < 0.5
        else token[:start] + token[start : start + length] * 2 + token[start + length :]
    )


def edit_claim(token: str, dice: random.Random) -> str:
    """One claim changed, added or taken away; the signature left as it was."""
    head, payload, signature = token.split(".")
    return f"{head}.{b64(json.dumps(edited(unpacked(payload), dice)).encode()).decode()}.{signature}"


def edit_header(token: str, dice: random.Random) -> str:
    """One header parameter changed, added or taken away; the signature left as it was."""
    head, payload, signature = token.split(".")
    return f"{b64(json.dumps(edited(unpacked(head), dice)).encode()).decode()}.{payload}.{signature}"


def edited(told: dict, dice: random.Random) -> dict:
    name = dice.choice([*told, "act", "cnf", "events", "jwk", "crit", "b64", "x"])
    if name in told and dice.random() < 0.3:
        return {key: value for key, value in told.items() if key != name}
    return {**told, name: dice.choice([value for value in STRANGE if value != told.get(name, ...)])}


def respell(token: str, dice: random.Random) -> str:
    """The same JSON in other bytes, so the signature is over something else."""
    head, payload, signature = token.split(".")
    told = unpacked(payload)
    names = list(told)
    dice.shuffle(names)
    text = json.dumps({name: told[name] for name in names}, indent=dice.choice([0, 1, 2]))
    return f"{head}.{b64(text.encode()).decode()}.{signature}"


def swap(token: str, dice: random.Random) -> str:
    """The signature of another token of the same key."""
    return token.rsplit(".", 1)[0] + "." + dice.choice(OTHERS)


OTHERS: list[str] = []
MUTATIONS = (flip, flip, flip, cut, edit_claim, edit_header, respell, swap)


@pytest.mark.parametrize(
    "count", [pytest.param(4_000, id="4000"), pytest.param(100_000, id="100000", marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
async def test_no_mutated_token_is_accepted(count):
    desk = Desk()
    desk.provider.add("k2", "RSA2048")
    bases = [desk.provider.token(jti=f"t-{number}") for number in range(4)] + [desk.provider.token(kid="k2", alg="RS256", jti="rsa")]
    for base in bases:
        assert (await desk.verify(base)).subject == "alice"
    OTHERS[:] = [base.rsplit(".", 1)[1] for base in bases]
    dice = random.Random(20261120)
    tried = 0
    for number in range(count):
        base = dice.choice(bases)
        mutated = dice.choice(MUTATIONS)(base, dice)
        if number % 200 == 0:
            desk.clock.mono += 1.0  # a second of cold verifications is bounded
        if mutated in bases:
            continue
        tried += 1
        with pytest.raises(GuardhouseError) as caught:
            await desk.verify(mutated)
        assert caught.value.status in (400, 401), mutated
    assert tried > count * 0.95


async def test_every_single_byte_flip_of_one_token_is_refused():
    desk = Desk()
    token = desk.provider.token()
    await desk.verify(token)
    for at in range(len(token)):
        if at % 200 == 0:
            desk.clock.mono += 1.0
        other = ALPHABET[(ALPHABET.find(token[at]) + 1) % 64]
        with pytest.raises(GuardhouseError):
            await desk.verify(token[:at] + other + token[at + 1 :])


@pytest.mark.parametrize("seed", range(20))
async def test_random_json_under_a_good_signature_is_a_principal_or_a_refusal(seed):
    """The provider's key signs whatever comes: nothing but a Principal or a refusal may come out of it."""
    desk = Desk()
    dice = random.Random(seed)
    key = desk.provider.keys["k1"][0]
    for number in range(100):
        told = edited(edited(edited(desk.provider.claims(), dice), dice), dice)
        header = (
            edited({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, dice)
            if dice.random() < 0.5
            else {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
        )
        try:
            principal = await desk.verify(sign(json.dumps(header).encode(), json.dumps(told).encode(), key, "ES256"))
        except GuardhouseError as error:
            assert error.status in (400, 401), number
            continue
        assert principal.subject in ("alice", "root", "none", "HS256", "k2", "https://evil.example/")
