"""What the benchmarks share: sides that take turns, peers in processes of their own, one JSON line per figure."""
