"""``python -m agentlab.testing``: where the file is that ``pytest --nbval-sanitize-with`` wants."""

from __future__ import annotations

import argparse
import sys

from agentlab.testing import SANITIZE


def main() -> None:
    """Print the path."""
    about = "Print the path of agentlab-nbval-sanitize.cfg, for: pytest --nbval --nbval-sanitize-with PATH"
    parser = argparse.ArgumentParser(prog="python -m agentlab.testing", description=about)
    parser.add_argument("what", nargs="?", choices=["sanitize"], default="sanitize", help="whose path")
    parser.parse_args()
    sys.stdout.write(f"{SANITIZE}\n")


if __name__ == "__main__":
    main()
