"""Import boxes… and Export… in the Project dock, with what the dialog shows before."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QAbstractButton, QApplication, QCheckBox, QComboBox, QMenu, QPushButton

from napari_cellal.core.records import Review


@pytest.fixture
def person(sit_down, folder):
    return sit_down(folder, "Project")


@pytest.fixture
def smears(folder):
    return folder.parent / "smears"


def dialog_on(person, *paths):
    """Open the dialog on files and wait until it shows what they hold."""
    dialog = person.workspace.dock("Project").exchange.open_import()
    dialog.look_at([str(p) for p in paths])
    shown(person, dialog)
    return dialog


def shown(person, dialog):
    person.wait(lambda: dialog._import.isEnabled())


def push(dialog, text):
    (found,) = [b for b in dialog.findChildren(QPushButton) if b.text() == text]
    found.click()


def rows(dialog):
    table = dialog._table
    return [
        (table.item(k, 0).text(), int(table.item(k, 1).text()), table.cellWidget(k, 2))
        for k in range(table.rowCount())
    ]


def test_boxes_come_in_as_the_dialog_said(person, smears):
    dialog = dialog_on(person, smears)
    assert not person.rows()  # nothing before the person says so
    counts = {name: n for name, n, _ in rows(dialog)}
    assert set(counts) == {"RBC", "WBC", "Platelets"}
    for name, _, box in rows(dialog):
        assert box.currentText() == name
    push(dialog, "Import")
    person.wait(lambda: len(person.rows()) == sum(counts.values()))
    person.wait(lambda: person.workspace.dock("Project").exchange.dialog is None)
    assert {c.review for c in person.rows().values()} == {Review.CONFIRMED}
    assert all(r.finished for r in person.session.project.images.values())
    person.agree()
    person.press("Ctrl+Z")
    person.wait(lambda: not person.rows())
    person.agree()


def test_classes_by_another_name_and_left_out(person, smears):
    dialog = dialog_on(person, smears)
    counts = {name: n for name, n, _ in rows(dialog)}
    boxes = {name: box for name, _, box in rows(dialog)}
    boxes["RBC"].setCurrentText("(leave out)")
    boxes["WBC"].setCurrentText("Leukocyte")
    person.wait(lambda: "Leukocyte" in dialog._report.toPlainText())
    dialog._confirm.setChecked(False)
    assert not dialog._complete.isEnabled()
    push(dialog, "Import")
    person.wait(lambda: len(person.rows()) == counts["WBC"] + counts["Platelets"])
    project = person.session.project
    names = {project.classes[c.class_id].name for c in person.rows().values()}
    assert names == {"Leukocyte", "Platelets"}
    assert {c.review for c in person.rows().values()} == {Review.OPEN}
    assert not any(r.finished for r in project.images.values())
    person.agree()


def test_columns_of_a_table_are_chosen(person, folder):
    name = next(iter(person.session.project.images.values())).name
    table = folder.parent / "cells.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "kind", "other", "xmin", "ymin", "xmax", "ymax"])
        writer.writerow([name, "wrong", "WBC", 11, 21, 40, 60])
    dialog = dialog_on(person, table)
    assert [r[0] for r in rows(dialog)] == ["(no class)"]
    assert dialog._columns["xmin"].currentText() == "xmin"
    dialog._columns["class"].setCurrentText("other")
    shown(person, dialog)
    person.wait(lambda: [r[0] for r in rows(dialog)] == ["WBC"])
    dialog._from_one.setChecked(True)
    person.wait(lambda: not dialog._import.isEnabled())
    shown(person, dialog)
    push(dialog, "Import")
    person.wait(lambda: len(person.rows()) == 1)
    (cell,) = person.rows().values()
    assert cell.box == (20, 10, 60, 40)
    assert person.session.project.classes[cell.class_id].name == "WBC"


def test_what_cannot_be_read_is_said_in_the_dialog(person, folder, smears):
    (folder.parent / "broken.json").write_text('{"images": [')
    dialog = person.workspace.dock("Project").exchange.open_import()
    dialog.look_at([str(folder.parent / "broken.json")])
    person.wait(lambda: "broken.json" in dialog._report.toPlainText())
    assert not dialog._import.isEnabled()
    dialog.look_at([str(smears)])  # and another try goes
    shown(person, dialog)
    dialog.close()
    assert not person.rows()


def test_another_project_closes_the_dialog(person, smears, folder):
    dialog = person.workspace.dock("Project").exchange.open_import()
    dialog.look_at([str(smears)])  # being read while the project goes
    person.session.close_project()
    person.wait(lambda: person.workspace.dock("Project").exchange.dialog is None)
    person.open(folder)
    assert not person.rows()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_clipped(person, smears, folder, theme):
    person.viewer.theme = theme
    (folder.parent / "t.csv").write_text(
        "file,kind,xmin,ymin,xmax,ymax\nsmear_001.png,a,1,2,30,40\n"
    )
    dialog = dialog_on(person, folder.parent / "t.csv")
    QApplication.processEvents()
    assert dialog.height() <= 760
    assert dialog.width() <= 700
    for widget in dialog.findChildren((QAbstractButton, QComboBox, QCheckBox)):
        if not widget.isVisible() or widget.window() is not dialog:
            continue
        corner = widget.mapTo(dialog, QPoint(widget.width(), widget.height()))
        assert corner.x() <= dialog.width()
        assert corner.y() <= dialog.height()
        if isinstance(widget, QPushButton | QCheckBox):
            assert widget.fontMetrics().horizontalAdvance(widget.text()) < widget.width()
            assert widget.toolTip()
    dialog.close()


@pytest.mark.parametrize("name", ["coco", "crops"])
def test_export_writes_and_says_so(person, smears, tmp_path, name):
    dialog = dialog_on(person, smears)
    push(dialog, "Import")
    person.wait(lambda: len(person.rows()) > 20)
    dock = person.workspace.dock("Project")
    n = len(person.rows())
    person.wait(lambda: str(n) in dock._report.text())
    dock.exchange.format.setCurrentIndex(dock.exchange.format.findData(name))
    dock.exchange.export(str(tmp_path / "out"))
    person.wait(lambda: "written" in dock._report.text())
    files = list((tmp_path / "out").iterdir())
    assert len(files) == (n + 1 if name == "crops" else 1)


def test_export_without_cells_says_why(person, tmp_path):
    dock = person.workspace.dock("Project")
    dock.exchange.format.setCurrentIndex(dock.exchange.format.findData("crops"))
    dock.exchange.export(str(tmp_path / "out"))
    assert person.told[-1][1]
    assert not (tmp_path / "out").exists()


def test_boxes_of_other_layers_come_into_the_image(person):
    """Shapes and Labels of other programs, wherever they lie, become open boxes.

    napari's 0 is half a pixel from the image's edge.
    """
    viewer, brought = person.viewer, person.workspace.dock("Project").exchange.layer_boxes
    shapes = viewer.add_shapes(
        [np.array([[9.5, 9.5], [9.5, 39.5], [29.5, 39.5], [29.5, 9.5]])], name="drawn"
    )
    labels = np.zeros((60, 80), np.uint8)
    labels[20:30, 10:25] = 1
    masks = viewer.add_labels(labels, name="masks", scale=(2, 2), translate=(0.5, 0.5))
    assert brought.layers() == [shapes, masks]
    menu = QMenu()
    brought.fill(menu)
    menu.actions()[0].trigger()
    person.wait(lambda: len(person.rows()) == 1)
    menu.actions()[1].trigger()
    person.wait(lambda: len(person.rows()) == 2)
    boxes = sorted(c.box for c in person.rows().values())
    assert boxes == [(10.0, 10.0, 30.0, 40.0), (40.0, 20.0, 60.0, 50.0)]
    person.session.undo()
    person.session.undo()
    assert not person.rows()


def test_a_stack_of_labels_is_refused_in_a_sentence(person):
    masks = person.viewer.add_labels(np.ones((3, 20, 20), np.uint8), name="stack")
    person.workspace.dock("Project").exchange.layer_boxes.bring(masks)
    assert "stack" in person.told[-1][0]
    assert not person.rows()
