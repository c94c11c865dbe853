"""Keys stay out of the store, of events, logs and errors; what cannot be kept with a key in it is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Exit, Lab, Limit, Supervisor, child, tool
from agentlab.errors import AgentLabError, InvalidSpec
from agentlab.ground.redaction import leaked, redact

VALUE = "correct-horse-battery-staple"

TOKENS = (
    "sk-ant-api03-Zm9vYmFyMDEyMzQ1Njc4OQ",
    "ghp_" + "a1B2" * 9,
    "github_pat_11ABCDEFG0" + "x9" * 20,
    "AKIAIOSFODNN7EXAMPL3",
    "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
    "postgres://bob:hunter22@db.example.com/prod",
)
SECRET_PARTS = ("Zm9vYmFyMDEy", "a1B2a1B2", "x9x9x9", "IOSFODNN7", "eyJhbGci", "hunter22", VALUE)


class Teller(Agent):
    """Lets a key out in every way that an agent has."""

    heard: int = 0

    async def take(self, text: str) -> int:
        """Only take it."""
        self.heard += 1
        return len(text)

    async def say(self, text: str) -> None:
        """Print it, in one go and in two."""
        print(text)
        print(text[:9], end="")
        print(text[9:])

    async def fail(self, text: str) -> None:
        """Raise it."""
        raise ValueError(f"no entry for {text}")

    async def fail_as(self, text: str) -> None:
        """Raise an exception whose class it names."""
        raise type(text, (Exception,), {})

    async def leave(self, text: str) -> None:
        """End with it as the reason."""
        raise Exit(("auth", text))

    async def stop_with(self, text: str) -> None:
        """End in order with it as the reason."""
        self.stop(f"bad key {text}")

    async def end_other(self, path: str, text: str) -> None:
        """End another with it as the reason."""
        await self.lab[path].exit(f"bad key {text}")

    async def step_with(self, text: str) -> str:
        """Have it in a step that fails."""
        return await self.step(fails, text)

    async def keep(self, text: str) -> str:
        """Have it in a step's result."""
        return await self.step(gives, text)

    async def cast_it(self, text: str) -> None:
        """Cast it to itself."""
        self.ref.cast.take(text)

    async def later(self, text: str) -> None:
        """Set a timer with it."""
        self.after(3600).take(text)


def fails(text: str) -> str:
    """Return nothing: raise."""
    raise ValueError(f"cannot use {text}")


def gives(text: str) -> str:
    """Return what came."""
    return f"the key is {text}"


def told(call: Any) -> str:
    """Return what whoever asked is told."""
    try:
        return str(call())
    except Exception as error:
        return f"{error} {getattr(error, 'reason', '')} {error.__cause__} {getattr(error, '__notes__', '')}"


def written(folder: Path) -> bytes:
    """Return every byte of the store's files."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.fixture
def open_lab(tmp_path, monkeypatch):
    """A lab with a file, beside which nothing else is; a secret is in its environment."""
    monkeypatch.setenv("SOME_API_KEY", VALUE)
    with Lab(tmp_path / "a.lab", nodes=1) as lab:
        yield lab


@pytest.mark.parametrize("token", [VALUE, "; ".join(TOKENS)], ids=["a variable's value", "tokens"])
def test_no_way_leads_a_key_into_the_store(open_lab, tmp_path, token):
    """Files, frames, logs and errors are searched for it after every way out that an agent or a cell has."""
    lab, answers = open_lab, []
    limit = Limit(1000, 1.0)
    lab.start(child(Teller, id="other", own_limit=limit))
    for way in ("say", "fail", "fail_as", "leave", "stop_with", "step_with", "keep", "cast_it", "later", "take"):
        ref = lab.start(child(Teller, id=f"a-{way}", own_limit=limit))
        ref.trace()
        answers.append(told(lambda ref=ref, way=way: getattr(ref.call(redeliver=False), way)(token).result(30)))
        answers.append(told(lambda ref=ref: ref.cast.take(token).result(30)))
        answers.append(told(lambda ref=ref: ref.stop(f"bad key {token}")))
    caller = lab.start(child(Teller, id="caller", own_limit=limit))
    answers.append(told(lambda: caller.call.end_other("/other", token).result(30)))
    answers.append(told(lambda: caller.exit(f"bad key {token}")))
    answers.append(told(lambda: caller.crash(ValueError(token))))
    lab.wait_idle(30)
    frames = [lab.events(), lab.messages(), lab.steps(), lab.restarts(), lab.dead_letters(), lab.agents()]
    seen = "\n".join([*answers, *(frame.to_csv() for frame in frames)])

    stored = written(tmp_path)
    lab.close()
    stored += written(tmp_path)

    assert "bad key ***" in seen or "***@" in seen or "Bearer ***" in seen
    for part in SECRET_PARTS:
        assert part not in seen, part
        assert part.encode() not in stored, part


def test_what_cannot_be_kept_is_refused_by_name(open_lab):
    """A cast, a timer, a step's result with a key in it: nobody is told that it is durable."""
    lab = open_lab
    ref = lab.start(child(Teller, id="a", own_limit=Limit(1000, 1.0)))

    with pytest.raises(TypeError, match=r"the arguments of /a\.take cannot be stored.*\$SOME_API_KEY"):
        ref.cast.take(VALUE).result(30)
    with pytest.raises(TypeError, match=r"what is published to 'news' cannot be stored"):
        lab.publish("news", "take", TOKENS[0])
    for way in ("cast_it", "later", "keep"):
        with pytest.raises(Exception, match=r"cannot be stored.*'ghp_\.\.\.'"):
            getattr(ref.call(redeliver=False), way)(TOKENS[1]).result(30)
    assert ref.call.take(VALUE).result(30) == len(VALUE)  # an answer is awaited: it need not be kept


