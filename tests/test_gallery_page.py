"""docs/gallery.md: its pictures are there and small, its commands are understood."""

import re
import shlex
from typing import get_args

from conftest import REPOSITORY
from fewlabels.options import FigureName

DOCS = REPOSITORY / "docs"


def test_every_picture_is_there_and_small():
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)

    assert 6 == len(pictures)
    for picture in pictures:
        assert 0 < (DOCS / picture).stat().st_size < 300_000, picture
    assert len(pictures) == len(list((DOCS / "pictures").iterdir()))


def test_its_commands_name_every_figure_and_no_other():
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    commands = re.findall(r"^`(fewlabels figures [^`]+)`$", text, re.MULTILINE)
    named = [word for command in commands for word in shlex.split(command)]
    named = [word for word in named if word in get_args(FigureName)]

    assert sorted(get_args(FigureName)) == sorted(named)
