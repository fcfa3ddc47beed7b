"""What a cell's state is called in front of a person."""

from __future__ import annotations

from napari_cellal.core.records import Status

STATUS_WORDS = {
    Status.PROPOSED: "proposed, not looked at yet",
    Status.CONFIRMED: "confirmed",
    Status.CORRECTED: "corrected",
    Status.DRAWN: "drawn",
    Status.IMPORTED: "imported, not looked at yet",
    Status.REJECTED: "rejected",
    Status.UNSURE: "unsure",
}
