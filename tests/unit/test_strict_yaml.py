# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import random
from types import ModuleType
from typing import Any

import pytest
from p2hooks.errors import ManifestError


@pytest.fixture
def strict_yaml(manifests: ModuleType) -> Any:
    return manifests.strict_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("22:22", "22:22"),
        ("2026-11-22", "2026-11-22"),
        ("2026-11-22 10:00:00", "2026-11-22 10:00:00"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("=", "="),
        ("010", 10),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.10", 1.1),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("# a comment", None),
        ("'010'", "010"),
        ('"null"', "null"),
        ('""', ""),
        ("|\n  true\n", "true\n"),
        (">-\n  a\n  b\n", "a b"),
        ("&anchor x", "x"),
        ("%YAML 1.2\n---\na", "a"),
        ("--- [1, {a: ~}]", [1, {"a": None}]),
        ("{'<<': 1}", {"<<": 1}),
        ("\ufeffa", "a"),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    ],
)
def test_value_of(strict_yaml: Any, text: str, value: Any) -> None:
    for content in (text, text.encode()):
        loaded = strict_yaml.load(content, "file")
        assert loaded == value
        assert type(loaded) is type(value)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + above] * 9)}]\n" for above, name in zip("abcdefghijklm", "bcdefghijklmn")
)

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "open flow": ("[a", "line"),
    "open quote": ("'a", "line 1"),
    "tab for indentation": ("a:\n\t- b", "line 2"),
    "value beside a mapping": ("a: b\nc", "line"),
    "not UTF-8": (b"a: \xe9", "byte 3 is not UTF-8"),
    "UTF-16": ("a: b".encode("utf-16"), "byte 0 is not UTF-8"),
    "half of a surrogate pair": ("a: \udc80", "character 3 is half of a surrogate pair"),
    "half of a surrogate pair, escaped": ('"\\ud800"', "line 1"),
    "NUL": ("a: b\0", "#x0000"),
    "escape character": ("a: \x1b[31m", "#x001b"),
    "too large": ("a: " + "x" * 65536, "larger than 64 KiB"),
    "too large in bytes": ("é" * 32769, "larger than 64 KiB"),
    "two documents": ("a\n---\nb", "line 2 has a second document"),
    "duplicate key": ("a: 1\nb: 2\na: 3", "line 3 has the key 'a' twice"),
    "duplicate key below": ("x:\n- {a: 1, 'a': 2}", "line 2 has the key 'a' twice"),
    "merge key": ("x: {<<: {a: 1}}", "line 1 has a merge key"),
    "alias": ("a: &x 1\nb: *x", "line 2 has an alias"),
    "alias to what it is in": ("&x [*x]", "line 1 has an alias"),
    "alias to nothing": ("*x", "alias"),
    "alias as a key": ("a: &x b\n*x : c", "line 2 has an alias"),
    "exponential aliases": (BOMB, "line 2 has an alias"),
    "python tag": ("!!python/object/apply:os.system [id]", "python/object/apply:os.system"),
    "own tag": ("a: !vault x", "line 1 has the tag '!vault'"),
    "binary": ("!!binary aGk=", "the tag"),
    "set": ("!!set {a}", "the tag"),
    "tag that makes false of anything": ("!!bool yes", "the tag"),
    "tag that makes nothing of anything": ("!!null x", "the tag"),
    "tag of a string": ("!!str 5", "the tag"),
    "tag without a name": ("! 5", "the tag '!'"),
    "number as a key": ("1: a", "the key '1', which is no string"),
    "nothing as a key": ("~: a", "the key 'None', which is no string"),
    "list as a key": ("? [a]\n: b", "which is no string"),
    "endless number": ("9" * 60000, "too large for int"),
    "infinite number": ("1e999", "too large for float"),
    "deep flow": ("[" * 40 + "]" * 40, "more than 32 levels"),
    "very deep flow": ("[" * 65000, "more than 32 levels"),
    "very deep flow of mappings": ("{a: " * 16000, "more than 32 levels"),
    "very deep block": ("- " * 32000 + "a", "more than 32 levels"),
    "very deep block of keys": ("? " * 32000 + "a", "more than 32 levels"),
    "deep mappings": (
        "".join(" " * depth + "a:\n" for depth in range(300)),
        "line 33 has nesting of more than 32 levels",
    ),
}


@pytest.mark.timeout(5)
@pytest.mark.parametrize(("content", "phrase"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(strict_yaml: Any, content: str | bytes, phrase: str) -> None:
    with pytest.raises(ManifestError) as caught:
        strict_yaml.load(content, "a file")
    message = str(caught.value)
    assert message.startswith("a file: ")
    assert phrase in message
    assert message.isprintable()
    assert len(message) < 300


def test_32_levels_are_not_too_deep(strict_yaml: Any) -> None:
    text = "[" * 32 + "a" + "]" * 32
    assert strict_yaml.load(text, "file") == strict_yaml.load(strict_yaml.dump(strict_yaml.load(text, "file")), "file")


#: Whatever a writer of YAML has to quote, fold or escape.
PIECES = [*"ab:#-?,[]{}&*!|>'\"%@` \t\n\r\\~=<0123.eE+_x", "\0", "\x1b", "\x7f", "\x85", "\xa0", "\u2028", "\ufeff"]
PIECES += [
    "\uffff",
    "é",
    "\U0001f600",
    "no",
    "null",
    "true",
    "<<",
    "---",
    "...",
    ": ",
    " #",
    "\n ",
    "1e3",
    "0x1F",
    "22:22",
]


def random_string(source: random.Random) -> str:
    return "".join(source.choices(PIECES, k=source.choice([0, 1, 2, 3, 8, 40, 200])))


def random_value(source: random.Random, depth: int = 0) -> Any:
    kind = source.randrange(10 if depth < 3 else 8)
    if kind == 9:
        return {random_string(source): random_value(source, depth + 1) for dummy in range(4)}
    if kind == 8:
        return [random_value(source, depth + 1) for dummy in range(4)]
    if kind == 7:
        return source.choice([True, False, None, 0, -0.0, 10**30])
    if kind == 6:
        return math.ldexp(source.uniform(-1, 1), source.randrange(-1000, 1000))
    if kind == 5:
        return source.randrange(-(10**20), 10**20)
    return random_string(source)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_dumped_is_loaded(strict_yaml: Any, seed: int) -> None:
    source = random.Random(seed)
    for dummy in range(20):
        value = random_value(source)
        # 1 == 1.0 == True, so only repr tells that the types are the same.
        assert repr(strict_yaml.load(strict_yaml.dump(value), "file")) == repr(value)
