"""Steer a running simulator from a test or a cell, blocking: ``control(endpoint).faults([...])``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentlab.sim.schemas import JSON

_TIMEOUT = 10.0
_PAUSE = 0.05


@dataclass(frozen=True)
class Endpoint:
    """Where a simulator listens, and the token it wants; the token stays out of the ``repr``."""

    base_url: str
    api_key: str = field(repr=False)


class Control:
    """The simulator's ``/__sim`` paths as methods."""

    def __init__(self, endpoint: Endpoint, *, patience: float = 0.0) -> None:
        self.endpoint = endpoint
        self._patience = patience  # seconds for which one that is not there is waited for

    def __repr__(self) -> str:
        return f"Control({self.endpoint.base_url})"

    def faults(
        self, faults: Sequence[JSON] = (), *, latency_s: float = 0.0, delta_s: float = 0.0, seed: int | None = None
    ) -> None:
        """Replace the fault profile: what goes wrong with which requests, from now on.

            sim.faults([{"mode": "529", "times": 1}])                    # the next request meets an overloaded server
            sim.faults([{"mode": "429", "rate": 0.3, "retry_after": 2}])  # three in ten are told to wait
            sim.faults([{"mode": "refusal", "nth": [2], "prompt": "tea"}])  # the second that says tea is refused

        A rule strikes a request if all of its conditions hold; the first rule that strikes wins. ``struck()`` counts.

        Args:
            faults: Rules. ``mode`` is what happens: an HTTP status (``"400"`` to ``"529"``, ``"429_spend_limit"``,
                ``"502_html"`` ...), a broken connection (``"rst"``, ``"hang_headers"``, ``"stall_mid_stream"``,
                ``"abort_mid_chunk"``, ``"clean_eof_no_stop"`` ...), a broken stream (``"mid_stream_overloaded"``,
                ``"truncated_json_200"`` ...), or a model that answers badly (``"refusal"``, ``"max_tokens"``,
                ``"empty_content"``, ``"malformed_tool_json"`` ...); a wrong one is refused with all their names.
                Conditions: ``rate``: with this probability (0 to 1); ``nth``: at these calls, from 1 (2 or ``[1, 3]``);
                ``times``: at most so often; ``model``: only for this one; ``prompt``: only if this occurs in the
                user's last text; ``from_s``, ``until_s``: so many seconds after the rules were set. Settings:
                ``retry_after``: a header's value; ``after``: deltas that arrive first; ``message``: the error's text.
            latency_s: Seconds before each answer begins.
            delta_s: Seconds between two pieces of an answer.
            seed: Which requests a ``rate`` strikes; that of the simulator if left out.

        Raises:
            ValueError: A rule that cannot be; the old profile stays.
        """
        if isinstance(faults, (str, Mapping)) or not isinstance(faults, Iterable):
            raise ValueError(  # noqa: TRY004  # of all rules that cannot be
                f"faults must be a list of rules, [{{'mode': '529', 'times': 1}}]; got {faults!r:.80}"
            )
        profile = {"faults": list(faults), "latency_s": latency_s, "delta_s": delta_s, "seed": seed}
        self._send("PUT", "faults", profile)

    def clear(self) -> None:
        """No more faults."""
        self._send("DELETE", "faults")

    def struck(self) -> list[int]:
        """How often each rule struck, in their order."""
        return list(self._send("GET", "faults")["struck"])

    def standing(self) -> JSON:
        """The profile that is in force, with its counts and its beginning: for ``put_back``."""
        return self._send("GET", "faults")

    def put_back(self, standing: JSON) -> None:
        """Go on with a profile where it stood: what has struck as often as it may strikes no more."""
        self._send("PUT", "faults", standing)

    def scripts(self, **models: Sequence[str | JSON]) -> None:
        """Models with fixed turns; ``sim_greeter=[...]`` becomes the model ``sim-greeter``.

        Raises:
            ValueError: A name or a turn that cannot be; nothing was changed.
        """
        for name, turns in models.items():
            if isinstance(turns, (str, Mapping)) or not isinstance(turns, Iterable):
                raise ValueError(  # noqa: TRY004  # as above
                    f"scripts: {name} must be a list of turns, ['Hello.', 'Bye.']; got {turns!r:.80}"
                )
        self._send("PUT", "scripts", {name.replace("_", "-"): list(turns) for name, turns in models.items()})

    def log(self) -> list[JSON]:
        """The newest requests (10,000 unless set otherwise), oldest first."""
        return list(self._send("GET", "log")["log"])

    def requests(self) -> int:
        """How many requests came in all."""
        return int(self._send("GET", "log")["requests"])

    def forget(self) -> None:
        """Empty the log and set its count to 0."""
        self._send("DELETE", "log")

    def _send(self, method: str, what: str, body: JSON | None = None) -> JSON:
        import urllib.error  # here: the simulator's own process, which starts with each lab that has one, does without
        import urllib.request

        try:
            data = None if body is None else json.dumps(body).encode()
        except (TypeError, ValueError, RecursionError) as error:  # ValueError: a circle
            raise ValueError(f"/__sim/{what} takes what JSON can hold: {error}") from None
        request = urllib.request.Request(  # noqa: S310 - the address is our own simulator's
            f"{self.endpoint.base_url}/__sim/{what}",
            method=method,
            data=data,
            headers={"authorization": f"Bearer {self.endpoint.api_key}", "content-type": "application/json"},
        )
        # Not the environment's proxies: the simulator is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        late = time.monotonic() + self._patience
        while True:
            try:
                with opener.open(request, timeout=_TIMEOUT) as reply:
                    answer: JSON = json.load(reply)
                return answer
            except urllib.error.HTTPError as error:
                with error:
                    raise ValueError(json.load(error)["error"]["message"]) from None
            except OSError as error:  # it is not there, or went away
                if time.monotonic() > late:
                    raise ConnectionError(f"no simulator answers at {self.endpoint.base_url}: {error}") from None
            time.sleep(_PAUSE)


def control(endpoint: Any) -> Control:  # anything that has base_url and api_key, as attributes or as keys
    """The controls of the simulator at an endpoint."""
    if isinstance(endpoint, Mapping):
        endpoint = Endpoint(str(endpoint["base_url"]), str(endpoint["api_key"]))
    return Control(endpoint)
