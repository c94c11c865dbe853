"""A key that samples, tools, answers and scorers have to do with is in nothing that a run writes, shows or exports."""

from __future__ import annotations

import logging
import os
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab import Agent, Assistant, Lab, Limit, child, tool
from agentlab.evals import Score, evaluate, includes, open_run
from tests.test_secrets import written

pytestmark = pytest.mark.xdist_group("inspect")  # it takes seconds to import

VALUE = "correct-horse-battery-staple"
TOKEN = "ghp_" + "a1B2" * 9
BOTH = f"{VALUE} and {TOKEN}"
KEY = "SOME_API_KEY"


@tool
def settings() -> str:
    """Give the settings away."""
    return f"{os.environ[KEY]} and {TOKEN}"


class Parrot:
    """A model that asks for the tool, and then gives away what it has heard and more."""

    name = "parrot"

    async def create(self, *, messages: Any, **options: Any) -> dict[str, Any]:
        """Say it."""
        heard = messages[-1]["content"]
        use = {"type": "tool_use", "id": f"t{len(messages)}", "name": "settings", "input": {}}
        text = {"type": "text", "text": f"{heard[0]['content']}; {BOTH}" if isinstance(heard, list) else ""}
        content, stop = ([text], "end_turn") if text["text"] else ([use], "tool_use")
        usage = {"input_tokens": 1, "output_tokens": 1}
        return {"role": "assistant", "content": content, "stop_reason": stop, "usage": usage}


class Clerk(Assistant):
    """Has a tool whose result is a key, and a model that repeats it."""

    model = Parrot()
    tools = (settings,)


class Careless(Agent):
    """Does with a key whatever an agent can."""

    kept: str = ""

    async def solve(self, how: str) -> str:
        """Do it."""
        print(BOTH)
        if how == "keep":
            self.kept = BOTH
        if how == "raise":
            raise ValueError(f"no entry for {BOTH}")
        if how == "step":
            await self.step(settings)
        return BOTH if how == "say" else how


def failing(output: Any, sample: Any) -> float:
    """A scorer that says what it should not."""
    raise ValueError(f"{output} is not {BOTH}")


def telling(output: Any, sample: Any) -> Score:
    """Another."""
    return Score(0.0, answer=BOTH, explanation=f"It says {BOTH}.")


def told(act: Callable[[], Any]) -> str:
    """What it gives, or its error with the traceback."""
    try:
        return str(act())
    except Exception as error:
        return "".join(traceback.format_exception(error))


def exported(folder: Path, run: Any) -> str:
    """What a reader of the run's exports finds in them."""
    log, table = run.to_inspect(folder / f"{run.name}.eval"), run.to_parquet(folder / f"{run.name}.parquet")
    with zipfile.ZipFile(log) as archive:
        members = [archive.read(member).decode() for member in archive.namelist()]
    return "\n".join([*members, pd.read_parquet(table).to_csv()])


def shown(run: Any) -> list[str]:
    """What a notebook shows of a run."""
    frames = (run.samples(), run.by_sample(), run.summary())
    return [repr(run), run._repr_html_() if hasattr(run, "_repr_html_") else "", *(f.to_csv() for f in frames)]


def test_no_key_is_in_a_run_or_in_what_it_exports(tmp_path, monkeypatch, caplog, capfd):
    """Of a tool's result, an answer, an exception, a field, a scorer, a sample: store, frames, parquet, ``.eval``."""
    monkeypatch.setenv(KEY, VALUE)
    caplog.set_level(logging.DEBUG)
    stores, exports = tmp_path / "stores", tmp_path / "exports"
    stores.mkdir()
    exports.mkdir()
    scorers = {"tell": telling, "bad": failing}
    careless, hows = (
        child(Careless, id="careless", own_limit=Limit(1000, 1.0)),
        ["keep", "raise", "step", "say", "fine"],
    )
    with Lab(stores / "a.lab", nodes=1) as lab:
        runs = [
            evaluate(careless, hows, scorers, lab=lab, name="a"),
            evaluate(Clerk, ["Tell me!"], {"tell": telling}, lab=lab, name="b"),
        ]
        seen = [text for run in runs for text in shown(run)]
        seen += [told(lambda run=run: exported(exports, run)) for run in runs]
        for sample in ({"input": BOTH}, {"target": BOTH}, {"id": BOTH}, {"other": BOTH}):
            given = {"input": "fine", **sample}
            seen.append(told(lambda given=given: evaluate(Careless, [given], includes(), lab=lab, name="c")))
        for named in ({"name": BOTH}, {"name": "d", "tags": [BOTH]}):
            seen.append(told(lambda named=named: evaluate(Careless, ["fine"], includes(), lab=lab, **named)))
        seen += [lab.events().to_csv(), lab.steps().to_csv(), lab.messages().to_csv()]
    seen += [text for name in "ab" for text in shown(open_run(stores / "a.lab", name))]
    everything = "\n".join([*seen, caplog.text, *capfd.readouterr()])

    found = runs[0].samples()
    assert found["disposition"].tolist() == [*["poisoned"] * 4, "failed"]  # its scorer raised
    assert runs[1].samples()["disposition"].tolist() == ["scored"]
    assert "no entry for *** and ***" in everything
    assert "Careless.kept holds the value of $SOME_API_KEY" in everything
    assert "*** and ***; *** and ***" in everything
    assert "It says *** and ***." in everything
    for secret in (VALUE, TOKEN):
        assert secret not in everything, [text for text in seen if secret in text][:3]
        assert secret.encode() not in written(stores)
