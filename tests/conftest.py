"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes on a busy machine is no property of the code.
settings.register_profile("agentlab", deadline=None)
settings.load_profile("agentlab")
