"""Files are written whole or not at all, and altered ones are found out."""

import errno
import os
import stat
from pathlib import Path

import pytest
from helpers import DAMAGES, NO_ORDINARY_FILES

from sklsdm.storage.files import (
    DamagedFileError,
    drafts_of,
    make_private_folder,
    read_checked,
    write_atomically,
    write_checked,
)

CONTENT = bytes(range(256)) * 20


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "folder" / "some.state"
    make_private_folder(path.parent)
    write_checked(path, "ours", CONTENT)
    return path


def fail_in(monkeypatch, name, error=errno.ENOSPC):
    """Let a function of `os` fail, as it does where the disk is full."""

    def fail(*args, **kwargs):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, name, fail)


# ------------------------------------------------------------------ writing
def test_what_was_written_is_read(path):
    assert read_checked(path, "ours") == CONTENT


def test_an_error_names_the_missing_folder_or_the_file_and_no_draft(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "missing" / "model", b"new")
    assert caught.value.filename == str(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError) as other:
        write_atomically(tmp_path / "file" / "model", b"new")
    assert other.value.filename == str(tmp_path / "file" / "model")


def test_only_the_owner_can_read(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(path, monkeypatch, step):
    fail_in(monkeypatch, step)
    with pytest.raises(OSError, match="No space"):
        write_checked(path, "ours", b"new")
    assert read_checked(path, "ours") == CONTENT
    assert list(path.parent.iterdir()) == [path]  # no draft is left


def test_content_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    """And the name is, too, before the function returns."""
    steps = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle):
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def note_replace(source, target):
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_atomically(path, b"new")
    assert steps == ["file", "rename", "folder"]


def test_the_old_content_is_kept_on_request(path):
    older = path.with_name("older")
    write_checked(path, "ours", b"new", keep=older)
    assert read_checked(path, "ours") == b"new"
    assert read_checked(older, "ours") == CONTENT


def test_a_folder_in_the_place_of_the_old_content_does_not_stop_the_new(path):
    older = path.with_name("older")
    older.mkdir()
    write_checked(path, "ours", b"new", keep=older)
    assert read_checked(path, "ours") == b"new"


@pytest.mark.parametrize("has_links", [True, False])
def test_the_first_of_several_writers_wins(path, monkeypatch, has_links):
    if not has_links:
        fail_in(monkeypatch, "link", errno.EPERM)
    write_checked(path, "ours", b"second", overwrite=False)
    assert read_checked(path, "ours") == CONTENT
    other = path.with_name("other")
    write_checked(other, "ours", b"first", overwrite=False)
    assert read_checked(other, "ours") == b"first"
    assert drafts_of(path) == drafts_of(other) == []


def test_links_are_replaced_and_not_followed(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    for name in ("link", "older"):
        path.with_name(name).symlink_to(elsewhere)
    write_checked(path.with_name("link"), "ours", b"new", keep=path.with_name("older"))
    assert elsewhere.read_text() == "precious"
    assert read_checked(path.with_name("link"), "ours") == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_not_replaced(path):
    """Nor is a device: who may write them all, as in many containers, would lose /dev/null."""
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="a device or a pipe, which is not replaced"):
        write_atomically(path, b"new")
    assert stat.S_ISFIFO(os.lstat(path).st_mode)
    assert list(path.parent.iterdir()) == [path]


def test_drafts_of_one_file_are_found(path):
    for name in (".some.state.abc.part", ".other.state.abc.part", "some.state.part"):
        path.with_name(name).touch()
    assert [found.name for found in drafts_of(path)] == [".some.state.abc.part"]


# ------------------------------------------------------------------ reading
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(path, damage):
    DAMAGES[damage](path)
    with pytest.raises(DamagedFileError):
        read_checked(path, "ours")


@pytest.mark.parametrize("place", range(0, 5200, 97))
def test_no_byte_can_change(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_checked(path, "ours")


@pytest.mark.parametrize("kind", NO_ORDINARY_FILES)
def test_what_is_no_ordinary_file_is_not_read(path, kind):
    """A pipe does not make the reader wait."""
    NO_ORDINARY_FILES[kind](path)
    with pytest.raises(DamagedFileError, match="is "):
        read_checked(path, "ours")


def test_a_file_of_another_label_is_not_ours(path):
    with pytest.raises(DamagedFileError, match="belongs to something else"):
        read_checked(path, "theirs")


def test_a_large_foreign_file_is_not_read_whole(path):
    """A file of 64 GiB, nearly all of it a hole: only its first line is looked at."""
    os.truncate(path, 2**36)
    with pytest.raises(DamagedFileError, match="in place of 5120"):
        read_checked(path, "ours")


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checked(Path(tmp_path / "none"), "ours")
