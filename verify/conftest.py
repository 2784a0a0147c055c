"""Loads the plug-in that knows rules and parameters; `pytest verify --hosts=podman://NAME` needs nothing else."""

from __future__ import annotations

pytest_plugins = ("harness.pytest_plugin",)
