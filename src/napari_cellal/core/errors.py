"""Errors whose message is one sentence that a biologist can act on."""


class CellalError(Exception):
    """Anything that went wrong in a way the person can do something about."""


class ProjectError(CellalError):
    """A project folder cannot be opened, read or written."""


class ImageError(CellalError):
    """An image file is missing, broken, or not what the project recorded."""


class AnnotationError(CellalError):
    """An annotation file cannot be read or does not fit the project."""


class ModelError(CellalError):
    """A model is missing, broken, or does not fit these images."""


class StaleEditError(CellalError):
    """An edit was made against rows that have changed since."""
