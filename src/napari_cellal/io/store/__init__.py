"""The project folder: a SQLite database that is always saved, models and a cache."""

from .project import Project

__all__ = ["Project"]
