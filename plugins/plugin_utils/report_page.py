# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that shows a report on a fleet, out of its numbers and a template.

Names and output come from hooks and hosts, and are hostile until shown otherwise. So an environment of our own renders
the page, in which everything that is printed is made visible and escaped, whatever the template says of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parents[2] / "playbooks" / "templates"

#: What terminals take for colours; it would only be noise.
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

#: Control characters have pictures. Those that turn the direction of a text around, or hide, are named.
_VISIBLE: dict[int, str] = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_VISIBLE[0x7F] = "\u2421"
_VISIBLE.update(
    (code, f"⟨U+{code:04X}⟩")
    for code in (
        *range(0x80, 0xA0), 0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070),
        0xFEFF, 0xFFFE, 0xFFFF,
    )
)  # fmt: skip
_VISIBLE.update(dict.fromkeys(range(0xD800, 0xE000), "\ufffd"))


def visible(text: str) -> str:
    """Return ``text`` without colours, and with signs in place of all that a browser would hide, obey or refuse."""
    if text.isprintable():
        return text
    return _COLOUR.sub("", text.replace("\r\n", "\n")).translate(_VISIBLE)


def render(numbers: Mapping[str, Any], *, title: str) -> str:
    """Return the page as HTML that needs nothing but itself.

    Args:
        numbers: what :func:`p2hooks.report.aggregate` returns.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_finalized,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(minute=_minute, moment=_moment, number=_number, percent=_percent, seconds=_seconds)
    return environment.get_template("report.html.j2").render(title=title, **numbers)


def _finalized(value: object) -> object:
    """Make what is printed visible; Markup is what macros have printed already."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _moment(when: datetime, form: str = "%Y-%m-%d %H:%M") -> str:
    return when.strftime(form)


def _minute(text: str) -> str:
    """Return the moment of a record without its seconds."""
    return text[: len("2026-01-31T12:00")].replace("T", " ")


def _number(value: int) -> str:
    return f"{value:,}"


def _percent(part: int, whole: int) -> str:
    """Return a share that is not rounded to all or nothing where it is neither."""
    if not whole:
        return "-"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1%"
    if 99.9 < share < 100:
        return ">99.9%"
    return f"{share:.1f}".removesuffix(".0") + "%"


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:,.0f} min"
