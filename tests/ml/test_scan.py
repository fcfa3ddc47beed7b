"""Scans: what they find, what they leave alone, and how they go on."""

from __future__ import annotations

import ast
import json
import queue
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image
from scan_things import (
    Here,
    begin,
    cells_of,
    make_plate,
    make_slide,
    new_project,
    scan,
    small_is_large,
    spots,
    stop_after,
)

from napari_cellal.cli import main
from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.history import finish
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Review, Status
from napari_cellal.io.store import Project
from napari_cellal.workflows import classifying, detecting, learning, patches
from napari_cellal.workflows.scanning import plan, running, streams
from napari_cellal.workflows.scanning.tasks import Done
from napari_cellal.workflows.scanning.writing import ScanWriter
from napari_cellal.workflows.worker import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_cellal.core.progress import Job


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_plate(tmp_path_factory.mktemp("plate") / "P1", 5)


def test_a_scan_finds_what_detect_finds(tmp_path: Path, plate: Path) -> None:
    with new_project(tmp_path) as project:
        report = scan(project, [plate])
        assert (report.images, report.done, report.failed) == (10, 10, {})
        assert report.ended
        assert report.cells == len(cells_of(project)) > 30
        assert {r.place["well"] for r in project.images.values()} == {f"A0{k}" for k in range(1, 6)}
        found = cells_of(project)
        request = detecting.request_detection(project, project.images, model="classical")
        items = list(run_job(detecting.detections_of(request)).values())
        run = detecting.apply_detections(project, items)
        assert run.summary.new == 0
        assert cells_of(project) == found


def test_a_scan_is_one_step_of_undo(tmp_path: Path, plate: Path) -> None:
    with new_project(tmp_path) as project:
        scan(project, [plate])
        found = cells_of(project)
        project.history.undo()
        assert cells_of(project) == []
        assert project.history.undo_label == ""
        project.history.redo()
        assert cells_of(project) == found
        assert not begin(project, [plate]).waiting
        project.history.undo()
        assert len(begin(project, [plate]).waiting) == len(project.images)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_scan_that_was_broken_off_goes_on(tmp_path: Path, plate: Path, steps: int) -> None:
    with new_project(tmp_path / "whole") as project:
        scan(project, [plate], features="quick")
        expected = cells_of(project)
    with new_project(tmp_path / "broken") as project:
        first = stop_after(project, begin(project, [plate], features="quick"), steps)
        assert first.closed
        assert len(first.tasks) == steps
        assert (len(cells_of(project)) > 0) == (steps > 0)
        todo = begin(project, [plate], features="quick")
        assert todo.resumed
        crew = Here(todo.spec)
        report = run_job(running.scan(project, todo, crew))
        assert not set(crew.tasks) & set(first.tasks)
        assert report.ended
        assert cells_of(project) == expected
        again = begin(project, [plate], features="quick")
        assert not again.waiting
        assert len(project.scans.all()) == 1


