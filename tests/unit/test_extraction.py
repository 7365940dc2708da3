# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking: what real tools pack comes out exactly; what is hostile or damaged is refused, without harm."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import os
import random
import resource
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import p2hooks
import pytest
from p2hooks.errors import ArtifactError, LayoutError
from p2hooks.extraction import extract_archive

MAX_BYTES = 1024 * 1024
END = bytes(1024)
LAUNCH = b"#!/bin/sh\nexit 0\n"
GNU_MAGIC = b"ustar  \0"

Snapshot = dict[str, tuple[str, int, bytes]]


# Building archives, byte by byte.


def member(
    name: bytes | str,
    content: bytes = b"",
    *,
    kind: bytes = b"0",
    mode: bytes = b"0000644\0",
    size: bytes | None = None,
    link: bytes | str = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    owner: bytes = b"0000000\0",
    checksum: int | None = None,
) -> bytes:
    """Return one header and its padded content; without further arguments, a sound ustar file."""
    name, link = (text.encode() if isinstance(text, str) else text for text in (name, link))
    size = b"%011o\0" % len(content) if size is None else size
    before = name.ljust(100, b"\0") + mode + owner + owner + size + b"00000000000\0"
    after = kind + link.ljust(100, b"\0") + magic + bytes(32 + 32 + 8 + 8) + prefix.ljust(155, b"\0") + bytes(12)
    if checksum is None:
        checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def packed(*members: bytes, end: bytes = END) -> bytes:
    return gzip.compress(b"".join(members) + end, compresslevel=1, mtime=0)


def launch(name: bytes | str = "bin/launch", mode: bytes = b"0000755\0") -> bytes:
    return member(name, LAUNCH, mode=mode)


def directory(name: bytes | str, mode: bytes = b"0000755\0") -> bytes:
    return member(name, kind=b"5", mode=mode)


def symlink(name: str, target: bytes | str) -> bytes:
    return member(name, kind=b"2", link=target)


def hard_link(name: str, target: bytes | str) -> bytes:
    return member(name, kind=b"1", link=target)


