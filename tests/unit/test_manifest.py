# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import time
from types import ModuleType
from typing import Any

import pytest
from p2hooks.errors import ManifestError
from p2hooks.manifest import LAYOUT_VARIABLES, PodManifest, from_mapping, parse, redacted

VERSION = "0123456789abcdef0123456789abcdef01234567"
LOCATION = f"https://host/path/sudoers_{VERSION}.tar.gz"
SHA256 = "ab" * 32

EXAMPLE_OF_P2 = f"""\
id: system                       # required
run_as: root                     # optional
launchables:
  sudoers:                       # launchable id
    launchable_type: hoist       # required
    location: {LOCATION}
    entry_points: [bin/launch]   # optional, relative; files or directories; default bin/launch
    env: {{KEY: value}}            # optional
    digest_location: https://host/path/sudoers_{VERSION}.tar.gz.sum
    digest_signature_location: https://host/path/sudoers_{VERSION}.tar.gz.sum.sig
config: {{any: yaml}}              # written to a file, path exported as CONFIG_PATH
readonly: false                  # optional
artifact_registry: https://registry.example.com
"""


def pod(**changes: Any) -> dict[str, Any]:
    """A manifest's data with other keys, or without those that are set to None."""
    data = {"id": "x", "launchables": {"x": {"launchable_type": "hoist", "location": LOCATION}}, **changes}
    return {key: value for key, value in data.items() if value is not None}


def with_launchable(**changes: Any) -> dict[str, Any]:
    stanza = {"launchable_type": "hoist", "location": LOCATION, **changes}
    return pod(launchables={"x": {key: value for key, value in stanza.items() if value is not None}})


def with_location(location: str, **changes: Any) -> dict[str, Any]:
    return with_launchable(location=location, **changes)


def only_launchable(data: dict[str, Any]) -> Any:
    return from_mapping(data, "file").launchables[0]


def assert_is_refused(error: ManifestError, phrase: str) -> None:
    message = str(error)
    assert message.startswith("a file: ")
    assert phrase in message
    assert message.isprintable()
    assert len(message) < 500
    assert "SECRET" not in message


def test_the_example_of_p2(manifests: ModuleType) -> None:
    manifest = manifests.parse(EXAMPLE_OF_P2, "file")
    assert manifest.id == "system"
    assert manifest.config == {"any": "yaml"}
    assert manifest.text == EXAMPLE_OF_P2
    (launchable,) = manifest.launchables
    assert launchable.id == "sudoers"
    assert launchable.location == LOCATION
    assert launchable.version == VERSION
    assert launchable.install_name == f"sudoers_{VERSION}"
    assert launchable.entry_points == ("bin/launch",)
    assert launchable.env == {"KEY": "value"}
    assert launchable.sha256 is None
    assert launchable.restart_timeout == 10


def test_the_example_of_p2_with_a_version_and_a_registry() -> None:
    text = EXAMPLE_OF_P2.replace(f"location: {LOCATION}", f"version: {{id: {VERSION}, tags: {{a: b}}}}", 1)
    (launchable,) = parse(text, "file").launchables
    assert launchable.location == f"https://registry.example.com/sudoers_{VERSION}.tar.gz"
    assert launchable.version == VERSION


def test_what_p2_knows_beyond_hooks_is_carried_along() -> None:
    data = pod(status={"port": 1}, status_port=8080, status_http=True, resource_limits={"cgroup": {"cpus": 1}})
    data["launchables"]["x"].update(restart_policy="never", no_halt_on_update=True, cgroup={"cpus": 2})
    manifest = from_mapping(data, "file")
    assert manifest.data == data
    assert manifest.launchables[0].cgroup == {"cpus": 2}


