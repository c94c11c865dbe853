"""What must outlive the kernel: one SQLite file.

May import: the floors below ``node``.
Start with: ``database``; ``schema`` has every table and statement.
Invariant: one writer; a batch is committed whole or not at all; every row that is read has proved its checksum.
To add: a column goes into ``schema`` (a new version, and a migration) and into the row that ``kernel/notes`` writes.
"""
