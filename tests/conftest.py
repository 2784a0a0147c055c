"""What every test of the project shares: how hypothesis searches."""

from __future__ import annotations

import os

from hypothesis import settings

# No test asserts on times. In CI the same commit gives the same verdict; at a desk new examples are worth having.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")
