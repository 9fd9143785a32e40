"""Progress of loops on standard error: bars on a screen, lines in a log file."""

from __future__ import annotations

import math
import multiprocessing
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Any, Self

from sklsdm.distributed import is_first

_MOST_LINES = 10  # of one loop at verbose=1, where no bar can be drawn


@cache
def _bars() -> Any:
    """tqdm's class of bars, but with a lock of its own and without a thread that watches them.

    tqdm's own lock is one across processes, and making it fixes for the rest of the program how
    `multiprocessing` starts processes.
    """
    from tqdm.auto import tqdm

    class Bars(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0
        _lock = threading.RLock()

    return Bars


def write_line(line: str) -> None:
    """Write a line to standard error, above the bars that are shown.

    Of processes that fit together only the first one writes.
    """
    if _has_stderr() and is_first():
        _bars().write(line, file=sys.stderr)


class Progress:
    """Progress of one loop. As a context it ends, and closes its bar, however the loop ends.

    Parameters
    ----------
    title : str
        What the loop does.
    total : int
        Its rounds.
    unit : str
        What one round is called.
    verbose : int
        0 shows nothing; 1 a bar, or at most ten lines where none can be drawn; from 2 on, a line
        for each round.
    done : int, default=0
        Rounds that were done before, by a fit that is resumed.
    """

    def __init__(self, title: str, total: int, unit: str, verbose: int, done: int = 0) -> None:
        self.title, self.total, self.unit, self.verbose = title, total, unit, verbose
        self.done = self.done_before = done
        self.start = time.perf_counter()
        self.bar: Any = None
        if verbose == 1 and is_first() and _can_redraw():
            self.bar = _bars()(
                total=total,
                initial=done,
                desc=title,
                unit=unit,
                dynamic_ncols=True,
                miniters=1,
                file=sys.stderr,
            )

    def advance(self, shown: Mapping[str, float] | None = None) -> None:
        """One more round is done; `shown` are numbers such as its loss."""
        before, self.done = self.done, self.done + 1
        numbers = {name: f"{value:.4g}" for name, value in (shown or {}).items()}
        if self.bar is not None:
            self.bar.set_postfix(numbers, refresh=False)
            self.bar.update()
        elif self.verbose > 1 or (self.verbose == 1 and self._is_tenth(before)):
            parts = [f"{self.title}: {self.unit} {self.done}/{self.total}"]
            parts += [f"{name}={number}" for name, number in numbers.items()]
            if self.done < self.total:
                parts.append(f"{_duration(self._seconds_left())} left")
            write_line(", ".join(parts))

    def _is_tenth(self, before: int) -> bool:
        """Whether the loop has come to another tenth of its rounds, counted from the end."""
        tenths_left = [
            math.ceil(_MOST_LINES * (self.total - done) / self.total)
            for done in (before, self.done)
        ]
        return tenths_left[1] < tenths_left[0]

    def _seconds_left(self) -> float:
        """How long the other rounds will take, each as long as those so far."""
        took = time.perf_counter() - self.start
        return took / (self.done - self.done_before) * (self.total - self.done)

    def close(self, note: str = "") -> None:
        """Close the bar; `note` says why the loop ended before its last round."""
        if self.bar is None:
            if note and self.verbose:
                write_line(f"{self.title}: {note} after {self.unit} {self.done}/{self.total}")
            return
        if note:
            self.bar.set_description(f"{self.title}, {note}", refresh=False)
        self.bar.close()
        self.bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _has_stderr() -> bool:
    """Whether there is an open standard error; under pythonw there is none."""
    return sys.stderr is not None and not getattr(sys.stderr, "closed", False)


def _can_redraw() -> bool:
    """Whether this process can overwrite what it has shown on standard error.

    Worker processes cannot, even on a terminal: each would overwrite the others' bars.
    """
    if not _has_stderr() or multiprocessing.parent_process() is not None:
        return False
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel.")


def _duration(seconds: float) -> str:
    return str(_bars().format_interval(seconds))
