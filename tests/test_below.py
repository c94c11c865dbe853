"""Which paths are below which, found without looking at all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentlab.books.below import Below

names = st.sampled_from("ab")
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(st.tuples(st.booleans(), paths), max_size=40), paths)
def test_it_says_what_a_look_at_every_path_would_say(acts: list[tuple[bool, str]], asked: str) -> None:
    """Whatever came and went, and although a member may stand above others."""
    below, members = Below(), set[str]()
    for come, path in acts:
        (below.add if come else below.remove)(path)
        (members.add if come else members.discard)(path)

    found = below.of(asked)

    assert sorted(found) == sorted(path for path in members if path.startswith(asked + "/"))


@given(st.lists(paths, max_size=20))
def test_nothing_is_left_of_those_that_went(came: list[str]) -> None:
    """Agents come and go by the million in a lab that lasts."""
    below = Below()
    for path in came:
        below.add(path)
    for path in came:
        below.remove(path)

    assert (below._under, below._members) == ({}, set())


def test_they_come_in_their_order() -> None:
    """Each before those below it."""
    below = Below()
    for path in ("/t/b", "/t/a/x", "/t/a", "/u", "/t/c"):
        below.add(path)

    assert below.of("/t") == ["/t/b", "/t/a", "/t/a/x", "/t/c"]
