"""What must outlive the kernel: one SQLite file.

May import: the floors below ``node``.
Start with: ``database``; ``rows`` says what each column means, ``schema`` has every statement.
Invariant: one writer; a batch is committed whole or not at all; every row that is read has proved its checksum.
To add: a column is a field of its row in ``rows``, a version and a migration in ``schema``, a word in its frame.
"""
