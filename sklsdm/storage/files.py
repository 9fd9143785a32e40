"""Files that are written whole or not at all, and files that show whether they were altered."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
import stat
from pathlib import Path

_FORMAT = b"sklsdm-file-1"
_LONGEST_HEAD = 4096  # bytes; the head of a checked file is its first line
# Symbolic links are not followed, and a pipe does not block. Windows has neither flag.
_READ_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class DamagedFileError(ValueError):
    """A file is not what was once written under its name; the message says in what."""


# ---------------------------------------------------------------------------- writing
def write_atomically(
    path: Path,
    *parts: bytes | memoryview,
    keep: Path | None = None,
    overwrite: bool = True,
    private: bool = True,
) -> None:
    """Write a file such that `path` never holds a part of a content.

    It holds all of the old content or all of the new one; with `keep` there is a moment when it is
    not there, and the old content is at `keep` already.

    The parts go into a draft beside `path` with a name that nobody else uses. It is forced onto the
    disk and then renamed. A symbolic link at `path` is replaced, not followed.

    Parameters
    ----------
    path : Path
        The file. Its folder must exist.
    *parts : bytes or memoryview
        Its content, one part after another.
    keep : Path, optional
        Name in the same folder under which the old content is kept, if there is any.
    overwrite : bool, default=True
        Whether to replace a file that exists. If not, `path` stays as it is, and of several
        processes that write at the same time one wins.
    private : bool, default=True
        Whether only the owner can read it (mode 0600), or whoever the umask lets.

    Raises
    ------
    OSError
        The file could not be written, for example because its folder, which the error then
        names, is missing, because the disk is full, or because `path` is a device or a pipe, which
        a file would replace. No draft is left.
    """
    if overwrite:
        _check_replaceable(path)
    draft = path.with_name(f"{_draft_prefix(path)}{secrets.token_hex(8)}.part")
    mode = 0o600 if private else 0o666
    try:
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None:
            with contextlib.suppress(OSError):  # there is no old content, or a folder at `keep`
                os.replace(path, keep)
        _rename(draft, path, overwrite)
    except OSError as error:
        if error.filename == str(draft):  # a name that the caller does not know
            missing = isinstance(error, FileNotFoundError)
            error.filename = str(path.parent if missing else path)
        raise
    finally:
        with contextlib.suppress(NotADirectoryError):  # the folder is a file
            draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_checked(
    path: Path,
    label: str,
    content: bytes | memoryview,
    *,
    keep: Path | None = None,
    overwrite: bool = True,
) -> None:
    """Write a file that :func:`read_checked` reads, as :func:`write_atomically` writes one.

    Its first line holds the format, the checksum (SHA-256 of label and content), the number of
    bytes and the label, one line that says what the content is. The content follows.
    """
    checksum = _checksum(label, content)
    head = b"%s %s %d %s\n" % (_FORMAT, checksum, len(content), label.encode())
    write_atomically(path, head, content, keep=keep, overwrite=overwrite)


def make_private_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are missing, for the owner only (0700)."""
    for folder in reversed([path, *path.parents]):
        folder.mkdir(mode=0o700, exist_ok=True)


def drafts_of(path: Path) -> list[Path]:
    """Drafts of a file, of processes that are writing it or were killed while they did."""
    names = glob.glob(f"{glob.escape(_draft_prefix(path))}*.part", root_dir=path.parent)
    return [path.parent / name for name in names]


def _draft_prefix(path: Path) -> str:
    return f".{path.name[:100]}."  # a name has a largest length


# ---------------------------------------------------------------------------- reading
def read_checked(path: Path, label: str) -> bytes:
    """The content of a file that :func:`write_checked` has written with this label.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DamagedFileError
        It is no ordinary file, or none of this format, or was cut off or altered, or has another
        label. The message says which, as the end of a sentence that begins with "it".
    OSError
        It cannot be read.
    """
    if path.is_symlink():
        raise DamagedFileError("is a symbolic link")
    if path.is_dir():
        raise DamagedFileError("is a folder")
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _READ_FLAGS)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DamagedFileError("is no ordinary file")
        if status.st_size == 0:
            raise DamagedFileError("is empty")
        head = file.readline(_LONGEST_HEAD)
        fields = head.rstrip(b"\n").split(b" ", 3)
        if len(fields) != 4 or fields[0] != _FORMAT or not fields[2].isdigit():
            raise DamagedFileError("has another format")
        found, wanted = status.st_size - len(head), int(fields[2])
        if found != wanted:
            raise DamagedFileError(f"holds {found} bytes of content in place of {wanted}")
        content = file.read()
    if fields[3] != label.encode():
        raise DamagedFileError("belongs to something else")
    if fields[1] != _checksum(label, content):
        raise DamagedFileError("was altered: its checksum does not agree with its content")
    return content


def _checksum(label: str, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(label.encode() + b"\n")
    digest.update(content)
    return digest.hexdigest().encode()


def _check_replaceable(path: Path) -> None:
    """Raise if there is a device, a pipe or a socket at `path`."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
            raise FileExistsError(
                errno.EEXIST, "there is a device or a pipe, which is not replaced", str(path)
            )


def _rename(draft: Path, path: Path, overwrite: bool) -> None:
    if not overwrite:
        try:
            os.link(draft, path)
            return
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                return
    os.replace(draft, path)


def _sync_folder(path: Path) -> None:
    """Force the names in a folder onto the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
