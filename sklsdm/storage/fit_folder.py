"""The folder of one unfinished fit: its seed and the states of its trainings, as checked files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sklsdm._validation import warn_user
from sklsdm._version import __version__
from sklsdm.distributed import Group
from sklsdm.storage.files import (
    DamagedFileError,
    drafts_of,
    make_private_folder,
    read_checked,
    write_checked,
)
from sklsdm.storage.hashing import content_hash

# Changing these parameters does not change the result, so a fit may be resumed with other values.
_NO_EFFECT_ON_RESULT = ("checkpoint", "verbose")
_SEED = "seed.state"
# An equal fit may end, and remove the folder, while this one reads or writes.
_TRIES = 5


def fit_path(root: str | Path, params: dict[str, Any], arrays: Iterable[Any]) -> Path:
    """Path below `root` for the fit with these parameters on these arrays (None allowed).

    Its name is a hash of the parameters, the arrays and the package's version. Fits that could
    end in different draws therefore never share a folder. (With `random_state=None` the seed that
    was drawn first is stored in the folder: an equal fit at the same time takes it too.)
    """
    part = {name: params[name] for name in params if name not in _NO_EFFECT_ON_RESULT}
    return Path(root).absolute() / content_hash(__version__, part, list(arrays))[:24]


class FitFolder:
    """Keeps what a killed fit needs to go on, for as long as the fit is unfinished.

    Each state is kept beside the one before it. A file that is damaged is renamed, with a warning
    that names it. Where nothing can be written, one warning says so, and the fit goes on. Equal
    fits may use the folder at the same time: each writes whole files, whose states are all valid.

    Parameters
    ----------
    path : Path
        The folder, from :func:`fit_path`; it is made when there is something to store.
    seed : int
        Seed of the fit, unless the folder holds one already.

    Attributes
    ----------
    seed : int
        The seed to fit with.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self._names = {_SEED}
        self._warned = False
        if os.path.islink(path) or (os.path.exists(path) and not os.path.isdir(path)):
            self.set_aside(path, "is no folder")
        self.seed = self._stored_seed(seed)

    # ------------------------------------------------------------------ the states of trainings
    def states(self, name: str) -> Iterator[tuple[Path, bytes]]:
        """The stored states of a training that are undamaged, with their paths, latest first."""
        path = self._path_of(name)
        for place in (path, _previous(path)):
            content = self._read(place, self._label(name))
            if content is not None:
                yield place, content

    def save(self, name: str, content: bytes | memoryview) -> None:
        """Store the state of a training; the one before it is kept beside it."""
        path = self._path_of(name)

        def write() -> None:
            write_checked(path, self._label(name), content, keep=_previous(path))

        self._try_to(write)

    def set_aside(self, path: Path, reason: str) -> None:
        """Rename a file that cannot be used, and warn."""
        text = f"The checkpoint file {path} {reason}. "
        goes_on = " The fit goes on from the last good state, or starts afresh without one."
        try:
            aside = _free_name(path)
            os.rename(path, aside)
        except FileNotFoundError:  # an equal fit was faster
            return
        except OSError as error:
            warn_user(f"{text}It is ignored, and could not be renamed ({error}).{goes_on}")
            return
        warn_user(f"{text}It is now called {aside.name}, and may be deleted.{goes_on}")

    def remove(self) -> None:
        """Remove what was stored, and the folder if nothing else is in it."""
        for name in self._names:
            path = self.path / name
            for mine in (path, _previous(path), *drafts_of(path)):
                with contextlib.suppress(OSError):  # an equal fit was faster
                    mine.unlink()
        with contextlib.suppress(OSError):  # there are other files, or an equal fit is at work
            self.path.rmdir()

    # ------------------------------------------------------------------ the seed
    def _stored_seed(self, seed: int) -> int:
        path = self.path / _SEED
        label = f"{self.path.name} {_SEED}"

        def write() -> None:
            write_checked(path, label, str(seed).encode(), overwrite=False)

        for _ in range(_TRIES):
            content = self._read(path, label)
            if content is not None and content.isdigit():
                return int(content)
            if content is not None:
                self.set_aside(path, "holds no seed")
            if not self._try_to(write):
                return seed
        return seed

    # ------------------------------------------------------------------ shared
    def _path_of(self, name: str) -> Path:
        """Where the state of a training is stored; it is noted for the removal."""
        self._names.add(name)
        return self.path / name

    def _label(self, name: str) -> str:
        """What the state of a training is called inside: that of another fit or seed differs."""
        return f"{self.path.name} {name} of seed {self.seed}"

    def _read(self, path: Path, label: str) -> bytes | None:
        """The content of a file; None if it does not exist, or is damaged and was set aside."""
        if not os.path.lexists(path):
            return None
        try:
            return read_checked(path, label)
        except FileNotFoundError:  # an equal fit was faster
            return None
        except DamagedFileError as error:
            self.set_aside(path, str(error))
        except OSError as error:
            self.set_aside(path, f"cannot be read ({error})")
        return None

    def _try_to(self, write: Callable[[], None]) -> bool:
        """Write into the folder; the first time that this is not possible, warn."""
        reason: OSError | None = None
        for _ in range(_TRIES):
            try:
                make_private_folder(self.path)
                if self.path.is_symlink():
                    raise NotADirectoryError(f"{self.path} is a symbolic link")
                write()
                return True
            except FileNotFoundError as error:  # an equal fit has removed the folder
                reason = error
            except OSError as error:
                reason = error
                break
        if not self._warned:
            self._warned = True
            warn_user(
                f"The state of this fit could not be stored in "
                f"checkpoint={str(self.path.parent)!r} ({reason}). The fit goes on, but if it is "
                f"killed, what it learnt since the last state that was stored is lost. Make room, "
                f"or set checkpoint to a folder that you can write to."
            )
        return False


class SharedFolder:
    """The folder of a fit by several processes: the first one reads and writes it for all.

    Parameters and attributes are those of :class:`FitFolder`.
    """

    def __init__(self, path: Path, seed: int, group: Group) -> None:
        self.group = group
        self._folder = FitFolder(path, seed) if group.is_first else None
        self.seed = int(group.from_first(seed if self._folder is None else self._folder.seed))

    def states(self, name: str) -> Iterator[tuple[Path, bytes]]:
        """The stored states of a training, in all processes."""
        found = None if self._folder is None else list(self._folder.states(name))
        yield from self.group.from_first(found)

    def save(self, name: str, content: bytes | memoryview) -> None:
        """Store the state of a training."""
        if self._folder is not None:
            self._folder.save(name, content)

    def set_aside(self, path: Path, reason: str) -> None:
        """Rename a file that cannot be used, and warn."""
        if self._folder is not None:
            self._folder.set_aside(path, reason)

    def remove(self) -> None:
        """Remove what was stored."""
        if self._folder is not None:
            self._folder.remove()


def _previous(path: Path) -> Path:
    """Where the state before the one at `path` is kept."""
    return path.with_name(f"{path.name}.previous")


def _free_name(path: Path) -> Path:
    """The first name beside `path` for a damaged file that is not taken."""
    aside, count = path.with_name(f"{path.name}.damaged"), 1
    while os.path.lexists(aside):
        count += 1
        aside = path.with_name(f"{path.name}.damaged-{count}")
    return aside
