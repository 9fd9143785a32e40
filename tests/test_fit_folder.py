"""The folder of an unfinished fit: damaged files, full disks, other fits at work in it."""

import errno
import os
import shutil
import warnings

import pytest
from helpers import DAMAGES, NO_ORDINARY_FILES

from sklsdm.storage.files import write_checked
from sklsdm.storage.fit_folder import FitFolder

DAMAGED = DAMAGES | NO_ORDINARY_FILES
NAME = "stage-1.state"


@pytest.fixture
def path(tmp_path):
    """A folder with a seed and two states of one training."""
    return store(tmp_path / "fit", b"first", b"second").path


def store(path, *contents):
    """A folder of a fit in which these states were stored, as far as that is possible."""
    folder = FitFolder(path, 7)
    for content in contents:
        folder.save(NAME, content)
    return folder


def states(path, seed=7):
    return [content for _, content in FitFolder(path, seed).states(NAME)]


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def fill_disk(patch):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "fsync", fail)


def test_the_latest_state_comes_first(path):
    assert states(path) == [b"second", b"first"]


def test_the_seed_that_was_stored_counts(path):
    assert FitFolder(path, 8).seed == 7


# ------------------------------------------------------------------ damaged files
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_state_is_named_and_set_aside(path, damage):
    DAMAGED[damage](path / NAME)
    with pytest.warns(UserWarning, match=rf"{path / NAME} .* called {NAME}.damaged") as caught:
        assert states(path) == [b"first"]
    assert len(caught) == 1
    assert os.path.lexists(path / f"{NAME}.damaged")
    assert states(path) == [b"first"]  # and nothing is said any more


def test_both_states_damaged(path):
    for name in (NAME, f"{NAME}.previous"):
        (path / name).write_text("")
    with pytest.warns(UserWarning, match="is empty") as caught:
        assert states(path) == []
    assert len(caught) == 2


@pytest.mark.parametrize("damage", DAMAGED)
def test_without_its_seed_a_fit_starts_afresh(path, damage):
    """States of the seed that is lost are not mixed with those of another."""
    DAMAGED[damage](path / "seed.state")
    with pytest.warns(UserWarning, match="seed.state.* It is now called"):
        folder = FitFolder(path, 8)
    assert folder.seed == 8
    with pytest.warns(UserWarning, match="belongs to something else"):
        assert list(folder.states(NAME)) == []
    assert FitFolder(path, 9).seed == 8


def test_with_the_same_seed_it_goes_on(path):
    (path / "seed.state").write_text("")
    with pytest.warns(UserWarning, match="seed.state is empty"):
        assert states(path, seed=7) == [b"second", b"first"]


def test_a_good_file_of_another_fit_is_not_taken(path, tmp_path):
    other = store(tmp_path / "other", b"theirs")
    shutil.copy(other.path / NAME, path / NAME)
    with pytest.warns(UserWarning, match="belongs to something else"):
        assert states(path) == [b"first"]


def test_damaged_files_are_all_kept(path):
    for _ in range(2):
        (path / NAME).write_text("")
        with pytest.warns(UserWarning, match="damaged"):
            states(path)
    assert {f"{NAME}.damaged", f"{NAME}.damaged-2"} < set(names(path))


@pytest.mark.parametrize("kind", ["file", "link"])
def test_another_thing_in_the_place_of_the_folder(tmp_path, kind):
    path, elsewhere = tmp_path / "fit", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(elsewhere)
    with pytest.warns(UserWarning, match="is no folder. It is now called fit.damaged"):
        store(path, b"first")
    assert states(path) == [b"first"]
    assert names(elsewhere) == []


def test_a_damaged_file_that_cannot_be_renamed_is_ignored(path, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    (path / NAME).write_text("")
    monkeypatch.setattr(os, "rename", refuse)
    with pytest.warns(UserWarning, match="is empty. It is ignored, and could not be renamed"):
        assert states(path) == [b"first"]


# ------------------------------------------------------------------ where nothing can be written
def test_a_full_disk_warns_once_and_leaves_the_states(path, monkeypatch):
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.warns(UserWarning, match=r"could not be stored .*No space left") as caught:
            folder = store(path, b"third", b"fourth")
        assert len(caught) == 1
    assert states(path) == [b"second", b"first"]
    folder.save(NAME, b"fifth")  # there is room again
    assert states(path) == [b"fifth", b"second"]


def test_a_disk_that_is_full_from_the_start(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.warns(UserWarning, match="could not be stored") as caught:
            folder = store(tmp_path / "fit", b"first", b"second")
        assert len(caught) == 1
    assert folder.seed == 7
    assert FitFolder(tmp_path / "fit", 8).seed == 8  # no empty file is left that holds no seed


@pytest.mark.parametrize("root", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be_made(tmp_path, root):
    (tmp_path / "file").write_text("mine")
    with pytest.warns(UserWarning, match="could not be stored in checkpoint=") as caught:
        folder = store(tmp_path / root / "fit", b"first", b"second")
    assert len(caught) == 1
    assert list(folder.states(NAME)) == []
    folder.remove()
    assert (tmp_path / "file").read_text() == "mine"


# ------------------------------------------------------------------ the end, and other fits
def test_only_our_own_files_are_removed(path):
    mine = ["model.state", "notes.txt", f"{NAME}.damaged", f".{NAME}"]
    for name in mine:
        (path / name).write_text("mine")
    (path / f".{NAME}.abc.part").touch()  # left by a killed process
    folder = FitFolder(path, 7)
    list(folder.states(NAME))
    folder.remove()
    assert names(path) == sorted(mine)


def test_nothing_is_left_of_a_finished_fit(path):
    folder = FitFolder(path, 7)
    list(folder.states(NAME))
    folder.remove()
    assert not path.exists()
    folder.remove()  # an equal fit that ends later


def test_a_folder_that_an_equal_fit_has_removed_is_made_again(path):
    folder = FitFolder(path, 7)
    shutil.rmtree(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(folder.states(NAME)) == []
        folder.save(NAME, b"third")
    assert [content for _, content in folder.states(NAME)] == [b"third"]


def test_a_folder_that_is_removed_while_a_state_is_written(path, monkeypatch):
    folder, replace = FitFolder(path, 7), os.replace

    def lose(source, target):
        monkeypatch.setattr(os, "replace", replace)
        shutil.rmtree(path)
        replace(source, target)

    monkeypatch.setattr(os, "replace", lose)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.save(NAME, b"third")
    assert [content for _, content in folder.states(NAME)] == [b"third"]


def test_a_damaged_file_that_an_equal_fit_has_set_aside(path):
    folder = FitFolder(path, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.set_aside(path / "gone", "is empty")


def test_a_seed_with_a_checksum_that_is_no_number(path):
    """Such a file was not written by a fit, but its checksum is right."""
    label = f"{path.name} seed.state"
    write_checked(path / "seed.state", label, b"seven")
    with pytest.warns(UserWarning, match="holds no seed"):
        assert FitFolder(path, 8).seed == 8