def test_a_key_in_an_id_is_refused_before_it_is_in_a_path(open_lab):
    """Of an agent, a child, a supervisor, a fork; the error does not hold it either."""
    lab = open_lab
    ref = lab.start(Teller, id="a")

    for attempt in (
        lambda: lab.start(Teller, id=VALUE),
        lambda: child(Teller, id=f"w-{TOKENS[0]}"),
        lambda: Supervisor(VALUE),
        lambda: ref.fork(id=VALUE),
    ):
        with pytest.raises(InvalidSpec, match=r"holds (the value of \$SOME_API_KEY|what looks like a key)") as refused:
            attempt()
        assert VALUE not in str(refused.value)
        assert VALUE not in str(refused.value.value)


def test_a_field_with_what_looks_like_a_key_is_refused(open_lab):
    """As one with the value of a variable is."""

    class Holder(Agent):
        """Holds text."""

        text: str = ""

    with pytest.raises(AgentLabError, match=r"Holder\.text holds what looks like a key \('sk-\.\.\.'\)"):
        open_lab.start(Holder, text=TOKENS[0])


def test_a_tool_tells_a_model_no_key(monkeypatch):
    """What it returns goes into the conversation, and into the journal."""
    monkeypatch.setenv("SOME_API_KEY", VALUE)

    @tool
    def show() -> str:
        """Show the settings."""
        return f"url={TOKENS[-1]} key={VALUE}"

    import asyncio

    assert asyncio.run(show.run({})) == "url=postgres://***@db.example.com/prod key=***"


@pytest.mark.parametrize("token", TOKENS)
def test_what_looks_like_a_key_is_found_in_a_text(token):
    """Between other words, in quotes, at the end."""
    for text in (token, f"use {token} now", f"'{token}'", f'{{"key": "{token}"}}', f"<{token}>"):
        assert not any(part in redact(text) for part in SECRET_PARTS), text
        assert leaked(text), text


@pytest.mark.parametrize(
    "text",
    [
        "task-2024-report-of-the-week-12", "https://example.com:8080/a@b?c=d", "a bearer of bad news, at length",
        "sk-learn", "AKIA", "risk-averse-people-live-longer-than-21-others", "mailto://someone@example.com",
    ],
)  # fmt: skip
def test_ordinary_text_stays_as_it_is(text):
    """What only begins like a key is none."""
    assert redact(text) == text
    assert leaked(text) is None


def test_what_is_redacted_stays_json_and_stays_redacted():
    """Keys inside of JSON text leave it JSON; to redact twice is to redact once."""
    text = json.dumps({"all": [*TOKENS, {"quoted": '"' + TOKENS[0] + '"'}]})

    once = redact(text)

    assert json.loads(once)["all"][0] == "***"
    assert redact(once) == once
    assert leaked(once) is None
