"""What an idle gen_server costs, and to start one: the peer's side of P1 and P2, whose own is in agents.py.

    python tests/benchmarks/beam_agents.py [--quick] [--rounds 3]

The table joins these lines with ours of the same row, unit and size.
"""

from __future__ import annotations

import functools

from kit import peers
from kit.report import Options, Report, in_turn


def main() -> None:
    """Print the figures."""
    options = Options(__doc__)
    report = Report(options)
    for size in options.sizes(1_000_000):
        rounds = 1 if size == 1_000_000 else options.rounds
        found = in_turn(rounds, BEAM=functools.partial(peers.beam, f"starts:many({size})", "+P", "2000000"))
        report.peer_only("P1 idle agent, all processes together; agents", found, "bytes", "bytes", "BEAM", size=size,
                         ratio_most=0.5)  # fmt: skip
        report.peer_only("P2 start of one of many; agents", found, "start_us", "us", "BEAM", size=size,
                         ratio_most=1.5)  # fmt: skip


if __name__ == "__main__":
    main()
