"""Folders of pictures with classes, in the layouts that are about, and how they are split."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from napari_cellal.classify.requests import Patch
from napari_cellal.classify.splits import with_splits
from napari_cellal.core.errors import AnnotationError
from napari_cellal.io.patch_folder import read_patch_folder


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


def labels(folder):
    return {row.name: row.labels for row in folder.rows}


def test_the_folder_is_the_class(tmp_path):
    put(tmp_path, "b/1.png", "a/s2/2.png", "stray.png")
    found = read_patch_folder(tmp_path)
    assert labels(found) == {"b/1.png": ("b",), "a/s2/2.png": ("a",)}
    assert found.class_names == ("a", "b")
    assert {r.source for r in found.rows} == {"", "s2"}
    assert len(found.problems) == 1
    assert "stray.png" in found.problems[0]


def test_folders_of_splits_hold_folders_of_classes(tmp_path):
    put(tmp_path, "train/a/1.png", "valid/a/2.png", "test/b/3.png")
    found = read_patch_folder(tmp_path)
    assert {r.name: (r.labels, r.split) for r in found.rows} == {
        "train/a/1.png": (("a",), "train"),
        "valid/a/2.png": (("a",), "val"),
        "test/b/3.png": (("b",), "test"),
    }


def test_a_table_with_bad_lines_gives_the_good_ones(tmp_path):
    put(tmp_path, "x/1.png", "x/2.png", "3.png")
    (tmp_path / "labels.csv").write_text(
        "filename,label,split\nx/1.png,a,train\nx/2.png,b,Test\ngone.png,a,train\n3.png,,val\n"
        "x/1.png,b,train\n"
    )
    found = read_patch_folder(tmp_path)
    assert {r.name: (r.labels, r.split) for r in found.rows} == {
        "x/1.png": (("a",), "train"),
        "x/2.png": (("b",), "test"),
    }
    said = " ".join(found.problems)
    assert len(found.problems) == 3
    assert "gone.png" in said
    assert "line 5" in said
    assert "x/1.png" in said


def test_ids_without_suffix_name_files_as_in_pcam(tmp_path):
    put(tmp_path, "train/f38a.tif", "train/c18f.tif")
    (tmp_path / "train_labels.csv").write_text("id,label\nf38a,0\nc18f,1\n")
    assert labels(read_patch_folder(tmp_path)) == {
        "train/f38a.tif": ("0",),
        "train/c18f.tif": ("1",),
    }


def test_sites_of_six_channels_are_one_picture_each_as_in_rxrx1(tmp_path):
    put(
        tmp_path,
        *(f"HUVEC-01/Plate1/B02_s{s}_w{c}.png" for s in (1, 2) for c in range(1, 7)),
        *(f"HUVEC-02/Plate1/B02_s1_w{c}.png" for c in range(1, 7)),
    )
    (tmp_path / "metadata.csv").write_text(
        "site_id,dataset,experiment,plate,well,site,sirna\n"
        "a,train,HUVEC-01,1,B02,1,s5\nb,train,HUVEC-01,1,B02,2,s5\nc,test,HUVEC-02,1,B02,1,s7\n"
    )
    found = read_patch_folder(tmp_path)
    assert [(r.labels, r.split, r.group, len(r.files)) for r in found.rows] == [
        (("s5",), "train", "HUVEC-01", 6),
        (("s5",), "train", "HUVEC-01", 6),
        (("s7",), "test", "HUVEC-02", 6),
    ]
    assert [f[-6:] for f in found.rows[0].files] == [f"w{c}.png" for c in range(1, 7)]
    assert all("_s2_" in f for f in found.rows[1].files)


def test_the_class_of_rxrx1_is_the_sirna_and_its_source_the_experiment(tmp_path):
    """Its own table says of which cell type a well is, too, and has no line a site."""
    put(
        tmp_path,
        *(
            f"images/{e}/Plate2/C0{w}_s{s}_w{c}.png"
            for e in ("HUVEC-01", "RPE-03")
            for w in (2, 3)
            for s in (1, 2)
            for c in range(1, 7)
        ),
    )
    lines = ["site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna"]
    for cell, e in (("HUVEC", "HUVEC-01"), ("RPE", "RPE-03")):
        for w, kind in ((2, "s1"), (3, "s2")):
            for s in (1, 2):
                lines.append(f"x{s},y{w},{cell},train,{e},2,C0{w},{s},treatment,{kind}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    found = read_patch_folder(tmp_path)
    assert found.class_names == ("s1", "s2")
    assert len(found.rows) == 8
    assert {len(r.files) for r in found.rows} == {6}
    assert {(r.source, r.group) for r in found.rows} == {(e,) * 2 for e in ("HUVEC-01", "RPE-03")}
    # a line a well is as good as one a site
    (tmp_path / "metadata.csv").write_text(
        "experiment,plate,well,sirna\nHUVEC-01,2,C02,s1\nRPE-03,2,C03,s2\nRPE-03,2,C09,s2\n"
    )
    found = read_patch_folder(tmp_path)
    assert sorted(r.name.rsplit("/", 1)[-1] for r in found.rows) == [
        "C02_s1_w1.png", "C02_s2_w1.png", "C03_s1_w1.png", "C03_s2_w1.png"
    ]  # fmt: skip
    assert any("C09" in text for text in found.problems)


def test_a_star_stands_for_the_channels(tmp_path):
    put(tmp_path, "p/a_w1.png", "p/a_w2.png", "p/b_w1.png")
    (tmp_path / "labels.csv").write_text("file,class\np/a_w*.png,x\n")
    (row,) = read_patch_folder(tmp_path).rows
    assert [f.rsplit("/", 1)[-1] for f in row.files] == ["a_w1.png", "a_w2.png"]


def test_several_classes_a_picture(tmp_path):
    put(tmp_path, "1.png", "2.png", "3.png")
    (tmp_path / "labels.csv").write_text("filename,label\n1.png,a|b\n2.png,b\n3.png,\n")
    found = read_patch_folder(tmp_path)
    assert found.multi_label
    assert labels(found) == {"1.png": ("a", "b"), "2.png": ("b",), "3.png": ()}


@pytest.mark.parametrize("table", ["a,b\n1.png,x\n", "", "filename\n1.png\n"])
def test_a_table_without_classes_says_what_it_needs(tmp_path, table):
    put(tmp_path, "1.png")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(AnnotationError, match=r"labels\.csv needs"):
        read_patch_folder(tmp_path)


def test_nothing_to_read_is_said(tmp_path):
    with pytest.raises(AnnotationError, match="no pictures"):
        read_patch_folder(tmp_path)
    with pytest.raises(AnnotationError, match="no folder"):
        read_patch_folder(tmp_path / "gone")
    put(tmp_path, "1.png")
    with pytest.raises(AnnotationError, match=r"1\.png"):
        read_patch_folder(tmp_path)


NAMES = {1: "a", 2: "b"}


def patches(n, class_id, group=lambda k: ""):
    return [Patch(f"{class_id}-{k}", "", (class_id,), group=group(k)) for k in range(n)]


def by_split(rows):
    return Counter((p.split, p.class_ids[0]) for p in rows)


def test_every_class_is_split_alike_and_always_the_same_way():
    rows = patches(100, 1) + patches(30, 2)
    done, notes = with_splits(rows, NAMES)
    assert by_split(done) == {
        ("train", 1): 80, ("val", 1): 10, ("test", 1): 10,
        ("train", 2): 24, ("val", 2): 3, ("test", 2): 3,
    }  # fmt: skip
    assert not notes
    assert with_splits(rows[::-1], NAMES)[0][::-1] == done
    assert with_splits(rows, NAMES, seed=1)[0] != done


def test_groups_stay_together():
    rows = patches(100, 1, lambda k: f"plate{k // 5}") + patches(100, 2, lambda k: f"plate{k // 5}")
    done, _ = with_splits(rows, NAMES)
    splits = {g: {p.split for p in done if p.group == g} for g in {p.group for p in done}}
    assert all(len(s) == 1 for s in splits.values())
    assert by_split(done)["test", 1] == by_split(done)["val", 2] == 10


@pytest.mark.parametrize(("n_groups", "held"), [(8, 1), (3, 1), (2, 0)])
def test_few_large_groups_are_held_out_whole(n_groups, held):
    rows = patches(24, 1, lambda k: f"E{k % n_groups}") + patches(
        24, 2, lambda k: f"E{k % n_groups}"
    )
    done, _ = with_splits(rows, NAMES)
    groups = {s: {p.group for p in done if p.split == s} for s in ("train", "val", "test")}
    assert [len(groups[s]) for s in ("val", "test")] == [held, held]
    assert len(groups["train"]) == n_groups - 2 * held


def test_a_class_of_two_is_only_learned_from_and_said():
    done, notes = with_splits(patches(20, 1) + patches(2, 2), NAMES)
    assert by_split(done)["train", 2] == 2
    assert len(notes) == 1
    assert "'b' has only 2 pictures" in notes[0]


def test_splits_that_are_there_are_kept_and_a_missing_val_is_drawn_from_train():
    rows = [Patch(f"{k}", "", (1 + k % 2,), split="train" if k < 40 else "test") for k in range(60)]
    done, _ = with_splits(rows, NAMES)
    assert Counter(p.split for p in done) == {"train": 36, "val": 4, "test": 20}
    assert all(p.split == "test" for p in done[40:])
