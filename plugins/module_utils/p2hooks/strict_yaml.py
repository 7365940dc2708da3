# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as data that strangers wrote: small, a tree, and with no surprises in its types.

Refused are duplicate keys (PyYAML lets the last one win), aliases (a few hundred bytes can stand for gigabytes), tags,
merge keys, several documents, and keys that are no strings. Plain scalars follow the core schema of YAML 1.2, so
``no`` is a string, ``010`` is ten, and ``22:22`` and ``2026-11-22`` are strings, which is what people meant.

PyYAML is imported when it is first needed: hooks run without it, and a host that lacks it gets a message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from . import site_packages
from .errors import HookError, ManifestError, shown

#: Manifests larger than this are refused before they are parsed, in bytes.
MAX_BYTES = 64 * 1024
#: How deep mappings and lists may be nested.
MAX_DEPTH = 32

#: The plain scalars that are no strings: their type, what they look like, how they begin, and their value.
_CORE_SCHEMA: tuple[tuple[str, re.Pattern[str], list[str], Callable[[str], Any]], ...] = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""], lambda text: None),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"), lambda text: text[0] in "tT"),
    ("int", re.compile(r"[-+]?[0-9]+\Z"), list("-+0123456789"), int),
    (
        "float",
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
        list("-+.0123456789"),
        float,
    ),
)


class _Library(NamedTuple):
    """PyYAML, and our own way of using it."""

    yaml: Any
    parser: Any
    dumper: Any


@cache
def _library() -> _Library:
    site_packages.add()
    try:
        import yaml
    except ImportError:
        raise HookError("the Python library PyYAML is missing on this host; install the package python3-yaml") from None
    return _Library(yaml, _parser_of(yaml), _dumper_of(yaml))


def _parser_of(yaml: Any) -> Any:
    try:
        from yaml._yaml import CParser
    except ImportError:  # PyYAML was built without libyaml

        class Parser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):  # type: ignore[misc]
            def __init__(self, stream: str) -> None:
                yaml.reader.Reader.__init__(self, stream)
                yaml.scanner.Scanner.__init__(self)
                yaml.parser.Parser.__init__(self)

        return Parser
    return CParser


def _dumper_of(yaml: Any) -> Any:
    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Quotes every string that the core schema, or YAML 1.1, would read as something else."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_str(self, data: str) -> Any:
            # PyYAML without libyaml writes NEL, a line break to YAML 1.1, so that it reads it back as a blank.
            return self.represent_scalar("tag:yaml.org,2002:str", data, '"' if "\x85" in data else None)

    Dumper.add_representer(str, Dumper.represent_str)
    for kind, pattern, first, dummy in _CORE_SCHEMA:
        Dumper.add_implicit_resolver("tag:yaml.org,2002:" + kind, pattern, first)
    return Dumper


def load(content: bytes | str, source: str) -> Any:
    """Return the one document in ``content`` as dicts with string keys, lists, strings, numbers, booleans and None.

    Args:
        source: names the content in messages: a file, or a key of the store.

    Raises:
        ManifestError: it is no YAML, or holds something refused (see above).
        HookError: PyYAML is missing.
    """
    yaml, parser_class, dummy = _library()
    try:
        data = content if isinstance(content, bytes) else content.encode()
        if len(data) > MAX_BYTES:
            raise ManifestError(f"{source}: is larger than {MAX_BYTES // 1024} KiB; a manifest may not be")
        parser = parser_class(data.decode())
        try:
            return _Builder(source, yaml, parser).document()
        finally:
            dispose = getattr(parser, "dispose", None)
            if dispose:
                dispose()
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source}: is no YAML: byte {error.start} is not UTF-8") from None
    except UnicodeEncodeError as error:
        raise ManifestError(f"{source}: is no YAML: character {error.start} is half of a surrogate pair") from None
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = error.problem or error.context or "unreadable"
        raise ManifestError(f"{source}: is no YAML{line}: {' '.join(problem.split())[:200]}") from None
    except yaml.YAMLError as error:
        raise ManifestError(f"{source}: is no YAML: {' '.join(str(error).split())[:200]}") from None


def dump(data: Any) -> str:
    """Return ``data`` as YAML that :func:`load` reads back unchanged, with the keys in their given order.

    Raises:
        HookError: PyYAML is missing.
    """
    yaml, dummy, dumper = _library()
    text: str = yaml.dump(data, Dumper=dumper, sort_keys=False, width=120, allow_unicode=True)
    return text


class _Builder:
    """Turns a parser's events into values, and refuses what has no place in a manifest.

    PyYAML's own composer recurses as deep as the document does, and in its C version dies of that.
    """

    def __init__(self, source: str, yaml: Any, parser: Any) -> None:
        self._source = source
        self._yaml = yaml
        self._next: Callable[[], Any] = parser.get_event

    def document(self) -> Any:
        self._next()  # the stream begins
        if isinstance(self._next(), self._yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()  # the document ends
        event = self._next()
        if not isinstance(event, self._yaml.StreamEndEvent):
            raise self._refusal(event, "a second document; give one")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, self._yaml.AliasEvent):
            raise self._refusal(event, "an alias (*name); write the value out instead")
        if depth > MAX_DEPTH:
            raise self._refusal(event, f"nesting of more than {MAX_DEPTH} levels")
        if event.tag is not None:
            raise self._refusal(event, f"the tag {shown(event.tag)}; use plain values only")
        if isinstance(event, self._yaml.MappingStartEvent):
            return self._mapping(depth)
        if isinstance(event, self._yaml.SequenceStartEvent):
            return self._sequence(depth)
        return self._scalar(event)

    def _mapping(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := self._next(), self._yaml.MappingEndEvent):
            key = self._value(event, depth + 1)
            if not isinstance(key, str):
                raise self._refusal(event, f"the key {shown(key)}, which is no string; quote it")
            if key == "<<" and event.implicit[0]:
                raise self._refusal(event, "a merge key (<<); write the values out instead")
            if key in result:
                raise self._refusal(event, f"the key {shown(key)} twice; remove one")
            result[key] = self._value(self._next(), depth + 1)
        return result

    def _sequence(self, depth: int) -> list[Any]:
        result = []
        while not isinstance(event := self._next(), self._yaml.SequenceEndEvent):
            result.append(self._value(event, depth + 1))
        return result

    def _scalar(self, event: Any) -> str | int | float | bool | None:
        text: str = event.value
        is_plain = event.implicit[0]
        for kind, pattern, dummy, value_of in _CORE_SCHEMA if is_plain else ():
            if pattern.match(text):
                try:
                    value: int | float | bool | None = value_of(text)
                except ValueError:  # thousands of digits
                    value = math.inf
                if isinstance(value, float) and not math.isfinite(value):
                    raise self._refusal(event, f"{shown(text)}, which is too large for {kind}; quote it")
                return value
        try:
            text.encode()
        except UnicodeEncodeError:  # only PyYAML without libyaml lets it pass
            raise self._refusal(event, "half of a surrogate pair; write the character itself") from None
        return text

    def _refusal(self, event: Any, what: str) -> ManifestError:
        return ManifestError(f"{self._source}: line {event.start_mark.line + 1} has {what}")