NO_YAML_OR_NO_MANIFEST: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "must be a mapping, not nothing"),
    "only a comment": ("# id: x", "must be a mapping, not nothing"),
    "a string": ("just words", "must be a mapping, not a string"),
    "a list": ("- id: x", "must be a mapping, not a list"),
    "a page of HTML": ("<!DOCTYPE html>\n<html>\n", "must be a mapping, not a string"),
    "no YAML": ("id: [x", "is no YAML"),
    "not UTF-8": (b"id: \xff\xfe", "not UTF-8"),
    "an archive": (b"\x1f\x8b\x08\x00" + bytes(100), "not UTF-8"),
    "NUL": ("id: x\0", "#x0000"),
    "too large": ("id: x\n#" + "x" * 65536, "larger than 64 KiB"),
    "tag": ("id: !!python/name:os.system x", "the tag"),
    "alias": ("id: &a x\nrun_as: *a", "an alias"),
    "duplicate id": ("id: x\nid: y", "the key 'id' twice"),
    "merge key": ("id: x\n<<: {run_as: root}", "a merge key"),
    "two documents": ("id: x\n---\nid: y", "a second document"),
    "very deep": ("id: " + "[" * 60000, "more than 32 levels"),
    "signed": ("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nid: x\n", "PGP clear-signed"),
    "signed, after blanks": (b"\n \n-----BEGIN PGP SIGNED MESSAGE-----\n", "PGP clear-signed"),
    "id of digits": ("id: 123", "id is '123', a int; it must be a string, so quote it"),
    "id that is true": ("id: true", "id is 'True', a bool"),
    "id that is nothing": ("id: ~", "has no id"),
    "key of digits": ("1: x", "the key '1', which is no string"),
}


