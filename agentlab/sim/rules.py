"""The table of ``scenarios``, checked: what a rule and a profile may hold, as JSON off the wire.

It is imported when a profile is set, for checking takes a library that takes as long to import as all of the simulator.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from agentlab.sim.modes import MODES


class Rule(BaseModel):
    """When a mode strikes, and its settings; see the table above."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mode: str
    rate: float = Field(default=1.0, ge=0, le=1)
    nth: tuple[int, ...] | None = None
    times: int | None = Field(default=None, ge=0)
    model: str | None = None
    agent: str | None = None
    prompt: str | None = None
    from_s: float = Field(default=0.0, ge=0)
    until_s: float | None = Field(default=None, ge=0)
    retry_after: str | None = None
    after: int = Field(default=2, ge=-1)
    message: str | None = None

    @field_validator("mode", mode="before")
    @classmethod
    def _known(cls, value: Any) -> str:  # before validation: anything
        if str(value) not in MODES:
            raise ValueError(f"unknown mode {value!r}; allowed: {', '.join(MODES)}")
        return str(value)

    @field_validator("nth", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("nth")
    @classmethod
    def _some(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or min(value) < 1):
            raise ValueError("it strikes at no call: calls count from 1, nth=2 or nth=[1, 3]")
        return value

    @field_validator("until_s")
    @classmethod
    def _after_it_began(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and value <= info.data.get("from_s", 0.0):
            raise ValueError(f"it strikes at no time: until_s must be above from_s={info.data.get('from_s')}")
        return value

    @field_validator("retry_after")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("a header's value is one line of printable characters")
        return value

    @field_validator("retry_after", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value


class Profile(BaseModel):
    """What the simulator does to its answers from now on.

    Args:
        faults: Rules, first match wins.
        latency_s: Seconds before each answer starts.
        delta_s: Seconds between two pieces of a stream.
        seed: Which requests a ``rate`` strikes; that of the simulator if left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    faults: tuple[Rule, ...] = ()
    latency_s: float = Field(default=0.0, ge=0)
    delta_s: float = Field(default=0.0, ge=0)
    seed: int | None = None

    @classmethod
    def read(cls, value: Any) -> Profile:  # JSON off the wire
        """Read a profile from a list of rules or an object; raises ``ValueError`` that names field, value and rule."""
        try:
            return cls.model_validate({"faults": value} if isinstance(value, list) else value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}, got {first['input']!r:.80}") from None
