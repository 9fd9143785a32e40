"""Declared parameters: default, allowed values and documentation of each are written once.

A class derived from :class:`Declared` lists its parameters as fields,

    lr: float = parameter(default=1e-3, rule=above(0.0), doc="Initial rate of Adam.")

and gets its `__init__`, its checks and the "Parameters" section of its docstring from them. A
subclass inherits all three, and changes a default by naming it again, with its type:
``lr: float = 5e-3``.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self, dataclass_transform

import numpy as np
from sklearn.base import BaseEstimator

from sklsdm._validation import check_choice, check_flag, check_integer, check_real
from sklsdm.documentation import DocumentationLinkMixin
from sklsdm.reading import is_integer

LARGEST_REAL = 1e30  # of settings, so that float32 holds them times other numbers
LARGEST_INT = 2**31 - 1  # of the numbers of steps, widths and rows that torch is asked for
_WIDTH = 95  # of a line of documentation


@dataclasses.dataclass(frozen=True)
class Rule:
    """Allowed values of a parameter: in words, and as ``check(name, value)``, which may raise."""

    text: str
    check: Callable[[str, Any], object]


def _check_size(name: str, value: Any, low: int) -> None:
    if check_integer(name, value, low) > LARGEST_INT:
        raise ValueError(f"{name} must be at most {LARGEST_INT}, got {value!r}.")


def integer(low: int) -> Rule:
    """Integers from `low` on."""
    return Rule(f"int >= {low}", lambda name, value: _check_size(name, value, low))


def any_integer() -> Rule:
    """Integers; their range depends on the data, and the code that uses them checks it."""

    def check(name: str, value: Any) -> None:
        if not is_integer(value):
            raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__}).")

    return Rule("int", check)


def count_of_jobs() -> Rule:
    """Numbers of processes as in joblib: from 1 on, or negative, which leaves processors free."""

    def check(name: str, value: Any) -> None:
        any_integer().check(name, value)
        if value == 0:
            raise ValueError(
                f"{name} must be a number of processes, or -1 for all processors (-2 for all but "
                f"one), got 0."
            )

    return Rule("int other than 0", check)


def multiple_of(step: int) -> Rule:
    """Positive multiples of `step`."""

    def check(name: str, value: Any) -> None:
        _check_size(name, value, step)
        if value % step:
            raise ValueError(f"{name} must be a multiple of {step}, got {value!r}.")

    return Rule(f"int, a multiple of {step}", check)


def _real(text: str, low: float, high: float = np.inf, **ends: bool) -> Rule:
    """Numbers between two ends that float32 and, if they are integers, 64 bits can hold."""

    def check(name: str, value: Any) -> None:
        check_real(name, value, low, high, **ends)
        limit = LARGEST_REAL if isinstance(value, float | np.floating) else 2**62
        if abs(float(value)) > limit:
            raise ValueError(f"{name} must be at most {limit:g}, got {value!r}.")

    return Rule(text, check)


def at_least(low: float) -> Rule:
    """Finite numbers from `low` on."""
    return _real(f"float >= {low:g}", low)


def above(low: float) -> Rule:
    """Finite numbers above `low`."""
    return _real(f"float > {low:g}", low, open_low=True)


def within(low: float, high: float) -> Rule:
    """Numbers in [low, high]."""
    return _real(f"float in [{low:g}, {high:g}]", low, high)


def between(low: float, high: float) -> Rule:
    """Numbers in [low, high)."""
    return _real(f"float in [{low:g}, {high:g})", low, high, open_high=True)


def one_of(*names: str) -> Rule:
    """One of some names."""
    listed = ", ".join(f'"{name}"' for name in names)
    return Rule(f"{{{listed}}}", lambda name, value: check_choice(name, value, names))


def sequence_of(rule: Rule) -> Rule:
    """A list, tuple or array whose members all satisfy `rule`."""

    def check(name: str, value: Any) -> None:
        is_array = isinstance(value, np.ndarray) and value.ndim == 1
        if not isinstance(value, list | tuple) and not is_array:
            raise TypeError(
                f"{name} must be a sequence (a list or tuple) of {rule.text}, got {value!r}."
            )
        for member in value:
            rule.check(name, member)

    return Rule(f"sequence of {rule.text}", check)


def some(rule: Rule) -> Rule:
    """As :func:`sequence_of`, but not empty."""
    members = sequence_of(rule)

    def check(name: str, value: Any) -> None:
        members.check(name, value)
        if len(value) == 0:
            raise ValueError(f"{name} must hold at least one {rule.text}, got none.")

    return Rule(members.text, check)


def pair_of(rule: Rule) -> Rule:
    """As :func:`sequence_of`, with two members."""
    members = sequence_of(rule)

    def check(name: str, value: Any) -> None:
        members.check(name, value)
        if len(value) != 2:
            raise ValueError(f"{name} must hold two numbers, got {len(value)}: {value!r}.")

    return Rule(f"pair of {rule.text}", check)


def or_auto(rule: Rule) -> Rule:
    """`rule`, or the word "auto"."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, str):
            if value != "auto":
                raise ValueError(f"{name} must be {rule.text} or 'auto', got {value!r}.")
            return
        rule.check(name, value)

    return Rule(f'{rule.text} or "auto"', check)


