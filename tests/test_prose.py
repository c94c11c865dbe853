"""Text for people: it fits where it is shown, and is still a text."""

from __future__ import annotations

import pickle

import pytest

from agentlab import Lab, Transcript
from agentlab.ground.prose import WIDTH, Prose
from agentlab.ground.words import counted
from tests.agents import Counter

LONG = "It ended " + "again and " * 30 + "again."


@pytest.mark.parametrize("show", [str, repr])
def test_prose_is_wrapped_where_it_is_shown(show):
    """No line is longer than a page is wide, and no word is lost."""
    shown = show(Prose(LONG))

    assert max(map(len, shown.splitlines())) <= WIDTH
    assert shown.split() == LONG.split()


def test_prose_is_one_line_for_code():
    """What a line break could tear apart is found, split and joined as before."""
    prose = Prose(LONG)

    assert prose == LONG
    assert "again and again." in prose
    assert f"{prose.upper()}" == LONG.upper()
    assert pickle.loads(pickle.dumps(prose)) == LONG


def test_markup_in_prose_is_only_text():
    """A notebook reads Markdown, in which an agent's words are words."""
    assert Prose("*a* <img src=x> `b`\n# c $x$ d_e")._repr_markdown_() == (r"\*a\* \<img src=x\> \`b\` \# c \$x\$ d\_e")


def test_an_explanation_fits(lab: Lab):
    """``lab.explain`` in a cell and in ``print``."""
    counter = lab.start(Counter, id="counter")
    counter.crash(ValueError("no tea, no milk, no sugar, and nobody in the kitchen who would know why " * 2))
    lab.wait_idle()

    told = lab.explain(counter)

    assert isinstance(told, str)
    assert len(str(told).splitlines()) > 2
    assert max(map(len, str(told).splitlines())) <= WIDTH
    assert "/counter (permanent" in told._repr_markdown_()


def test_one_is_no_plural():
    """Numbers and what they count agree."""
    assert [counted(0, "agent"), counted(1, "agent"), counted(1000, "agent")] == ["0 agents", "1 agent", "1,000 agents"]
    assert repr(Transcript(["tea"])) == "Transcript(1 item)"
