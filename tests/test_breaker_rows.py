"""The breakers below the live tree: what travels, what the buttons do, and what stands there where nothing lives."""

from __future__ import annotations

import re

from agentlab import Lab
from tests.conftest import wait_for
from tests.test_tree_widget import Browser


def test_a_tree_tells_of_breakers_and_turns_them():
    """State, why and buttons of each; of a name that there is not, the error is told."""
    with Lab(nodes=1) as lab:
        lab.breaker("sim").open()
        tree, browser = lab.tree(), Browser()
        tree.send = browser.hear

        tree._hear(tree, {"t": "hello", "looker": "me"}, [])
        wait_for(lambda: "snapshot" in browser.kinds())
        first = browser.heard[0]["breakers"]
        tree._hear(tree, {"t": "breaker", "name": "nobody", "what": "close"}, [])
        tree._hear(tree, {"t": "breaker", "name": "sim", "what": "close"}, [])
        wait_for(lambda: browser.heard[-1].get("breakers", first)[0]["state"] == "closed")
        wait_for(lambda: browser.kinds().count("did") == 2)
        tree.close()
        said = [content for content in browser.heard if content["t"] in ("doing", "did")]

    assert [(row["name"], row["state"], row["status"], row["why"]) for row in first] == [
        ("sim", "open", "open", "opened by a person")
    ]
    told = {content["code"].partition(".")[2]: content["ok"] for content in said if content["t"] == "did"}
    assert told == {"breaker('nobody').close()": False, "breaker('sim').close()": True}


def test_a_breaker_that_is_not_closed_is_a_row_of_the_text_and_of_the_html():
    """One that lets everybody through is no news there."""
    with Lab(nodes=1) as lab:
        lab.breaker("anthropic")
        lab.breaker("sim").open()
        tree = lab.tree()

        last = re.split(r"\s{2,}", repr(tree).splitlines()[-1])
        html = tree._repr_mimebundle_()[0]["text/html"]
        lab.breaker("sim").close()
        closed = repr(tree)
        tree.close()

    assert last == ["sim", "breaker", "open", "opened by a person"]
    assert '>breaker</td><td style="color:' in html
    assert "anthropic" not in html
    assert "breaker" not in closed
