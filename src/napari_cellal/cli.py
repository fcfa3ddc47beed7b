"""Command line (being written)."""


def main() -> int:
    return 2