def record(keyword: str, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    body = b" " + keyword.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while length != len(str(length)) + len(body):
        length += 1
    return str(length).encode() + body


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    return member("PaxHeaders/launch", b"".join(records), kind=kind)


def pax_member(kind: bytes, path: str, target: str = "", content: bytes = b"") -> bytes:
    records = [record("path", path)] + ([record("linkpath", target)] if target else [])
    return pax(*records) + member("short", content, kind=kind)


def gnu_long(kind: bytes, name: bytes) -> bytes:
    return member("././@LongLink", name + b"\0", kind=kind, magic=GNU_MAGIC)


# The hostile and damaged archives: what each is, how to build it, and a phrase of the reason it is refused for.


def chain_of_links_longer_than_path_max() -> bytes:
    """CVE-2025-4517: resolving the links gives up at PATH_MAX, so that the last one seems to stay inside."""
    component, path, members = "d" * 247, "", [launch()]
    for step in "abcdefghijklmnop":
        members += [pax_member(b"5", path + component), pax_member(b"2", path + step, component)]
        path += component + "/"
    last = "/".join("abcdefghijklmnop") + "/" + "l" * 254
    members += [pax_member(b"2", last, "../" * 16), pax_member(b"2", "escape", last + "/../../canary")]
    members += [hard_link("flag", "escape/secret"), member("flag", b"overwritten")]
    return packed(*members)


def first_link_longer_than_path_max() -> bytes:
    return packed(launch(), pax_member(b"2", "escape", "d/" * 2100 + "../" * 2101 + "canary"))


def with_flipped_byte(data: bytes, position: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 0xFF
    return bytes(changed)


def with_name_in_gzip_header(data: bytes, length: int) -> bytes:
    """Return ``data`` brought to ``length`` bytes by the file name that a gzip header may hold."""
    return data[:3] + b"\x08" + data[4:10] + b"n" * (length - len(data) - 1) + b"\0" + data[10:]


def with_invalid_block(data: bytes) -> bytes:
    return data[:10] + bytes([data[10] | 0b110]) + data[11:]


def with_wrong_length(data: bytes) -> bytes:
    return data[:-4] + (int.from_bytes(data[-4:], "little") + 1).to_bytes(4, "little")


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # names
    "parent directory": (lambda: packed(launch("../canary/new")), "'..'"),
    "parent directory inside": (lambda: packed(launch("bin/../../canary/secret")), "'..'"),
    "parent directory that stays inside": (lambda: packed(launch("bin/../bin/launch")), "'..'"),
    "parent directory after the dot": (lambda: packed(launch("./../canary/new")), "'..'"),
    "parent directory as a directory": (lambda: packed(launch(), directory("..")), "'..'"),
    "parent directory in the prefix": (lambda: packed(member("canary/new", prefix=b"..")), "'..'"),
    "absolute": (lambda: packed(launch("/tmp/p2hooks-absolute")), "absolute"),
    "two leading slashes": (lambda: packed(launch("//tmp/p2hooks-absolute")), "absolute"),
    "two slashes inside": (lambda: packed(launch("bin//launch")), "empty component"),
    "dot inside": (lambda: packed(launch("bin/./launch")), "empty component or '.'"),
    "no name": (lambda: packed(launch("")), "its name is empty"),
    "newline": (lambda: packed(launch("bin/la\nunch")), "control characters"),
    "escape sequence": (lambda: packed(launch("bin/\x1b[2Jlaunch")), "control characters"),
    "delete character": (lambda: packed(launch("bin/\x7f")), "control characters"),
    "C1 control character": (lambda: packed(launch("bin/\x9b2J")), "control characters"),
    "right-to-left override": (lambda: packed(launch("bin/\u202ehs.hcnual")), "control characters"),
    "line separator": (lambda: packed(launch("bin/\u2028launch")), "control characters"),
    "NUL in a ustar name": (lambda: packed(launch(b"bin/launch\0/../../x")), "NUL"),
    "NUL in a pax name": (lambda: packed(pax(record("path", b"bin/la\0unch")), launch()), "control characters"),
    "NUL in a GNU name": (lambda: packed(gnu_long(b"L", b"bin/la\0unch"), launch()), "control characters"),
    "not UTF-8": (lambda: packed(launch(b"bin/\xff\xfe")), "not UTF-8"),
    "surrogate in UTF-8": (lambda: packed(launch(b"bin/\xed\xa0\x80")), "not UTF-8"),
    "pax name that is not UTF-8": (lambda: packed(pax(record("path", b"bin/\xff")), launch()), "not UTF-8"),
    "leading dash": (lambda: packed(launch("-rf")), "begins with '-'"),
    "leading dash of a script": (lambda: packed(launch("bin/launch/--help")), "begins with '-'"),
    "long component": (lambda: packed(pax(record("path", "bin/" + "n" * 256)), launch()), "over 255 bytes"),
    "long component in UTF-8": (lambda: packed(pax(record("path", "ü" * 128)), launch()), "over 255 bytes"),
    "long path": (
        lambda: packed(pax(record("path", ("n" * 200 + "/") * 20 + "n" * 100)), launch()),
        "longer than 4095",
    ),
    "long GNU path": (lambda: packed(gnu_long(b"L", b"n/" * 2100 + b"n"), launch()), "longer than 4095"),
    "depth": (lambda: packed(launch("d/" * 32 + "launch")), "32 directories deep"),
    "file named as a directory": (lambda: packed(launch("bin/launch/")), "name of a directory"),
    "pax path that leads out": (lambda: packed(pax(record("path", "../canary/new")), launch()), "'..'"),
    "GNU long name that leads out": (lambda: packed(gnu_long(b"L", b"../canary/new"), launch()), "'..'"),
    "empty pax path": (lambda: packed(pax(record("path", "")), launch()), "its name is empty"),
    # names beside other names
    "twice the same file": (lambda: packed(launch(), launch()), "there twice"),
    "twice the same file, once with a dot": (lambda: packed(launch(), launch("./bin/launch")), "there twice"),
    "twice the same directory": (lambda: packed(directory("bin"), directory("bin/"), launch()), "there twice"),
    "file, then directory": (lambda: packed(launch("bin"), directory("bin")), "and also a file"),
    "directory, then file": (lambda: packed(directory("bin"), launch("bin")), "and also a directory"),
    "directory of a file, then file": (lambda: packed(launch(), launch("bin")), "and also a directory"),
    "below a file": (lambda: packed(launch(), launch("bin/launch/script")), "lies below 'bin/launch'"),
    "the top as a file": (lambda: packed(launch(".")), "and also a directory"),
    "names that differ by case": (lambda: packed(launch(), launch("bin/LAUNCH")), "only by case"),
    "directories that differ by case": (lambda: packed(launch(), launch("Bin/other")), "only by case"),
    "names that differ by folding": (lambda: packed(launch("straße"), launch("STRASSE")), "only by case"),
    "names that differ by normal form": (lambda: packed(launch("caf\u00e9"), launch("cafe\u0301")), "Unicode form"),
    # symbolic links
    "absolute link": (lambda: packed(launch(), symlink("link", "/etc/passwd")), "leads out"),
    "link out": (lambda: packed(launch(), symlink("bin/link", "../../canary/secret")), "leads out"),
    "link out by a detour": (lambda: packed(launch(), symlink("link", "bin/../../canary")), "'..' after a name"),
    "link to the directory above": (lambda: packed(launch(), symlink("link", "..")), "leads out"),
    "pax link target that leads out": (lambda: packed(launch(), pax_member(b"2", "link", "../canary")), "leads out"),
    "GNU link target that leads out": (
        lambda: packed(launch(), gnu_long(b"K", b"../canary"), symlink("link", "bin")),
        "leads out",
    ),
    "dangling link": (lambda: packed(launch(), symlink("link", "bin/missing")), "not in the archive"),
    "link to the wrong case": (lambda: packed(launch(), symlink("link", "bin/Launch")), "not in the archive"),
    "link to itself": (lambda: packed(launch(), symlink("link", "link")), "itself a link"),
    "links to each other": (lambda: packed(launch(), symlink("a", "b"), symlink("b", "a")), "itself a link"),
    "link to a link": (lambda: packed(launch(), symlink("a", "bin"), symlink("b", "a")), "itself a link"),
    "link through a link": (lambda: packed(launch(), symlink("a", "bin"), symlink("b", "a/launch")), "not in the"),
    "empty link": (lambda: packed(launch(), symlink("link", "")), "its link target is empty"),
    "link with a newline": (lambda: packed(launch(), symlink("link", "bin/\nlaunch")), "control characters"),
    "link with a NUL": (lambda: packed(launch(), symlink("link", b"bin\0/etc")), "NUL"),
    "link that is not UTF-8": (lambda: packed(launch(), symlink("link", b"bin/\xff")), "not UTF-8"),
    "write through a link": (
        lambda: packed(symlink("out", "../canary"), member("out/secret", b"overwritten")),
        "lies below 'out', which is a symbolic link",
    ),
    "write through an inner link": (
        lambda: packed(launch(), symlink("lib", "bin"), member("lib/launch", b"overwritten")),
        "lies below 'lib', which is a symbolic link",
    ),
    "directory in place of a link": (lambda: packed(symlink("a", "bin"), directory("a"), launch()), "and also a symb"),
    "file in place of a link": (lambda: packed(launch(), symlink("a", "bin"), member("a", b"x")), "and also a symb"),
    "bin as a link": (lambda: packed(launch("real/launch"), symlink("bin", "real")), "'bin': is a symbolic link"),
    "bin/launch as a link": (lambda: packed(launch("bin/real"), symlink("bin/launch", "real")), "is a symbolic link"),
    "long chain of links": (chain_of_links_longer_than_path_max, "which is a symbolic link"),
    "link target longer than PATH_MAX": (first_link_longer_than_path_max, "longer than 4095"),
    # hard links
    "hard link out": (lambda: packed(launch(), hard_link("link", "../canary/secret")), "'..'"),
    "absolute hard link": (lambda: packed(launch(), hard_link("link", "/etc/passwd")), "absolute"),
    "hard link to nothing": (lambda: packed(launch(), hard_link("link", "bin/missing")), "not in the archive"),
    "hard link to a link": (
        lambda: packed(launch(), symlink("a", "bin/launch"), hard_link("b", "a")),
        "which is no file but a symbolic link",
    ),
    "hard link to a link out, then written": (
        lambda: packed(launch(), symlink("a", "../canary/secret"), hard_link("b", "a"), member("b", b"overwritten")),
        "and also a hard link",
    ),
    "hard link to a directory": (lambda: packed(launch(), hard_link("a", "bin")), "no file but a directory"),
    "hard link to itself": (lambda: packed(launch(), hard_link("a", "a")), "no file but a hard link"),
    "hard link with content": (lambda: packed(launch(), member("a", b"x", kind=b"1", link="bin/launch")), "with cont"),
    # kinds and modes
    "character device": (lambda: packed(launch(), member("null", kind=b"3")), "a character device"),
    "block device": (lambda: packed(launch(), member("disk", kind=b"4")), "a block device"),
    "FIFO": (lambda: packed(launch(), member("bin/fifo", kind=b"6")), "a FIFO"),
    "contiguous file": (lambda: packed(member("bin/launch", LAUNCH, kind=b"7")), "a contiguous file"),
    "GNU sparse file": (lambda: packed(member("bin/launch", kind=b"S", magic=GNU_MAGIC)), "a sparse file"),
    "GNU directory dump": (lambda: packed(launch(), member("bin", kind=b"D")), "unknown type"),
    "GNU volume label": (lambda: packed(member("label", kind=b"V"), launch()), "unknown type"),
    "Solaris extended header": (lambda: packed(member("x", record("path", "../x"), kind=b"X"), launch()), "unknown ty"),
    "pax sparse file": (lambda: packed(pax(record("GNU.sparse.major", "1")), launch()), "sparse"),
    "set-uid": (lambda: packed(launch(mode=b"0004755\0")), "set-uid"),
    "set-gid": (lambda: packed(launch(mode=b"0002755\0")), "set-gid"),
    "sticky": (lambda: packed(launch(mode=b"0001755\0")), "sticky"),
    "set-uid with the bits of a file": (lambda: packed(launch(mode=b"0104755\0")), "set-uid"),
    "set-uid hard link": (
        lambda: packed(launch(), member("link", kind=b"1", link="bin/launch", mode=b"0004755\0")),
        "set-uid",
    ),
    "directory with content": (lambda: packed(member("bin", b"x", kind=b"5")), "is a directory with content"),
    # numbers
    "base-256 size": (lambda: packed(member("bin/launch", size=b"\x80" + bytes(10) + b"\x01")), "no octal number"),
    "negative base-256 size": (lambda: packed(member("bin/launch", size=b"\xff" * 12)), "no octal number"),
    "negative size": (lambda: packed(member("bin/launch", size=b"-0000000777\0")), "no octal number"),
    "negative size of a pax header": (
        lambda: packed(member("x", kind=b"x", size=b"\xff" * 11 + b"\0"), launch()),  # CVE-2025-8194
        "no octal number",
    ),
    "decimal size": (lambda: packed(member("bin/launch", size=b"00000000099\0")), "no octal number"),
    "no size": (lambda: packed(member("bin/launch", size=bytes(12))), "no octal number"),
    "no octal mode": (lambda: packed(launch(mode=b"rwxr-xr-")), "mode that is no octal number"),
    "negative pax size": (lambda: packed(pax(record("size", "-1")), launch()), "has the size '-1'"),
    "pax size with 5,000 digits": (lambda: packed(pax(record("size", "9" * 5000)), launch()), "has the size"),
    "pax size in other digits": (lambda: packed(pax(record("size", "\u0661")), launch()), "has the size"),
    "pax size beyond the end": (lambda: packed(pax(record("size", "9000")), launch()), "cut off"),
    "huge pax size": (lambda: packed(pax(record("size", "9" * 19)), launch()), "more than the 1048576 bytes"),
    # extended headers
    "pax record of length 0": (lambda: packed(pax(b"0 path=x\n"), launch()), "damaged pax"),  # CVE-2019-20907
    "pax record that is too short": (lambda: packed(pax(b"3 path=x\n"), launch()), "damaged pax"),
    "pax record that is too long": (lambda: packed(pax(b"99 path=x\n"), launch()), "damaged pax"),
    "pax record with a huge length": (lambda: packed(pax(b"9" * 5000 + b" path=x\n"), launch()), "damaged pax"),
    "pax record without a keyword": (lambda: packed(pax(b"5 =x\n"), launch()), "damaged pax"),
    "pax record without a value": (lambda: packed(pax(b"8 path\n\n"), launch()), "damaged pax"),
    "pax header of garbage": (lambda: packed(pax(bytes(range(256))), launch()), "damaged pax"),
    "two pax names": (lambda: packed(pax(record("path", "a"), record("path", "b")), launch()), "two names"),
    "two pax headers": (lambda: packed(pax(record("path", "a")), pax(record("path", "b")), launch()), "two names"),
    "pax and GNU name": (lambda: packed(pax(record("path", "a")), gnu_long(b"L", b"b"), launch()), "two names"),
    "name for all members": (lambda: packed(pax(record("path", "a"), kind=b"g"), launch()), "the same path"),
    "size for all members": (lambda: packed(pax(record("size", "0"), kind=b"g"), launch()), "the same size"),
    "extended header without a member": (lambda: packed(launch(), pax(record("path", "a"))), "is missing"),
    "huge pax header": (lambda: packed(pax(record("comment", "c" * 70000)), launch()), "too large an extended"),
    "pax header of 1 GiB": (lambda: packed(member("x", kind=b"x", size=b"10000000000\0")), "too large an extended"),
    "huge GNU name": (lambda: packed(gnu_long(b"L", b"n" * 70000), launch()), "too large an extended"),
    "many large pax headers": (
        lambda: packed(pax(record("comment", "c" * 65000)) * 130, launch()),
        "too large an extended",
    ),
    # sizes and counts
    "zeros that fill the disk": (lambda: packed(member("zeros", bytes(MAX_BYTES + 1))), "more than the 1048576 bytes"),
    "many files that fill the disk": (
        lambda: packed(*(member(f"zeros-{number}", bytes(100_000)) for number in range(11))),
        "more than the 1048576 bytes",
    ),
    "2 GiB by its header": (lambda: packed(member("zeros", size=b"20000000000\0")), "more than the 1048576 bytes"),
    "zeros after the end": (lambda: packed(launch(), end=bytes(65 * 1024 * 1024)), "of headers and padding"),
    "20,001 members": (
        lambda: packed(launch("a"), *(symlink(f"link-{number}", "a") for number in range(20_000))),
        "more than 20000 files",
    ),
    # the frame
    "empty": (packed, "is empty"),
    "nothing but the top": (lambda: packed(directory("./")), "is empty"),
    "zero bytes": (lambda: b"", "cut off"),
    "web page": (lambda: b"<!DOCTYPE html><html><body>Not found</body></html>", "not a .tar.gz"),
    "plain tar": (lambda: launch() + END, "not a .tar.gz"),
    "xz": (lambda: lzma.compress(launch() + END), "not a .tar.gz"),
    "gzip of something else": (lambda: gzip.compress(b"#!/bin/sh\n" * 100), "no tar archive"),
    "gzip of gzip": (lambda: gzip.compress(packed(launch()) + bytes(512)), "no tar archive"),
    "wrong header checksum": (lambda: packed(member("bin/launch", LAUNCH, checksum=1)), "checksum is wrong"),
    "tar of the seventies": (lambda: packed(member("bin/launch", LAUNCH, magic=bytes(8))), "old or unknown"),
    "incremental GNU tar": (lambda: packed(member("bin", magic=GNU_MAGIC, prefix=b"14000000000")), "incremental"),
    "cut off gzip": (lambda: packed(launch())[:-20], "cut off"),
    "cut off gzip header": (lambda: packed(launch())[:5], "cut off"),
    "cut off gzip trailer": (lambda: packed(launch())[:-1], "cut off"),
    "cut off in a header": (lambda: packed(launch(), launch("b")[:300], end=b""), "cut off"),
    "cut off in a file": (lambda: packed(member("zeros", bytes(9000))[:5000], end=b""), "cut off"),
    "no end-of-archive marker": (lambda: packed(launch(), end=b""), "cut off"),
    "half an end-of-archive marker": (lambda: packed(launch(), end=bytes(256)), "cut off"),
    "wrong gzip checksum": (lambda: with_flipped_byte(packed(launch()), -6), "incorrect data check"),
    "wrong gzip length": (lambda: with_wrong_length(packed(launch())), "incorrect length check"),
    "damaged deflate data": (lambda: with_invalid_block(packed(launch())), "invalid block type"),
    "garbage after gzip": (lambda: packed(launch()) + b"garbage", "more data after its gzip"),
    "garbage after gzip that ends with a read": (
        lambda: with_name_in_gzip_header(packed(launch()), 64 * 1024) + b"garbage",
        "more data after its gzip",
    ),
    "zeros after gzip": (lambda: packed(launch()) + bytes(100_000), "more data after its gzip"),
    "second gzip member": (lambda: packed(launch()) + packed(launch("../canary/new")), "more data after its gzip"),
    "member after the end": (lambda: packed(launch(), END, launch("hidden")), "after its end-of-archive"),
    "garbage after the end": (lambda: packed(launch(), END, b"garbage"), "after its end-of-archive"),
}


class Place:
    """A directory for one extraction, with something beside it that must not change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.archive = root / "hook_1.tar.gz"
        self.destination = root / "installs" / "new"
        self.destination.mkdir(parents=True)
        canary = root / "installs" / "canary"
        canary.mkdir()
        (canary / "secret").write_text("untouched")
        self._outside = self._snapshot_outside()

    def extract(self, data: bytes, max_bytes: int = MAX_BYTES) -> Snapshot:
        self.archive.write_bytes(data)
        extract_archive(self.archive, self.destination, max_bytes=max_bytes)
        return snapshot(self.destination)

    def assert_no_harm(self, max_bytes: int = MAX_BYTES) -> None:
        assert self._snapshot_outside() == self._outside
        inside = snapshot(self.destination)
        assert sum(len(content) for kind, mode, content in inside.values() if kind == "file") <= max_bytes
        assert {entry[0] for entry in inside.values()} <= {"file", "directory", "link"}
        assert not any(mode & 0o7022 for kind, mode, content in inside.values() if kind != "link")
        for path, entry in inside.items():
            if entry[0] == "link":
                assert (self.destination / path).resolve(strict=True).is_relative_to(self.destination)

    def _snapshot_outside(self) -> Snapshot:
        found = snapshot(self.root)
        return {path: entry for path, entry in found.items() if not path.startswith(("installs/new/", "hook_1."))}


def snapshot(root: Path) -> Snapshot:
    found: Snapshot = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            kind, content = "link", os.fsencode(os.readlink(path))
        elif path.is_dir():
            kind, content = "directory", b""
        else:
            kind, content = ("file", path.read_bytes()) if path.is_file() else ("special", b"")
        found[str(path.relative_to(root))] = (kind, status.st_mode & 0o7777, content)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


BIN = ("directory", 0o755, b"")
SCRIPT = ("file", 0o755, LAUNCH)


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_is_refused_in_one_line_and_does_no_harm(place: Place, case: str) -> None:
    build, phrase = HOSTILE[case]

    with pytest.raises(ArtifactError) as refusal:
        place.extract(build())

    message = str(refusal.value)
    assert phrase in message
    assert message.startswith("hook_1.tar.gz: ")
    assert "; " in message
    assert message.isprintable()
    assert len(message) < 400
    place.assert_no_harm()


def test_refusal_names_archive_member_reason_and_remedy(place: Place) -> None:
    with pytest.raises(ArtifactError) as refusal:
        place.extract(packed(launch(), symlink("bin/link", "/etc/passwd")))

    assert str(refusal.value) == (
        "hook_1.tar.gz: member 'bin/link': links to '/etc/passwd', which leads out of the archive; "
        "build the artifact without it"
    )


# What is accepted.


def made_by_tarfile(tar_format: int, name: str, pax_headers: dict[str, str] | None = None) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz", format=tar_format, pax_headers=pax_headers) as archive:
        top = tarfile.TarInfo("bin")
        top.type, top.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(top)
        script = tarfile.TarInfo(name)
        script.size, script.mode, script.mtime = len(LAUNCH), 0o700, 1_700_000_000
        script.uid, script.gid, script.uname, script.gname = 1000, 1000, "builder", "builders"
        archive.addfile(script, io.BytesIO(LAUNCH))
    return output.getvalue()


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["bin/launch", "bin/" + "n" * 90, "bin/" + "d" * 90 + "/" + "n" * 90])
def test_accepts_what_tarfile_writes(place: Place, tar_format: int, name: str) -> None:
    found = place.extract(made_by_tarfile(tar_format, name))

    assert found["bin"] == BIN
    assert found[name] == SCRIPT


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["bin/" + "n" * 255, "bin/größe-" + "ü" * 120, "d/" * 31 + "launch"])
def test_accepts_long_and_foreign_names_in_extended_headers(place: Place, tar_format: int, name: str) -> None:
    assert place.extract(made_by_tarfile(tar_format, name))[name] == SCRIPT


def test_accepts_the_global_header_of_git_archive(place: Place) -> None:
    data = made_by_tarfile(tarfile.PAX_FORMAT, "bin/launch", {"comment": "0123456789abcdef0123456789abcdef01234567"})

    assert place.extract(data) == {"bin": BIN, "bin/launch": SCRIPT}


@pytest.mark.parametrize("tar_format", ["ustar", "gnu", "pax"])
def test_accepts_what_gnu_tar_packs_from_a_directory(place: Place, tmp_path: Path, tar_format: str) -> None:
    source = tmp_path / "source"
    (source / "bin" / "launch").mkdir(parents=True)
    (source / "bin" / "launch" / "10-first").write_bytes(LAUNCH)
    (source / "bin" / "launch" / "10-first").chmod(0o755)
    (source / "share").mkdir()
    (source / "share" / "data").write_bytes(bytes(range(256)) * 300)
    os.link(source / "share" / "data", source / "share" / "same")
    os.symlink("../share/data", source / "bin" / "data")
    archive = tmp_path / "made.tar.gz"
    subprocess.run(["tar", f"--format={tar_format}", "-czf", archive, "-C", source, "."], check=True)
    place = Place(tmp_path / "place")

    found = place.extract(archive.read_bytes())

    data = ("file", 0o644, bytes(range(256)) * 300)
    assert found == {
        "bin": BIN,
        "bin/launch": BIN,
        "bin/launch/10-first": SCRIPT,
        "bin/data": ("link", 0o777, b"../share/data"),
        "share": BIN,
        "share/data": data,
        "share/same": data,
    }


@pytest.mark.parametrize("target", ["launch", "./launch", "../bin/launch", "../bin//launch"])
def test_accepts_a_link_to_a_file_inside(place: Place, target: str) -> None:
    found = place.extract(packed(symlink("bin/link", target), launch()))

    assert found["bin/link"] == ("link", 0o777, target.encode())
    assert (place.destination / "bin" / "link").read_bytes() == LAUNCH


@pytest.mark.parametrize("target", ["bin", "bin/", "./bin"])
def test_accepts_a_link_to_a_directory_inside(place: Place, target: str) -> None:
    place.extract(packed(launch(), symlink("link", target)))

    assert (place.destination / "link" / "launch").read_bytes() == LAUNCH


@pytest.mark.parametrize("target", ["bin/launch", "./bin/launch"])
def test_accepts_a_hard_link_to_a_file_inside(place: Place, target: str) -> None:
    found = place.extract(packed(launch(), hard_link("lib/link", target)))

    assert found == {"bin": BIN, "bin/launch": SCRIPT, "lib": BIN, "lib/link": SCRIPT}


@pytest.mark.parametrize("end", [bytes(512), bytes(1024), bytes(10240), bytes(1_000_000)])
def test_accepts_any_number_of_zero_blocks_at_the_end(place: Place, end: bytes) -> None:
    assert place.extract(packed(launch(), end=end)) == {"bin": BIN, "bin/launch": SCRIPT}


def test_accepts_a_gzip_header_with_a_file_name(place: Place) -> None:
    assert place.extract(with_name_in_gzip_header(packed(launch()), 64 * 1024)) == {"bin": BIN, "bin/launch": SCRIPT}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(b"0000777\0", 0o755), (b"0000700\0", 0o755), (b"0000666\0", 0o644), (b"0000055\0", 0o644), (b"0000000\0", 0o644)],
)
def test_mode_of_a_file_is_0755_or_0644_by_its_owners_execute_bit(place: Place, mode: bytes, expected: int) -> None:
    assert place.extract(packed(launch(mode=mode)))["bin/launch"] == ("file", expected, LAUNCH)


@pytest.mark.parametrize("mode", [b"0000000\0", b"0000777\0", b"0002755\0", b"0007777\0"])
def test_mode_of_a_directory_is_0755(place: Place, mode: bytes) -> None:
    assert place.extract(packed(directory("bin", mode), launch())) == {"bin": BIN, "bin/launch": SCRIPT}


def test_modes_do_not_depend_on_the_umask(place: Place) -> None:
    before = os.umask(0o077)
    try:
        found = place.extract(packed(launch()))
    finally:
        os.umask(before)

    assert found == {"bin": BIN, "bin/launch": SCRIPT}


def test_directory_may_follow_what_lies_in_it(place: Place) -> None:
    assert place.extract(packed(launch(), directory("bin/"))) == {"bin": BIN, "bin/launch": SCRIPT}


def test_owner_and_times_of_the_archive_are_ignored(place: Place) -> None:
    odd = pax(record("mtime", "nan"), record("atime", "1e300"), record("uid", "-1"), record("uname", "nobody"))
    foreign = member("bin/launch", LAUNCH, mode=b"0000755\0", owner=b"\x80" + b"\x11" * 7)

    place.extract(packed(odd, foreign))

    status = (place.destination / "bin" / "launch").stat()
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())


def test_names_do_not_depend_on_the_locale(place: Place, tmp_path: Path) -> None:
    place.archive.write_bytes(packed(launch("bin/größe")))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from p2hooks.extraction import extract_archive;"
        "extract_archive(sys.argv[2], sys.argv[3], max_bytes=1000)"
    )
    package = Path(p2hooks.__path__[0]).parent
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

    subprocess.run([sys.executable, "-c", code, package, place.archive, place.destination], check=True, env=environment)

    assert [*snapshot(place.destination)] == ["bin", "bin/größe"]


# Limits, and the system's refusals.


def test_max_bytes_is_exact(place: Place, tmp_path: Path) -> None:
    data = packed(member("a", b"x" * 600), member("b", b"y" * 400))

    assert len(place.extract(data, max_bytes=1000)) == 2
    tight = Place(tmp_path / "tight")
    with pytest.raises(ArtifactError, match="more than the 999 bytes"):
        tight.extract(data, max_bytes=999)
    tight.assert_no_harm(max_bytes=999)


def test_directories_that_no_member_names_count_as_well(place: Place) -> None:
    links = b"".join(symlink(f"link-{number}", "a") for number in range(19_980))

    with pytest.raises(ArtifactError, match="more than 20000 files"):
        place.extract(packed(launch("a"), links, launch("d/" * 31 + "launch")))


def test_memory_stays_bounded(place: Place) -> None:
    size = 24 * 1024 * 1024
    place.archive.write_bytes(packed(member("zeros", bytes(size))))

    tracemalloc.start()
    try:
        extract_archive(place.archive, place.destination, max_bytes=size)
        dummy, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (place.destination / "zeros").stat().st_size == size
    assert peak < 2 * 1024 * 1024


def test_everything_is_synced_and_directories_after_what_they_hold(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))

    place.extract(packed(directory("bin"), launch("bin/launch/one"), launch("bin/two"), symlink("link", "bin")))

    below = ["bin", "bin/launch", "bin/launch/one", "bin/two"]
    assert sorted(synced) == sorted(str(place.destination / path) for path in ["", *below])
    for path in below:
        absolute = place.destination / path
        assert synced.index(str(absolute)) < synced.index(str(absolute.parent))


def test_full_disk_is_an_error_that_says_so(place: Place) -> None:
    place.archive.write_bytes(packed(launch(), member("zeros", bytes(100_000))))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(LayoutError) as failure:
            extract_archive(place.archive, place.destination, max_bytes=MAX_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert str(failure.value) == (
        f"hook_1.tar.gz: cannot be unpacked into {place.destination}: File too large; "
        "see that both can be reached and the disk has room, then run this again"
    )


@pytest.mark.parametrize("call", ["fchmod", "fsync", "mkdir", "symlink", "link"])
def test_no_failure_of_the_system_is_ignored(place: Place, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*dummy: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    place.archive.write_bytes(packed(launch(), symlink("a", "bin"), hard_link("b", "bin/launch")))
    monkeypatch.setattr(os, call, fail)

    with pytest.raises(LayoutError, match="Input/output error"):
        extract_archive(place.archive, place.destination, max_bytes=MAX_BYTES)


def test_destination_that_is_not_there_is_an_error(place: Place) -> None:
    place.destination.rmdir()

    with pytest.raises(LayoutError, match="installs/new: No such file or directory"):
        place.extract(packed(launch()))


def test_destination_that_is_a_link_is_an_error(place: Place) -> None:
    place.destination.rmdir()
    place.destination.symlink_to(place.root / "installs" / "canary")

    with pytest.raises(LayoutError):
        place.extract(packed(launch()))
    assert [*snapshot(place.root / "installs" / "canary")] == ["secret"]


@pytest.mark.parametrize("obstacle", ["bin", "top", "link"])
def test_what_is_already_there_is_never_overwritten(place: Place, obstacle: str) -> None:
    (place.destination / obstacle).symlink_to(place.root / "installs" / "canary" / "secret")

    with pytest.raises(LayoutError, match="File exists"):
        place.extract(packed(launch(), launch("top"), symlink("link", "bin")))
    assert (place.root / "installs" / "canary" / "secret").read_text() == "untouched"


def test_missing_archive_is_an_error(place: Place) -> None:
    with pytest.raises(LayoutError, match=r"hook_1\.tar\.gz: .*No such file"):
        extract_archive(place.archive, place.destination, max_bytes=MAX_BYTES)


# Damage at random.


def with_right_checksums(tar: bytearray) -> None:
    """Give each header-like block a right checksum, so that damage gets past it."""
    for start in range(0, len(tar) - 511, 512):
        block = tar[start : start + 512]
        if block[257:262] == b"ustar":
            tar[start + 148 : start + 156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * ord(" "))


def mutated(tar: bytes, chance: random.Random) -> bytes:
    changed = bytearray(tar)
    for dummy in range(chance.randint(1, 8)):
        position = chance.randrange(len(changed))
        action = chance.randrange(4)
        if action == 0:
            changed[position] = chance.randrange(256)
        elif action == 1:
            changed[position] = chance.choice(b"\0/.-0123567LKxg=\n \xff")
        elif action == 2:
            source = chance.randrange(len(changed))
            changed[position : position + 16] = changed[source : source + 16]
        else:
            del changed[position : position + chance.choice((1, 512))]
    if chance.random() < 0.8:
        with_right_checksums(changed)
    packed_again = bytearray(gzip.compress(bytes(changed), compresslevel=1, mtime=0))
    if chance.random() < 0.1:
        packed_again[chance.randrange(len(packed_again))] ^= 1 << chance.randrange(8)
    return bytes(packed_again)


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_is_refused_or_harmless(tmp_path: Path, seed: int) -> None:
    originals = [
        launch() + symlink("link", "bin/launch") + hard_link("lib/hard", "bin/launch") + END,
        pax_member(b"0", "bin/" + "n" * 120, content=LAUNCH) + pax_member(b"2", "link", "bin") + END,
        gnu_long(b"L", b"bin/" + b"n" * 120) + launch() + gnu_long(b"K", b"bin") + symlink("link", "x") + END,
        gzip.decompress(made_by_tarfile(tarfile.PAX_FORMAT, "bin/größe", {"comment": "0" * 40}))[:4096],
    ]
    chance = random.Random(seed)
    refused = 0

    for number in range(100):
        data = mutated(chance.choice(originals), chance)
        place = Place(tmp_path / str(number))
        try:
            place.extract(data)
        except (ArtifactError, LayoutError):
            refused += 1
        place.assert_no_harm()

    assert 30 < refused < 100
