"""Scorers that ask nobody: what they take for the answer, and what it is worth."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from agentlab.evals import Sample, choice, exact, f1, includes, json_equal, match, numeric, pattern


class Tea(BaseModel):
    """What is ordered."""

    cups: int


CUPS = {"type": "object", "properties": {"cups": {"type": "integer"}}, "required": ["cups"]}


@pytest.mark.parametrize(
    ("scorer", "output", "target", "value"),
    [
        (exact(), "The tea.", "tea", True), (exact(), "teas", "tea", False), (exact(), "b", ["a", "b"], True),
        (includes(), "green TEA", "tea", True), (includes(ignore_case=False), "green TEA", "tea", False),
        (match(), "It is 42.", "42", True), (match(), "42 it is", "42", False),
        (match("begin"), "42 it is", "42", True), (match("any"), "so 42 it is", "42", True),
        (match("exact"), "42.", "42", True), (match("exact"), "a 42", "42", False),
        (match(numeric=True), "It costs 1,000.0 a year", "1000", True),
        (pattern(r"= (\d+)"), "1 + 1 = 2", "2", True), (pattern(r"= (\d+)"), "two", "2", False),
        (numeric(), "It is 1,234.5", 1234.5, True), (numeric(0.01), "3.14", 3.1416, True),
        (numeric(0.001), "3.14", 3.1416, False), (numeric(0.1, relative=True), "95", 100, True),
        (numeric(), "none", 1, False), (numeric(), "it is .5", 0.5, True), (numeric(), "from 10-5", 5, True),
        (numeric(), "-5", -5, True), (numeric(), "1e3", 1000, True), (numeric(), "one of 1,2,3", 3, True),
        (choice(), "I think so. ANSWER: b", "B", True), (choice(), "A or B? B", "B", True), (choice(), "?", "B", False),
        (f1(), "a green tea", "green tea", 1.0), (f1(), "green cups", "green tea", 0.5), (f1(), "x", "y", 0.0),
        (json_equal(), '{"b": 1, "a": [2]}', '{"a": [2], "b": 1}', True), (json_equal(), "{", "{}", False),
        (json_equal(), "```json\n[1]\n```", "[1]", True), (json_equal(), {"a": 1}, {"a": 1}, True),
        (json_equal(Tea), '{"cups": 2}', None, True), (json_equal(Tea), '{"cups": "many"}', None, False),
        (json_equal(CUPS), '{"cups": 2}', None, True), (json_equal(CUPS), '{"cups": 2}', {"cups": 2}, True),
        (json_equal(CUPS), '{"cups": "many"}', None, False), (json_equal(CUPS), '{"cups": 2}', {"cups": 3}, False),
    ],
)  # fmt: skip
def test_what_an_answer_is_worth(scorer, output, target, value):
    """Each scorer with answers that are right, wrong, and nearly so."""
    assert scorer(output, Sample(input="?", target=target)).value == value


def test_what_does_not_fit_a_schema_is_said_with_its_place():
    """By a type, and by a JSON Schema."""
    sample = Sample(input="?", target=None)

    assert "cups" in json_equal(Tea)({"cups": "many"}, sample).explanation
    assert json_equal(CUPS)({"cups": "many"}, sample).explanation == "$.cups: 'many' is not of type 'integer'"
