"""A lab under load and under fire for minutes: ``python -m tests.soak --minutes 20 --seed 1``.

Everything that is chosen comes from one seed; when it meets what else happens does not.

* ``members``: the agents. Each chains a checksum over the messages that it handled, in order.
* ``ledger``: what was sent and acknowledged, kept outside; it knows what each chain must be.
* ``deeds``: crashes, kills, hogs, stalls, ends of processes, interrupts.
* ``gauges``: memory, processes, descriptors, threads.
* ``__main__``: the run, its progress and its summary.
"""