def or_none(rule: Rule) -> Rule:
    """`rule`, or None."""
    return Rule(
        f"{rule.text} or None",
        lambda name, value: None if value is None else rule.check(name, value),
    )


def flag() -> Rule:
    """True or False."""
    return Rule("bool", check_flag)


def integer_or_flag(low: int) -> Rule:
    """Integers from `low` on; True and False count as 1 and 0."""

    def check(name: str, value: Any) -> None:
        _check_size(name, int(value) if isinstance(value, bool) else value, low)

    return Rule(f"int >= {low} or bool", check)


def path_like() -> Rule:
    """A string or path."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str | os.PathLike):
            raise TypeError(f"{name} must be a path (str or pathlib.Path), got {value!r}.")
        if "\0" in os.fspath(value):
            raise ValueError(f"{name} must be a path without null characters, got {value!r}.")

    return Rule("path-like", check)


def anything(text: str) -> Rule:
    """No check here: `text` documents the values, and the code that uses them checks them."""
    return Rule(text, lambda name, value: None)


def parameter(
    *,
    default: Any = dataclasses.MISSING,
    rule: Rule | None = None,
    doc: str = "",
    kw_only: bool = True,
) -> Any:
    """A parameter of the constructor; with `kw_only=False` it may be given by position.

    A subclass may declare a parameter again; it then inherits an omitted `rule` or `doc`.
    """
    metadata = {"rule": rule, "doc": inspect.cleandoc(doc)}
    return dataclasses.field(
        default=default,
        kw_only=kw_only,
        metadata={key: value for key, value in metadata.items() if value},
    )


def learnt(doc: str, text: str = "", *, init: Literal[False] = False) -> Any:
    """An attribute that `fit` sets; `text` is its documented type, if not the annotation."""
    return dataclasses.field(init=init, metadata={"doc": inspect.cleandoc(doc), "text": text})


@dataclass_transform(kw_only_default=True, field_specifiers=(parameter, learnt))
class Declared(DocumentationLinkMixin, BaseEstimator):
    """A scikit-learn object whose parameters are declared as fields with :func:`parameter`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_annotated(cls)
        dataclasses.dataclass(eq=False, repr=False, kw_only=True)(cls)
        if cls.__doc__:
            cls.__doc__ = _documented(cls)

    def set_params(self, **params: Any) -> Self:
        """Set parameters. After an error this object and its parts are what they were before."""
        with unless_it_fails(self, params):
            return super().set_params(**params)

    def _check_further(self, prefix: str) -> None:
        """Raise if parameters do not fit together; each one has passed its own rule before."""


@contextmanager
def unless_it_fails(owner: BaseEstimator, params: dict[str, Any]) -> Iterator[None]:
    """Context in which parameters are set: after an error they all have their old values again.

    scikit-learn sets one parameter after the other, so that those before an unknown name would
    stay set. The parts of `owner`, and those that `params` brings, are covered too.
    """
    parts = [*owner.get_params(deep=True).values(), *params.values()]
    objects = [owner, *(part for part in parts if isinstance(part, BaseEstimator))]
    before = [(each, each.__dict__.copy()) for each in objects]
    try:
        yield
    except Exception:
        for each, attributes in before:
            each.__dict__ = attributes
        raise


