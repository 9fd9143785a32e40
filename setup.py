"""The description for package indexes, made of README.md; everything else is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).parent / "README.md"
_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]*)\)")
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#]*)[^)]*\)")
_NOTE = "(Paths in this text are files of the source distribution.)"


def long_description() -> str:
    """README.md with paths in the place of pictures and links, which lead nowhere on an index."""
    text = README.read_text(encoding="utf-8")
    text = _LINK.sub(r"\1 (`\2`)", _PICTURE.sub(r"Picture `\2`: \1.", text))
    title, rest = text.split("\n\n", 1)
    return f"{title}\n\n{_NOTE}\n\n{rest}"


if __name__ == "__main__":  # so it is when a build runs this file
    setup(
        long_description=long_description(),
        long_description_content_type="text/markdown",
    )
