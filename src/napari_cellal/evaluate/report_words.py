"""Words that several sections of a report use."""

from __future__ import annotations

NO_CELL, MISSED, NO_CLASS = "no cell", "missed", "no class"
