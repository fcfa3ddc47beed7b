"""Tables for other programs, written in portions: CSV or Parquet."""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

from napari_cellal.core.errors import CellalError

from .atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SUFFIXES = (".csv", ".parquet")
Kind = Literal["text", "count", "number", "measurement"]
"""What a column holds; ``number`` keeps every digit, ``measurement`` is a float32."""


class TableWriter(Protocol):
    """Takes the lines of a table."""

    def write(self, lines: Iterable[Sequence[Any]]) -> None:
        """Write lines; None is an empty place."""


def check_output(out: str | Path) -> None:
    """Raise `CellalError` where a table cannot be written so; quick, before hours of work."""
    suffix = Path(out).suffix.lower()
    if suffix not in SUFFIXES:
        raise CellalError(f"{Path(out).name}: tables are written as .csv or .parquet.")
    if suffix == ".parquet":
        _parquet()


@contextlib.contextmanager
def table_file(out: str | Path, columns: Mapping[str, Kind]) -> Iterator[TableWriter]:
    """Give a writer of a table that stands at ``out`` once the block has ended well.

    Parameters
    ----------
    out : path
        ``.csv``, or ``.parquet``, which keeps every digit and the columns' types.

    Raises
    ------
    CellalError
        If the file cannot be written, or for Parquet without the package pyarrow.
    """
    check_output(out)
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            if path.suffix.lower() == ".csv":
                yield _Csv(file, columns)
            else:
                with contextlib.closing(_Parquet(file, columns)) as writer:
                    yield writer
    except OSError as error:
        raise CellalError(f"{path} cannot be written ({error.strerror or error}).") from error


class _Csv:
    def __init__(self, file: IO[bytes], columns: Mapping[str, Kind]) -> None:
        self._file = file
        self._short = tuple(kind == "measurement" for kind in columns.values())
        self.write([list(columns)])

    def write(self, lines: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(
            [
                "" if v is None else f"{v:.7g}" if s and not isinstance(v, str) else v
                for v, s in zip(line, self._short, strict=True)
            ]
            for line in lines
        )
        self._file.write(text.getvalue().encode("utf-8", "replace"))


class _Parquet:
    def __init__(self, file: IO[bytes], columns: Mapping[str, Kind]) -> None:
        self._arrow, parquet = _parquet()
        kinds = {
            "text": self._arrow.string(),
            "count": self._arrow.int64(),
            "number": self._arrow.float64(),
            "measurement": self._arrow.float32(),
        }
        self._schema = self._arrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, lines: Iterable[Sequence[Any]]) -> None:
        arrays = [
            self._arrow.array(values, type=field.type)
            for values, field in zip(zip(*lines, strict=True), self._schema, strict=False)
        ]
        if arrays:
            self._writer.write_table(self._arrow.table(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CellalError(
            "Parquet files need the package pyarrow: install napari-cellal[parquet], or write "
            "the table as .csv."
        ) from error
    return pyarrow, pyarrow.parquet
