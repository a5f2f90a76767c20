"""Globs against an oracle that is too slow to use and too simple to be wrong."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.core.policy.globs import matches

globs = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "/**/", "***"]), max_size=8).map("".join)
texts = st.text("ab/", max_size=10)


def oracle(glob: str, text: str) -> bool:
    """Try every way: each star takes every length it may."""

    @cache
    def at(g: int, t: int) -> bool:
        if g == len(glob):
            return t == len(text)
        if glob[g] != "*":
            return t < len(text) and text[t] == glob[g] and at(g + 1, t + 1)
        end = g
        while end < len(glob) and glob[end] == "*":
            end += 1
        if end - g == 1:
            return any(at(end, u) for u in range(t, len(text) + 1) if "/" not in text[t:u])
        begins = g == 0 or glob[g - 1] == "/"
        if begins and glob[end : end + 1] == "/" and at(end + 1, t):
            return True
        return any(at(end, u) for u in range(t, len(text) + 1))

    return at(0, 0)


@settings(max_examples=1000, deadline=None)
@given(globs, texts)
def test_the_matcher_agrees_with_trying_everything(glob, text):
    assert matches(glob, text) is oracle(glob, text)
