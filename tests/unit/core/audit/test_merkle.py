"""Proofs of the tree: right ones hold for every size from 1 to 69, and no changed one does."""

import hashlib

import pytest

from addons.core.audit import merkle
from addons.core.audit.merkle import Frontier

SIZES = range(1, 70)
LEAVES = [hashlib.sha256(b"\x00" + bytes([at])).digest() for at in SIZES]
ROOTS = {size: merkle.root_of(LEAVES[:size]) for size in SIZES}


def flipped(proof):
    """Every proof that differs from this one in a single bit."""
    for at, piece in enumerate(proof):
        number = int.from_bytes(piece, "big")
        for bit in range(256):
            yield [*proof[:at], (number ^ (1 << bit)).to_bytes(32, "big"), *proof[at + 1 :]]


def test_the_frontier_grows_into_the_same_root():
    for size in SIZES:
        assert Frontier().extend(LEAVES[:size]).root() == ROOTS[size]
    assert Frontier().root() == merkle.EMPTY == hashlib.sha256(b"").digest()


def test_a_frontier_reads_back():
    frontier = Frontier().extend(LEAVES[:45])
    assert Frontier.from_bytes(45, frontier.to_bytes()) == frontier
    with pytest.raises(ValueError):
        Frontier.from_bytes(44, frontier.to_bytes())


def test_every_inclusion_proof_holds_and_for_its_own_place_only():
    for size in SIZES:
        for index in range(size):
            proof = merkle.inclusion(LEAVES[:size], index)
            assert merkle.verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
            assert not merkle.verify_inclusion(LEAVES[index], (index + 1) % size, size, proof, ROOTS[size]) or size == 1
            assert not merkle.verify_inclusion(LEAVES[index], index, size, [*proof, LEAVES[0]], ROOTS[size])
            assert not proof or not merkle.verify_inclusion(LEAVES[index], index, size, proof[:-1], ROOTS[size])


def test_every_consistency_proof_holds():
    for size in SIZES:
        for old in range(1, size + 1):
            proof = merkle.consistency(LEAVES[:size], old)
            assert merkle.verify_consistency(old, size, proof, ROOTS[old], ROOTS[size])
            assert not merkle.verify_consistency(old, size, [*proof, LEAVES[0]], ROOTS[old], ROOTS[size])
            if old < size:
                assert not merkle.verify_consistency(old, size, proof, ROOTS[old + 1], ROOTS[size]) or old + 1 == size
                assert not merkle.verify_consistency(old, size, proof, ROOTS[old], ROOTS[old])


def _check_bits(size, index):
    proof = merkle.inclusion(LEAVES[:size], index)
    assert not any(merkle.verify_inclusion(LEAVES[index], index, size, bad, ROOTS[size]) for bad in flipped(proof))
    consistent = merkle.consistency(LEAVES[:size], index + 1)
    assert not any(merkle.verify_consistency(index + 1, size, bad, ROOTS[index + 1], ROOTS[size]) for bad in flipped(consistent))


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13, 64, 69])
def test_no_single_bit_of_a_proof_can_change(size):
    for index in {0, 1, size // 2, size - 1}:
        _check_bits(size, index)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_single_bit_of_any_proof_can_change():
    for size in SIZES:
        for index in range(size):
            _check_bits(size, index)