def test_measurements_are_there_when_they_are_asked_for(
    tmp_path: Path, plate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_project(tmp_path) as project:
        key = next(iter(begin(project, [plate]).waiting))
        drawn = gestures.draw(key, [(2.0, 3.0, 30.0, 28.0)], 1, "me")
        project.history.do(drawn)
        scan(project, [plate], features="quick")
        requests = learning.measure_requests(project)
        cold = run_job(learning.measure_table(requests, tmp_path / "cold"))
        monkeypatch.setattr("napari_cellal.features.cache.read_pixels", None)
        warm = run_job(learning.measure_table(requests, project.cache_folder))
        assert warm.cell_ids == cold.cell_ids
        assert next(iter(drawn.after)) in warm.cell_ids
        np.testing.assert_array_equal(warm.values, cold.values)


def test_what_a_person_reviewed_stays(tmp_path: Path, plate: Path) -> None:
    with new_project(tmp_path) as project:
        scan(project, [plate])
        cells = [c for key in project.images for c in project.cells.of_image(key)]
        mine, wrong = cells[0], cells[1]
        project.history.do(gestures.accept([mine], "me"))
        project.history.do(gestures.remove([wrong], "me"))
        report = run_job(
            running.scan(
                project,
                todo := begin(project, [plate], restart=True),
                Here(todo.spec),
            )
        )
        rows = project.cells.rows([mine.cell_id, wrong.cell_id])
        assert rows[mine.cell_id].box == mine.box  # type: ignore[union-attr]
        assert rows[mine.cell_id].review is Review.CONFIRMED  # type: ignore[union-attr]
        assert rows[wrong.cell_id].status is Status.REJECTED  # type: ignore[union-attr]
        assert (report.summary.kept, report.summary.new) == (2, 0)
        assert len(cells_of(project)) == len(cells)


def test_finished_images_are_left_out(tmp_path: Path, plate: Path) -> None:
    with new_project(tmp_path) as project:
        keys = begin(project, [plate]).waiting
        done = sorted(keys)[0]
        project.history.do(gestures.finish_image(done, done, [], "me"))
        report = scan(project, [plate], score=0.2)
        assert report.images == len(keys) - 1
        assert project.cells.of_image(done) == []


def test_bad_files_are_told_and_skipped_and_tried_again(tmp_path: Path, plate: Path) -> None:
    folder = tmp_path / "P1"
    shutil.copytree(plate, folder)
    with new_project(tmp_path) as project:
        whole = scan(project, [folder], score=0.1).cells
    with new_project(tmp_path / "other") as project:
        todo = begin(project, [folder])
        bad = folder / "P1_A02_s1_w2.tif"
        kept = bad.read_bytes()
        bad.write_bytes(kept[:200])
        report = run_job(running.scan(project, todo, Here(todo.spec)))
        ((key, sentence),) = report.failed.items()
        assert "A02_s1" in project.images[key].name
        assert "has changed" in sentence
        assert (report.done, report.ended) == (9, True)
        bad.write_bytes(kept)
        again = begin(project, [folder])
        assert again.waiting == {key}
        assert run_job(running.scan(project, again, Here(again.spec))).failed == {}
        assert len(cells_of(project)) >= whole


def test_new_images_join_a_scan(tmp_path: Path) -> None:
    folder = make_plate(tmp_path / "P1", 2)
    with new_project(tmp_path) as project:
        scan(project, [folder])
        make_plate(tmp_path / "P2", 3, seed=500)
        todo = begin(project, [folder, tmp_path / "P2"])
        assert todo.resumed
        assert (len(todo.waiting), todo.done) == (6, 4)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slide(tmp_path_factory.mktemp("slide") / "slide.tif")


@pytest.fixture(scope="module")
def cells_of_slide(
    slide: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[Any, ...]]]:
    """What an undisturbed scan finds: the same as Detect."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, new_project(folder) as project:
        small_is_large(patch)
        patch.setattr("napari_cellal.detect.large.PART_PX", 300)
        scan(project, [slide], features="quick")
        found = cells_of(project)
        assert len(found) > 20
        (scan_id,) = (s.scan_id for s in project.scans.all())
        assert project.scans.parts(scan_id, next(iter(project.images)), "part") == {}
        requests = learning.measure_requests(project)
        cold = run_job(learning.measure_table(requests, folder / "cold"))
        warm = run_job(learning.measure_table(requests, project.cache_folder))
        np.testing.assert_array_equal(warm.values, cold.values)
        request = detecting.request_detection(project, project.images, model="classical")
        items = list(run_job(detecting.detections_of(request)).values())
        assert detecting.apply_detections(project, items).summary.new == 0
        assert cells_of(project) == found
        yield found


@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_a_large_image_goes_on_part_by_part(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slide: Path,
    cells_of_slide: list[tuple[Any, ...]],
    steps: int,
) -> None:
    small_is_large(monkeypatch)
    with new_project(tmp_path) as project:
        first = stop_after(project, begin(project, [slide], features="quick"), steps)
        assert len(first.tasks) == steps
        assert cells_of(project) == []
        todo = begin(project, [slide], features="quick")
        crew = Here(todo.spec)
        run_job(running.scan(project, todo, crew))
        assert not set(crew.tasks) & set(first.tasks)
        assert cells_of(project) == cells_of_slide


def test_an_image_of_many_cells_broken_off_while_it_is_written(
    tmp_path: Path, plate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_cellal.workflows.scanning import writing

    with new_project(tmp_path / "whole") as project:
        scan(project, [plate])
        expected = cells_of(project)
    monkeypatch.setattr(writing, "_TOGETHER", 2)
    with new_project(tmp_path / "broken") as project:
        todo = begin(project, [plate])
        crew = Here(todo.spec)
        writer = writing.ScanWriter(project, todo)
        crew.put(running.finish(writer.begin()))
        steps = writer.take(crew.take(0))
        next(steps)
        steps.close()
        assert len(cells_of(project)) == 2
        run_job(running.scan(project, again := begin(project, [plate]), Here(again.spec)))
        assert cells_of(project) == expected


def test_other_settings_are_another_scan(tmp_path: Path, plate: Path) -> None:
    with new_project(tmp_path) as project:
        stop_after(project, begin(project, [plate]), 1)
        assert not begin(project, [plate], score=0.3).resumed
        assert len(project.scans.all()) == 2
        going_on = plan.unfinished_scan(project)
        assert plan.settings_of(going_on).score == 0.3
        project.add_classes(["another"])
        with pytest.raises(CellalError, match="not what they were"):
            plan.plan_scan(project, project.images, plan.settings_of(going_on), going_on=going_on)


def test_a_plate_in_one_zarr(tmp_path: Path) -> None:
    import zarr

    top = tmp_path / "screen.zarr"
    group = zarr.open_group(top, mode="w", zarr_format=3)
    group.attrs["ome"] = {"plate": {"name": "screen", "wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    axes = [{"name": n, "type": "channel" if n == "c" else "space"} for n in "cyx"]
    for number, well in enumerate(("A/1", "B/2")):
        place = zarr.open_group(top / well, mode="w", zarr_format=3)
        place.attrs["ome"] = {"well": {"images": [{"path": "0"}]}}
        image = zarr.open_group(top / well / "0", mode="w", zarr_format=3)
        plane = spots((96, 112), 6, number)
        level = image.create_array("0", shape=(2, 96, 112), chunks=(1, 64, 64), dtype="uint8")
        level[:] = np.stack([plane, plane // 2])
        scale = [{"type": "scale", "scale": [1, 1, 1]}]
        paths = [{"path": "0", "coordinateTransformations": scale}]
        image.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": paths}]}
    with new_project(tmp_path) as project:
        report = scan(project, [top])
        assert (report.done, report.failed) == (2, {})
        assert {r.place["well"] for r in project.images.values()} == {"A1", "B2"}
        assert report.cells > 5
        assert not begin(project, [top]).waiting


def test_images_that_a_model_cannot_see_fail_alone(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (90, 70), (230, 210, 210)).save(folder / "one.png")
    two = np.stack([spots((70, 90), 3, 0)] * 2)
    tifffile.imwrite(folder / "two.tif", two, metadata={"axes": "CYX"})
    with new_project(tmp_path) as project:
        report = scan(project, [folder], model="shipped")
        assert [project.images[key].name for key in report.failed] == ["two.tif"]
        assert (report.done, report.ended) == (1, True)
    with new_project(tmp_path / "other") as project, pytest.raises(ModelError, match="2 channels"):
        begin(project, [folder / "two.tif"], model="shipped")


def test_lists_of_files(tmp_path: Path, plate: Path) -> None:
    table = tmp_path / "list.csv"
    names = [f.name for f in sorted(plate.iterdir()) if "_A01_" in f.name]
    (tmp_path / "P1").symlink_to(plate)
    table.write_text("plate,file\n" + "".join(f"x,P1/{name}\n" for name in names))
    with new_project(tmp_path) as project:
        assert len(begin(project, [table]).waiting) == 2
        table.write_text("a,b\n1,2\n")
        with pytest.raises(CellalError, match="no column of files"):
            begin(project, [table])


@pytest.fixture(scope="module")
def smear_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures for the shipped detector, of two sizes."""
    from napari_cellal.io.samples.write import write_samples

    folder = tmp_path_factory.mktemp("smears")
    write_samples(folder, "smear", 4, 0, shape=(120, 160), cell_px=28)
    Image.new("RGB", (90, 70), (230, 210, 210)).save(folder / "empty.png")
    return folder


