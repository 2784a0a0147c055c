"""To AWS: the plan against EC2 Image Builder, making it so, and promoting what was verified."""

from __future__ import annotations