def check_parameters(declared: Declared, prefix: str = "") -> None:
    """Raise if a parameter has a value that its rule does not allow.

    Messages put `prefix`, such as "matcher__", before the parameter's name.
    """
    for field in _parameters(type(declared)):
        rule = _inherited(type(declared), field.name, "rule")
        if rule is not None:
            rule.check(prefix + field.name, getattr(declared, field.name))
    declared._check_further(prefix)


def use_plain_numbers(declared: Declared) -> None:
    """Replace NumPy's numbers and arrays among the parameters by Python's numbers and lists.

    NumPy's small integers overflow in sums, and torch does not take all of them.
    """
    for name, value in declared.get_params(deep=False).items():
        if isinstance(value, np.number | np.bool_):
            setattr(declared, name, value.item())
        elif isinstance(value, np.ndarray) and value.ndim == 1:
            setattr(declared, name, value.tolist())


def _check_annotated(cls: type) -> None:
    """Raise where a default is named again without its type: such a line would change nothing."""
    bases = [base for base in cls.__mro__[1:] if dataclasses.is_dataclass(base)]
    inherited = {field.name for base in bases for field in dataclasses.fields(base)}
    for name in inherited & (vars(cls).keys() - inspect.get_annotations(cls).keys()):
        raise TypeError(
            f"{cls.__name__}.{name} has no type, so that the default would not change; write "
            f"`{name}: <type> = {vars(cls)[name]!r}`."
        )


def _parameters(cls: Any) -> list[dataclasses.Field[Any]]:
    """Fields of the constructor, in its order: those that may be given by position come first."""
    fields = [field for field in dataclasses.fields(cls) if field.init]
    return sorted(fields, key=lambda field: bool(field.kw_only))


def _inherited(cls: type, name: str, key: str) -> Any:
    """The metadata `key` of field `name`, from `cls` or the nearest base class that has it."""
    for base in cls.__mro__:
        field = vars(base).get("__dataclass_fields__", {}).get(name)
        if field is not None and field.metadata.get(key):
            return field.metadata[key]
    return None


def _documented(cls: Any) -> str:
    """The docstring of `cls`, with the sections "Parameters" and "Attributes" added."""
    text = inspect.cleandoc(cls.__doc__)
    later = re.search(r"^(Notes|References|Examples)\n-+$", text, re.MULTILINE)
    head, tail = (text[: later.start()], text[later.start() :]) if later else (text, "")
    sections = [head.rstrip()]
    for title, entries in (
        ("Parameters", _parameter_entries(cls)),
        ("Attributes", _attribute_entries(cls)),
    ):
        listed = list(entries)
        if listed:
            sections.append("\n".join([title, "-" * len(title), *listed]))
    return "\n\n".join([*sections, tail]).rstrip() + "\n"


def _parameter_entries(cls: Any) -> Iterator[str]:
    for field in _parameters(cls):
        rule = _inherited(cls, field.name, "rule")
        text = _type_text(field) if rule is None else rule.text
        if field.default is not dataclasses.MISSING:
            default = f'"{field.default}"' if isinstance(field.default, str) else field.default
            text = f"{text}, default={default}"
        yield _entry(field.name, text, _inherited(cls, field.name, "doc"))


def _attribute_entries(cls: Any) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        if not field.init:
            text = _inherited(cls, field.name, "text") or _type_text(field)
            yield _entry(field.name, text, _inherited(cls, field.name, "doc"))


def _type_text(field: dataclasses.Field[Any]) -> str:
    """A field's type as it was written, also without `from __future__ import annotations`."""
    return field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)


def _entry(name: str, text: str, doc: str | None) -> str:
    paragraphs = re.split(r"\n\n|\n(?=- )", doc or "")  # those that begin with "- " are a list
    filled = "\n\n".join(
        textwrap.fill(
            " ".join(paragraph.split()),
            _WIDTH - 4,
            subsequent_indent="  " if paragraph.startswith("- ") else "",
            break_long_words=False,
        )
        for paragraph in paragraphs
    )
    return f"{name} : {text}\n{textwrap.indent(filled, '    ')}"