def test_pictures_shown_together_are_found_alike(tmp_path: Path, smear_folder: Path) -> None:
    """As a graphics card is shown them."""
    with Project.create(tmp_path / "p", ["RBC", "WBC", "Platelets"]) as project:
        todo = begin(project, [smear_folder], model="shipped")
        hands = Here(todo.spec)
        hands.pretend_to_be("cuda")
        assert run_job(running.scan(project, todo, hands)).failed == {}
        assert len(cells_of(project)) > 8
        request = detecting.request_detection(project, project.images, model="shipped")
        items = list(run_job(detecting.detections_of(request)).values())
        summary = detecting.apply_detections(project, items).summary
        assert (summary.new, summary.lost, summary.shifted, summary.reclassed) == (0, 0, 0, 0)


def test_a_large_picture_is_searched_as_detect_searches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of cells whose size differs from part to part: one scale for all, chosen alike."""
    from napari_cellal.io.samples.write import write_samples

    sides = []
    for name, cell_px in (("large", 70), ("small", 22)):
        write_samples(tmp_path / name, "smear", 1, 0, shape=(290, 580), cell_px=cell_px)
        (found,) = (tmp_path / name).glob("**/*.png")
        sides.append(np.asarray(Image.open(found).convert("RGB")))
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, np.concatenate(sides), tile=(128, 128), photometric="rgb")
    small_is_large(monkeypatch)
    monkeypatch.setattr("napari_cellal.detect.large.PART_PX", 300)
    ways = []
    for name in ("scanned", "detected"):
        (tmp_path / name).mkdir()
        with Project.create(tmp_path / name / "p", ["RBC", "WBC", "Platelets"]) as project:
            todo = begin(project, [path], model="shipped")
            if name == "scanned":
                run_job(running.scan(project, todo, Here(todo.spec)))
            else:
                request = detecting.request_detection(project, project.images, model="shipped")
                items = list(run_job(detecting.detections_of(request)).values())
                detecting.apply_detections(project, items)
            ways.append(cells_of(project))
    assert len(ways[0]) > 20
    assert ways[0] == ways[1]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a classifier of bright and dark pictures, hardly trained."""
    folder = tmp_path_factory.mktemp("classifier")
    rng = np.random.default_rng(0)
    for name, level in (("bright", 150), ("dark", 50)):
        (folder / name).mkdir()
        for k in range(10):
            picture = rng.normal(level, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{k}.png")
    request = classifying.request_classifier(
        patches.of_folder(folder), folder / "models", preset="resnet18", start="scratch",
        view={"size_px": 32}, steps=3, batch_size=4, device="cpu",
    )  # fmt: skip
    return run_job(classifying.train(request)).folder


@pytest.mark.parametrize("in_parts", [False, True])
def test_classes_are_those_of_the_classifier(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plate: Path,
    classifier: str,
    in_parts: bool,
) -> None:
    if in_parts:
        small_is_large(monkeypatch)
        plate = make_slide(tmp_path / "slide.tif", rgb=True)
    with Project.create(tmp_path / "a", ["bright", "dark"]) as project:
        scan(project, [plate], classifier=classifier)
        classed = cells_of(project)
    with Project.create(tmp_path / "b", ["bright", "dark"]) as project:
        scan(project, [plate])
        request = classifying.request_classing(project, Path(classifier), device="cpu")
        classifying.apply_classed(project, run_job(classifying.class_patches(request)))
        for one, other in zip(classed, cells_of(project), strict=True):
            assert one[:-2] == other[:-2]
            assert one[-1] == other[-1]
            near = [dict(ast.literal_eval(row[-2])) for row in (one, other)]
            assert near[0] == pytest.approx(near[1], abs=1e-4)


def test_the_command(tmp_path: Path, plate: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With real processes; the list of what it prints is an interface."""
    project = tmp_path / "p.cellal"
    with new_project(tmp_path):
        pass
    argv = ["scan", str(project), str(plate), "--model", "classical", "--workers", "2", "--json"]
    assert main([*argv, "--measure"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (said["images"], said["done"], said["added"], said["failed"]) == (10, 10, 10, [])
    assert said["cells"] == said["new"] > 30
    assert 0 < said["busy"] <= 1
    assert main(argv) == 0  # other settings: nothing is measured
    said = json.loads(capsys.readouterr().out)
    assert (said["added"], said["new"], said["moved"]) == (0, 0, said["cells"])
    assert main(argv) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["done"], said["done_now"], said["resumed"]) == (10, 0, True)
    assert main(["scan", str(project), "--resume"]) == 1
    assert "No scan" in capsys.readouterr().err


def test_several_processes_find_what_one_finds(tmp_path: Path, plate: Path) -> None:
    with new_project(tmp_path) as project:
        todo = begin(project, [plate])
        tasks = finish(ScanWriter(project, todo).begin())
        tasks = [replace(t, images=(image,)) for t in tasks for image in t.images]

        def found(job: Job[None]) -> list[Any]:
            steps = [step for step in job if step.item is not None]
            assert [step.done for step in steps] == list(range(1, 11))
            results: list[Any] = [step.item for step in steps]
            cells = [found.detections for result in results for found in result.items]
            return sorted(cells, key=lambda found: found.image_id)

        one = found(streams.work_through(todo.spec, tasks))
        assert found(streams.work_beside(todo.spec, tasks, ("cpu",) * 2)) == one


def test_what_follows_is_done_by_the_processes_that_are_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slide: Path,
    cells_of_slide: list[tuple[Any, ...]],
) -> None:
    """Parts follow from a look, cells from the parts: no model is loaded anew for them."""
    small_is_large(monkeypatch)
    begun = []
    launch = WorkerProcess.launch

    def counted(worker: WorkerProcess) -> None:
        before = worker.pid
        launch(worker)
        if worker.pid != before:
            begun.append(worker.name)

    monkeypatch.setattr(WorkerProcess, "launch", counted)
    with new_project(tmp_path) as project:
        todo = begin(project, [slide], features="quick")
        writer = ScanWriter(project, todo)
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        tasks, kinds = finish(writer.begin()), set()
        for step in streams.work_beside(todo.spec, tasks, ("cpu",) * 2, answers=answers):
            if isinstance(step.item, Done):
                kinds.add(step.item.key.split("-")[0])
                answers.put(finish(writer.take([step.item])))
        assert kinds == {"look", "part", "cells"}
        assert writer.end()
        assert cells_of(project) == cells_of_slide
    assert len(begun) == len(set(begun))


def test_where_nothing_is_to_be_computed_no_process_starts(tmp_path: Path, plate: Path) -> None:
    """As where a scan was ended between the last part of an image and its cells."""
    with new_project(tmp_path) as project:
        spec = begin(project, [plate]).spec
        steps = list(streams.work_beside(spec, [], ("cpu",) * 2))
        assert steps == []


def test_a_process_that_cannot_be_driven_ends_the_scan_in_words(
    tmp_path: Path, plate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two: its tasks must not be waited for."""
    poll = WorkerProcess.poll

    def broken(worker: WorkerProcess, timeout_s: float = 0.0) -> Any:
        if worker.name.endswith("2"):
            raise MemoryError
        return poll(worker, timeout_s)

    monkeypatch.setattr(WorkerProcess, "poll", broken)
    with new_project(tmp_path) as project:
        todo = begin(project, [plate])
        tasks = finish(ScanWriter(project, todo).begin())
        with pytest.raises(CellalError, match="MemoryError"):
            run_job(streams.work_beside(todo.spec, tasks, ("cpu",) * 2))


def test_a_task_that_ends_its_process_fails_alone(
    tmp_path: Path, plate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a picture would that takes all memory: the others of its lot and round are found."""
    with new_project(tmp_path) as project:
        todo = begin(project, [plate])
        key = sorted(todo.waiting)[3]
        record = project.images[key]
        monkeypatch.setattr(streams, "work_through", deadly)
        monkeypatch.setenv("DEADLY", record.name)
        crew = streams.Streams(todo.spec, ("cpu",))
        report = run_job(running.scan(project, todo, crew))
        assert list(report.failed) == [key]
        assert report.done == 9


def test_a_scan_pauses_though_a_process_is_in_the_middle_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plate: Path
) -> None:
    """That process answers to nothing: it is ended, and its image searched again later."""
    with new_project(tmp_path / "whole") as project:
        scan(project, [plate])
        expected = cells_of(project)
    began, came_back = tmp_path / "began", tmp_path / "came back"
    monkeypatch.setenv("DEAF", f"P1_A02_s;{began};{came_back}")
    with new_project(tmp_path) as project:
        with monkeypatch.context() as patch:
            patch.setattr(streams, "work_through", deaf)
            patch.setattr(plan, "LOT", 1)
            todo = begin(project, [plate])
            worker = WorkerProcess("deaf")
            job = running.scan(project, todo, streams.Streams(todo.spec, ("cpu",), worker))
            while not (next(job).done and began.exists()):
                pass
            pid = worker.pid
            job.close()
        assert not came_back.exists()
        assert pid is not None
        assert not psutil.pid_exists(pid)
        again = begin(project, [plate])
        assert again.resumed
        assert 0 < len(again.waiting) < 10
        run_job(running.scan(project, again, Here(again.spec)))
        assert cells_of(project) == expected


def deaf(spec: Any, tasks: Any, device: str) -> Any:
    """Do as `work_through`, but never come back from one image."""
    import os
    import time
    from pathlib import Path

    from napari_cellal.workflows.scanning.streams import work_through

    which, began, came_back = os.environ["DEAF"].split(";")
    for task in tasks:
        if any(which in image.path for image in task.images):
            Path(began).touch()
            time.sleep(60)
            Path(came_back).touch()
        yield from work_through(spec, [task], device)


def deadly(spec: Any, tasks: Any, device: str) -> Any:
    """Do as `work_through`, and die of one image."""
    import os

    from napari_cellal.workflows.scanning.streams import work_through

    for task in tasks:
        if any(os.environ["DEADLY"][:9] in image.path for image in task.images):
            yield from work_through(spec, [], device)
            os.kill(os.getpid(), 9)
        yield from work_through(spec, [task], device)