@pytest.mark.timeout(5)
@pytest.mark.parametrize(("content", "phrase"), NO_YAML_OR_NO_MANIFEST.values(), ids=NO_YAML_OR_NO_MANIFEST.keys())
def test_refused_text(manifests: ModuleType, content: str | bytes, phrase: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifests.parse(content, "a file")
    assert_is_refused(caught.value, phrase)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no id": (pod(id=None), "has no id; add it"),
    "empty id": (pod(id=""), "id is ''"),
    "id with a slash": (pod(id="a/b"), "id is 'a/b'"),
    "id that leads up": (pod(id=".."), "id is '..'"),
    "id with two dots": (pod(id="a..b"), "without '..'"),
    "id with a newline": (pod(id="a\nb"), r"id is 'a\nb'"),
    "id that ends in a newline": (pod(id="a\n"), r"id is 'a\n'"),
    "id with a leading dot": (pod(id=".a"), "beginning with a letter or digit"),
    "id that is too long": (pod(id="x" * 64), "at most 63"),
    "id that is a list": (pod(id=["x"]), "a list; it must be a string"),
    "no launchables": (pod(launchables=None), "has no launchables"),
    "empty launchables": (pod(launchables={}), "launchables is empty"),
    "launchables that are a list": (pod(launchables=[{}]), "launchables must be a mapping, not a list"),
    "launchable that is nothing": (pod(launchables={"x": None}), "launchable x must be a mapping, not nothing"),
    "launchable that is a string": (pod(launchables={"x": "y"}), "launchable x must be a mapping, not a string"),
    "launchable id with a slash": (pod(launchables={"a/b": {}}), "the id of a launchable is 'a/b'"),
    "launchable id that leads up": (pod(launchables={"..": {}}), "the id of a launchable is '..'"),
    "launchable called config": (pod(launchables={"config": {}}), "this name is taken"),
    "launchable called env": (pod(launchables={"env": {}}), "this name is taken"),
    "launchable called installed": (pod(launchables={"installed": {}}), "this name is taken"),
    "launchable called as the manifest": (pod(launchables={"current_manifest.yaml": {}}), "this name is taken"),
    "unknown key": (pod(launchable={}), "unknown key 'launchable'; did you mean launchables?"),
    "unknown key like no other": (pod(zzz=1), "unknown key 'zzz'; remove it (known are id,"),
    "unknown key of a launchable": (
        with_launchable(sha265="x"),
        "launchable x has the unknown key 'sha265'; did you mean",
    ),
    "unknown key of a version": (
        with_launchable(location=None, version={"ID": "1"}),
        "x: version has the unknown key 'ID'",
    ),
    "run_as": (pod(run_as=0), "run_as must be a string, not a whole number"),
    "config": (pod(config="x"), "config must be a mapping, not a string"),
    "config that is a list": (pod(config=[]), "config must be a mapping, not a list"),
    "readonly": (pod(readonly="yes"), "readonly must be true or false, not a string"),
    "artifact_registry": (pod(artifact_registry=[]), "artifact_registry must be a string, not a list"),
    "status": (pod(status=True), "status must be a mapping, not true or false"),
    "status_port": (pod(status_port="80"), "status_port must be a whole number, not a string"),
    "status_port that is true": (pod(status_port=True), "status_port must be a whole number, not true or false"),
    "resource_limits": (pod(resource_limits=1.5), "resource_limits must be a mapping, not a number"),
    "no type": (with_launchable(launchable_type=None), "launchable x has no launchable_type"),
    "type": (with_launchable(launchable_type=1), "launchable_type must be a string"),
    "type opencontainer": (
        with_launchable(launchable_type="opencontainer"),
        "hook disabled: unsupported launchable type",
    ),
    "type docker": (with_launchable(launchable_type="docker"), "unsupported launchable type 'docker'"),
    "location that is a list": (with_launchable(location=[LOCATION]), "location must be a string, not a list"),
    "cgroup": (with_launchable(cgroup="x"), "cgroup must be a mapping, not a string"),
    "digest_location": (with_launchable(digest_location={}), "digest_location must be a string, not a mapping"),
    "sha256 that is short": (with_launchable(sha256="ab"), "sha256 must be 64"),
    "sha256 in capitals": (with_launchable(sha256=SHA256.upper()), "lower-case"),
    "sha256 with a newline": (with_launchable(sha256=SHA256 + "\n"), "sha256 must be 64"),
    "sha256 that is a number": (with_launchable(sha256=10**63), "sha256 must be a string"),
    "neither location nor version": (with_launchable(location=None), "has neither location nor version"),
    "location and version": (with_launchable(version={"id": "1"}), "has both location and version"),
    "version that is a string": (
        with_launchable(location=None, version="1"),
        "version must be a mapping, not a string",
    ),
    "version without id": (with_launchable(location=None, version={}), "version has no id"),
    "version id that is a number": (
        with_launchable(location=None, version={"id": 1.1}),
        "id must be a string, not a number",
    ),
    "version without registry": (
        with_launchable(location=None, version={"id": "1"}),
        "needs the manifest's artifact_registry",
    ),
    "version that leads up": (with_launchable(location=None, version={"id": "../1"}), "'../1' is no version"),
    "version with a newline": (with_launchable(location=None, version={"id": "1\n"}), "is no version"),
    "version in a file's name": (with_location("https://h/x_1..2.tar.gz"), "'1..2' is no version"),
    "no version in a file's name": (with_location("https://h/x_.tar.gz"), "'' is no version"),
    "no archive": (with_location("https://h/x_1.zip"), "does not end in .tar.gz"),
    "no archive, signed": (
        with_location("https://h/x_1?X-Sig=SECRET.tar.gz"),
        "'https://h/x_1' does not end in .tar.gz",
    ),
    "no scheme": (with_location("/srv/x_1.tar.gz"), "must begin with https, http, file, store and a colon"),
    "another scheme": (with_location("ftp://h/x_1.tar.gz?sig=SECRET"), "must begin with https"),
    "password": (with_location("https://user:SECRET@h/x_1.tar.gz"), "holds a user name or password"),
    "token as a user": (with_location("https://SECRET@h/x_1.tar.gz"), "holds a user name or password"),
    "password, another scheme": (with_location("ftp://user:SECRET@h/x_1.tar.gz"), "holds a user name or password"),
    "password, no archive": (with_location("https://user:SECRET@h/x_1.zip"), "holds a user name or password"),
    "password with a slash": (with_location("https://user:SEC/SECRET@h/x_1.tar.gz"), "its host or port is malformed"),
    "password with a blank": (with_location("https://user:SECRET@h/x 1.tar.gz"), "holds a blank"),
    "no host": (with_location("https:///x_1.tar.gz"), "names no host"),
    "host that is no address": (with_location("https://[::1/x_1.tar.gz?sig=SECRET"), "its host or port is malformed"),
    "host that changes": (with_location("https://h\u2100/x_1.tar.gz"), "its host or port is malformed"),
    "port that is no number": (with_location("https://h:x/x_1.tar.gz"), "its host or port is malformed"),
    "http without a digest": (with_location("http://h/x_1.tar.gz?sig=SECRET"), "give sha256 as well"),
    "file on a host": (with_location("file://h/x_1.tar.gz?sig=SECRET"), "must be file:// and an absolute path"),
    "relative file": (with_location("file:x_1.tar.gz"), "must be file:// and an absolute path"),
    "file with an encoded NUL": (with_location("file:///x%00_1.tar.gz"), "a control character"),
    "blank": (with_location("https://h/a x_1.tar.gz?sig=SECRET"), "holds a blank"),
    "newline": (with_location("https://h/x_1.tar.gz\n"), "a control character"),
    "leading blank": (with_location(" https://h/x_1.tar.gz"), "holds a blank"),
    "store on a host": (with_location("store://h/x_1.tar.gz"), "must be store: and a key of the store"),
    "store without a key": (with_location("store:/x_1.tar.gz"), "must be store: and a key of the store"),
    "entry_points that are a string": (with_launchable(entry_points="bin/launch"), "entry_points must be a list"),
    "no entry_points": (with_launchable(entry_points=[]), "entry_points is empty"),
    "entry point that leads up": (with_launchable(entry_points=["../../bin/sh"]), "must be a relative path"),
    "absolute entry point": (with_launchable(entry_points=["/bin/sh"]), "must be a relative path"),
    "entry point that is empty": (with_launchable(entry_points=[""]), "must be a relative path"),
    "entry point that is a number": (with_launchable(entry_points=[1]), "must be a relative path"),
    "entry point with a newline": (with_launchable(entry_points=["bin/a\nb"]), "must be a relative path"),
    "entry point twice": (with_launchable(entry_points=["bin/a", "bin/a"]), "names a path twice"),
    "entry_point": (with_launchable(entry_point="bin/launch"), "give a list called entry_points"),
    "env that is a list": (with_launchable(env=["A=b"]), "env must be a mapping, not a list"),
    "env name with =": (with_launchable(env={"A=B": "c"}), "env name 'A=B'"),
    "env name that is empty": (with_launchable(env={"": "c"}), "env name ''"),
    "env name with a digit first": (with_launchable(env={"1A": "c"}), "env name '1A'"),
    "env name with a slash": (with_launchable(env={"../A": "c"}), "env name '../A'"),
    "env name with a newline": (with_launchable(env={"A\n": "c"}), r"env name 'A\n'"),
    "env HOOK": (with_launchable(env={"HOOK": "c"}), "env name HOOK is set for every hook"),
    "env HOOKED_POD_ID": (with_launchable(env={"HOOKED_POD_ID": "c"}), "is set for every hook"),
    "env of nothing": (with_launchable(env={"A": None}), "env A must be a string or a number, not nothing"),
    "env of a list": (with_launchable(env={"A": ["b"]}), "env A must be a string or a number, not a list"),
    "env of a mapping": (with_launchable(env={"A": {}}), "env A must be a string or a number, not a mapping"),
    "env with NUL": (with_launchable(env={"A": "SECRET\0"}), "env A holds a NUL byte"),
    "env that ends in a blank": (with_launchable(env={"A": "b "}), "env A ends in a blank"),
    "restart_timeout that is a number": (with_launchable(restart_timeout=30), "restart_timeout must be a string"),
    "restart_timeout without unit": (with_launchable(restart_timeout="30"), "write it like 30s"),
    "restart_timeout without end": (with_launchable(restart_timeout="9" * 5000 + "s"), "write it like 30s"),
}


