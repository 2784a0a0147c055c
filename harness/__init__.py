"""The engine: hardens a target with component documents, judges it with suites, and keeps the evidence."""

from __future__ import annotations

__version__ = "0.1.0"
