"""The rate-limit headers of the API: what is left of this minute. They tell, and nothing is refused by them."""

from __future__ import annotations

from datetime import UTC, datetime

REQUESTS = 1_000_000
TOKENS = 1_000_000_000
"""Of each minute; so much that a client which slows down when it is nearly used up does not."""


class Limits:
    """Counts requests and tokens, minute by minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._used = [0, 0, 0]

    def take(self, now: float, tokens_in: int, tokens_out: int) -> dict[str, str]:
        """Count one call at a time of the wall (seconds); the headers of its answer."""
        if int(now // 60) != self._minute:
            self._minute, self._used = int(now // 60), [0, 0, 0]
        self._used = [
            used + more for used, more in zip(self._used, (1, max(0, tokens_in), max(0, tokens_out)), strict=True)
        ]
        reset = datetime.fromtimestamp((self._minute + 1) * 60, UTC).isoformat().replace("+00:00", "Z")
        requests, read, said = self._used
        rows = {
            "requests": (REQUESTS, requests),
            "tokens": (TOKENS, read + said),
            "input-tokens": (TOKENS, read),
            "output-tokens": (TOKENS, said),
        }
        headers: dict[str, str] = {}
        for name, (limit, used) in rows.items():
            start = f"anthropic-ratelimit-{name}"
            headers |= {f"{start}-limit": str(limit), f"{start}-remaining": str(max(0, limit - used))}
            headers[f"{start}-reset"] = reset
        return headers