@pytest.mark.parametrize(("data", "phrase"), WRONG.values(), ids=WRONG.keys())
def test_refused_data(manifests: ModuleType, data: dict[str, Any], phrase: str) -> None:
    with pytest.raises(ManifestError) as from_data:
        manifests.from_mapping(data, "a file")
    assert_is_refused(from_data.value, phrase)
    with pytest.raises(ManifestError) as from_text:
        manifests.parse(manifests.strict_yaml.dump(data), "a file")
    assert str(from_text.value) == str(from_data.value)


@pytest.mark.parametrize("name", LAYOUT_VARIABLES)
def test_variables_of_the_pod_home_cannot_be_set(name: str) -> None:
    with pytest.raises(ManifestError, match=f"env name {name} is set for every hook"):
        from_mapping(with_launchable(env={name: "x"}), "a file")


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else "x"


@pytest.mark.parametrize(
    ("config", "phrase"),
    [
        ({1: "a"}, "the key '1', which is no string"),
        ({"a": {None: 1}}, "the key 'None', which is no string"),
        ({"a": b"x"}, "a bytes, which a manifest cannot hold"),
        ({"a": [object]}, "a type, which a manifest cannot hold"),
        ({"a": {1, 2}}, "a set, which a manifest cannot hold"),
        ({"a": float("nan")}, "nan, which is no number"),
        ({"a": [float("inf")]}, "inf, which is no number"),
        ({"a": "\ud800"}, "which is not UTF-8"),
        ({"\udcff": 1}, "which is not UTF-8"),
        ({"a": nested(32)}, "more than 32 deep"),
        ({"a": "é" * 32768}, "larger than 64 KiB"),
    ],
)
def test_refused_data_that_no_text_can_hold(manifests: ModuleType, config: dict[Any, Any], phrase: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifests.from_mapping(pod(config=config), "a file")
    assert_is_refused(caught.value, phrase)


def test_a_large_manifest_is_read_in_no_time(manifests: ModuleType) -> None:
    data = pod(config={f"key{number}": number for number in range(4000)})
    text = manifests.from_mapping(data, "file").text
    assert len(text) > 60000
    start = time.process_time()
    assert manifests.parse(text, "file").data == data
    assert time.process_time() - start < 5


TRICKY: list[Any] = [
    *("no", "1e3", "010", "22:22", "2026-11-22", "~", "", "null", "1_000", ".5", "0x1F", "1.10", "true", "=", "<<"),
    *(
        "-",
        "?",
        " blanks ",
        "two\nlines",
        "two\nlines\n",
        "\n",
        "tab\t",
        "# none",
        "a: b",
        "a #b",
        "'",
        '"',
        "\\",
        "*a",
    ),
    *(
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "[1]",
        "{a: b}",
        "\xe9",
        "\U0001f600",
        "\x85",
        "\u2028",
        "\ufeff",
        "\0",
        "\x1b[31m",
    ),
    *("x" * 500, "x " * 100, 1, -1, 0, 10**20, 1.5, 1e3, 1e300, 1e-7, True, False, None),
    *([], {}, [[]], {"": ""}, {"no": {"1": [None]}}),
]


@pytest.mark.parametrize("value", TRICKY, ids=ascii)
def test_data_and_the_text_that_is_made_of_it_are_the_same_manifest(manifests: ModuleType, value: Any) -> None:
    data = pod(config={"value": value, str(value): "key"})
    manifest = manifests.from_mapping(data, "file")
    for content in (manifest.text, manifest.text.encode()):
        parsed = manifests.parse(content, "file")
        assert repr(parsed.data) == repr(data)
        assert parsed.sha == manifest.sha


def test_text_made_with_one_parser_is_the_same_manifest_to_the_other(manifests: ModuleType) -> None:
    data = pod(config={"values": TRICKY})
    text = from_mapping(data, "file").text
    assert (
        manifests.parse(text, "file").sha == manifests.from_mapping(data, "file").sha == from_mapping(data, "file").sha
    )


def test_sha_is_of_the_meaning_not_of_the_form() -> None:
    lines = [
        "id: x\n",
        "config: {a: 1, b: [no, 010]}\n",
        f"launchables: {{x: {{launchable_type: hoist, location: '{LOCATION}'}}}}\n",
    ]
    shas = {
        parse(text, "file").sha
        for text in (
            "".join(lines),
            "".join(reversed(lines)),
            "# a comment\n---\n" + "\n".join(lines),
            "".join(lines).replace("{a: 1, b: [no, 010]}", "\n  b:\n  - 'no'\n  - +10\n  a: 1"),
            "".join(lines).replace("\n", "\r\n"),
        )
    }
    assert shas == {from_mapping(pod(config={"a": 1, "b": ["no", 10]}), "other").sha}


@pytest.mark.parametrize("value", ["1", 1.0, True, None, [1], "2"])
def test_sha_changes_with_a_value_and_its_type(value: Any) -> None:
    assert from_mapping(pod(config={"a": value}), "file").sha != from_mapping(pod(config={"a": 1}), "file").sha


def test_sha_is_64_hexadecimal_digits_that_do_not_change_between_versions() -> None:
    assert parse(EXAMPLE_OF_P2, "file").sha == "25fc1b1884d90bb9fa4738475feebf1e2c7b34f97b8161e20ceafcaba83c4668"


def test_given_data_is_not_changed() -> None:
    data = with_launchable(env={"A": 1, "B": True})
    before = copy.deepcopy(data)
    from_mapping(data, "file")
    assert data == before


@pytest.mark.parametrize(
    ("location", "version"),
    [
        ("https://h/x_1.2.3.tar.gz", "1.2.3"),
        ("https://h/my_hook_1.tar.gz", "1"),
        (f"https://h/x_{VERSION}-rc1.tar.gz", f"{VERSION}-rc1"),
        ("https://h/x.tar.gz", None),
        ("https://h/_1.tar.gz", None),
        ("https://h/x_1.tar.gz?sig=a/b_2.tar.gz", "1"),
        ("https://[::1]:8443/x_1.tar.gz", "1"),
        ("file:///srv/x_1.tar.gz", "1"),
        ("file:///srv/my%20hooks/x_1.tar.gz", "1"),
        ("file://localhost/srv/x_1.tar.gz", "1"),
        ("store:hooks-artifacts/ab/x_1.tar.gz", "1"),
    ],
)
def test_version_of_a_location(location: str, version: str | None) -> None:
    launchable = only_launchable(with_location(location))
    assert (launchable.location, launchable.version) == (location, version)
    assert launchable.install_name == (f"x_{version}" if version else "x")


def test_http_with_a_digest() -> None:
    assert only_launchable(with_location("http://h/x_1.tar.gz", sha256=SHA256)).sha256 == SHA256


@pytest.mark.parametrize(
    ("value", "text"),
    [("a b", "a b"), ("", ""), ("two\nlines", "two\nlines"), (7, "7"), (1.5, "1.5"), (True, "true"), (False, "false")],
)
def test_env_values_are_text(value: Any, text: str) -> None:
    assert only_launchable(with_launchable(env={"A_1": value})).env == {"A_1": text}


@pytest.mark.parametrize(
    ("duration", "seconds"), [("30s", 30), ("1m30s", 90), ("2h", 7200), ("0s", 0), ("1h1m1s", 3661)]
)
def test_restart_timeout_is_in_seconds(duration: str, seconds: int) -> None:
    assert only_launchable(with_launchable(restart_timeout=duration)).restart_timeout == seconds


def test_launchables_are_in_order_of_their_ids() -> None:
    stanza = {"launchable_type": "hoist", "location": LOCATION}
    manifest: PodManifest = from_mapping(pod(launchables={"b": stanza, "a": stanza}), "file")
    assert [launchable.id for launchable in manifest.launchables] == ["a", "b"]


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://h/x_1.tar.gz?token=SECRET", "https://h/x_1.tar.gz"),
        ("https://user:SECRET@h/x_1.tar.gz", "https://h/x_1.tar.gz"),
        ("https://user:SEC@RET@h/x_1.tar.gz?a", "https://h/x_1.tar.gz"),
        ("https://h/@scope/x_1.tar.gz", "https://h/@scope/x_1.tar.gz"),
        ("store:hooks-artifacts/ab/x_1.tar.gz", "store:hooks-artifacts/ab/x_1.tar.gz"),
    ],
)
def test_messages_show_a_location_without_its_secrets(location: str, shown: str) -> None:
    assert redacted(location) == shown
