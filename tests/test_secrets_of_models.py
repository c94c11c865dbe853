"""A key that models, tools and persons work with is in no byte of a store and in nothing that is shown."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

from agentlab import Agent, Assistant, Budget, Lab, Limit, child, mcp_server, tool
from tests.conftest import wait_for
from tests.test_secrets import written
from tests.test_transcript_widget import heard_by, watched

VALUE = "correct-horse-battery-staple"
TOKEN = "ghp_" + "a1B2" * 9
SECRETS = (VALUE, TOKEN)
BOTH = " and ".join(SECRETS)


@tool(approve=True)
def pay(card: str) -> str:
    """Pay with a card."""
    return f"paid with {card}"


class Buyer(Agent):
    """Pays, if it may."""

    async def buy(self, card: str) -> int:
        """Pay."""
        return len(await self.step(pay, card))


class Parrot:
    """A model that gives keys away."""

    name = "parrot"

    async def create(self, *, messages: Any, **options: Any) -> dict[str, Any]:
        """Say them."""
        said = [{"type": "text", "text": f"They are {BOTH}."}]
        usage = {"input_tokens": 1, "output_tokens": 1}
        return {"role": "assistant", "content": said, "stop_reason": "end_turn", "usage": usage}


class Clerk(Assistant):
    """Talks to it."""

    model = Parrot()


def told(act: Callable[[], Any]) -> str:
    """What it gives, or its error with the traceback."""
    try:
        return repr(act())
    except Exception as error:
        return "".join(traceback.format_exception(error))


def test_no_place_shows_or_keeps_a_key(tmp_path, monkeypatch, caplog, capfd):
    """Variables, arguments that a person is asked about, what a model says, budgets, widgets: all is searched."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", VALUE)
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    with Lab(tmp_path / "a.lab", nodes=1) as lab:
        buyer = lab.start(child(Buyer, id="buyer", own_limit=Limit(1000, 1.0), budget=Budget(cost_usd=1.0)))
        clerk = lab.start(child(Clerk, id="clerk", own_limit=Limit(1000, 1.0)))
        reply = buyer.call(redeliver=False).buy(BOTH)
        wait_for(buyer.approvals)
        widgets = [lab.tree(), buyer.watch(), clerk.transcript()]
        seen += [repr(buyer.approvals()), lab.approvals().to_csv(), lab.explain(buyer)]
        browsers = [heard_by(widgets[0]), *(watched(each).heard for each in widgets[1:])]
        buyer.approve("pay")
        seen.append(told(lambda: reply.result(60)))
        seen.append(told(lambda: clerk.call(redeliver=False).ask(f"Keep {BOTH}!").result(60)))
        seen.append(told(lambda: lab.start(mcp_server("x", command=["tea"], env={"A": BOTH}))))
        seen.append(told(lambda: clerk.call.ask("Well?").result(60)))
        lab.wait_idle(60)
        seen += [json.dumps(browser) for browser in browsers]
        seen += [str(each._repr_mimebundle_()) for each in widgets]
        for each in widgets:
            each.close()
        seen += [repr(lab), repr(buyer), repr(clerk), repr(buyer.budget), repr(buyer.state), repr(clerk.state)]
        seen += [str(ref.info()) + str(ref.log()) + lab.explain(ref) for ref in (buyer, clerk)]
        frames = (lab.events, lab.messages, lab.steps, lab.restarts, lab.dead_letters, lab.agents, lab.spend)
        seen += [frame().to_csv() for frame in frames]
        stored = written(tmp_path)
    everything = "\n".join([*seen, caplog.text, *capfd.readouterr()])

    assert "pay('*** and ***')" in everything
    assert "cannot be stored" in everything
    assert "They are *** and ***." in everything
    for secret in SECRETS:
        assert secret not in everything, [text for text in seen if secret in text][:3]
        assert secret.encode() not in stored + written(tmp_path)
