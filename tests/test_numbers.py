"""The numbers of a lab: each is given once, whoever gives it."""

from __future__ import annotations

from agentlab.books.numbers import Numbers


def test_what_was_given_away_is_not_given_again() -> None:
    """A node numbers its own messages out of what it got."""
    numbers = Numbers()

    first = next(numbers)
    taken = numbers.take(100)

    assert (first, taken, next(numbers)) == (1, 2, 102)


def test_numbers_of_an_earlier_kernel_are_not_given_again() -> None:
    """Nor do they fall back where this kernel is ahead already."""
    numbers = Numbers()

    numbers.go_past(41)
    after = next(numbers)
    numbers.go_past(7)

    assert (after, next(numbers) > 42) == (42, True)
