# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from p2hooks import cli, configuration
from p2hooks.cli import commands
from p2hooks.console import Answer
from p2hooks.errors import ConfigurationError, HookError
from support_run import write_script

TOP = Path(__file__).parents[2]


def written(path: Path, text: str | bytes) -> str:
    file = path / "p2-hook.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o644)
    return str(file)


def error_of(path: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configuration.read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(path)
    return message.removeprefix(path)


def test_lines_are_names_and_values_of_their_kinds(tmp_path: Path) -> None:
    settings = configuration.read(
        written(
            tmp_path,
            "# a comment\n\nroot = /srv/hooks\r\n  term_after=1.5\nnode = a = b"
            "\nconsul_validate_certs = No\nstore = consul",
        )
    )
    assert settings.values == {
        "root": "/srv/hooks",
        "term_after": 1.5,
        "node": "a = b",
        "consul_validate_certs": False,
        "store": "consul",
    }
    assert settings.places["term_after"] == 4


def test_every_option_but_the_token_can_be_set(tmp_path: Path) -> None:
    texts = {"path": "/x", "str": "x", "float": "7", "bool": "true"}
    names = [name for name in configuration.OPTIONS if name != "consul_token"]
    lines = [
        f"{name} = {configuration.CHOICES[name][0] if name in configuration.CHOICES else texts[kind]}"
        for name, (kind, dummy) in configuration.OPTIONS.items()
        if name in names
    ]
    assert list(configuration.read(written(tmp_path, "\n".join(lines))).values) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nrooot = /x", ", line 3: there is no option 'rooot'; the options are root, pod_root,"),
        ("consul_token = secret", ", line 1: consul_token does not belong here.*set consul_token_file to a file"),
        ("root = /x\nroot = /y", ", line 2: root is set in line 1 already; remove one"),
        ("root", ", line 1: 'root' is no setting; write name = value"),
        ("root =", ", line 1: root has no value; give one, or remove the line"),
        ("root = hooks", ", line 1: root is 'hooks'; give a path that begins with /"),
        ("root = /x # y", ", line 1: root is '/x # y'; give a comment a line of its own"),
        ("node = a\tb", r", line 1: node is 'a\\tb'; give it in printable UTF-8"),
        (b"node = \xff", ", line 1: node is '\ufffd'; give it in printable UTF-8"),
        ("\ufeffroot = /x", r", line 1: there is no option '\\ufeffroot'"),
        ("store = etcd", ", line 1: store is 'etcd'; give one of directory, consul"),
        ("consul_validate_certs = maybe", ", line 1: consul_validate_certs is 'maybe'; give true or false"),
        *(
            (f"term_after = {value}", f", line 1: term_after is '{value}'; give seconds, a number above 0")
            for value in ("30s", "0", "-1", "nan", "inf")
        ),
    ],
)
def test_a_wrong_line_is_refused_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert re.match(message, error_of(written(tmp_path, text)))


def test_the_secret_of_a_line_that_is_refused_is_not_shown(tmp_path: Path) -> None:
    assert "secret" not in error_of(written(tmp_path, "consul_token = secret"))


def test_only_the_default_file_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "missing")
    assert error_of(missing) == ": there is no such configuration file; correct its path"
    monkeypatch.setattr(configuration, "DEFAULT_PATH", missing)
    assert configuration.read(None).values == {}


def test_a_file_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "root = /x")
    for mode in (0o664, 0o646):
        os.chmod(path, mode)
        assert error_of(path) == " is writable by group or others; chmod go-w it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "root = /x")
    os.chown(path, 12345, -1)
    assert error_of(path) == " belongs to user 12345; chown it to root"


def test_a_file_that_others_could_replace_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    path = written(directory, "root = /x")
    for mode in (0o775, 0o757):
        directory.chmod(mode)
        assert error_of(path) == f": {directory} is writable by group or others; chmod go-w it"
    directory.chmod(0o1777)
    exposed = (
        f" lies in {directory}, where others may put files; move it into a directory that only its owner can write to"
    )
    assert error_of(path) == exposed
    (directory / "ours").mkdir(0o755)
    assert configuration.read(written(directory / "ours", "root = /x")).values == {"root": "/x"}


def test_the_way_to_a_file_is_that_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open", "etc", "etc/a"):
        (tmp_path / name).mkdir()
    (tmp_path / "open").chmod(0o777)
    written(tmp_path / "open", "root = /x")
    written(tmp_path / "etc", "root = /y")
    (tmp_path / "b").symlink_to("etc/a")
    monkeypatch.chdir(tmp_path)
    assert configuration.read("b/../p2-hook.conf").values == {"root": "/y"}
    (tmp_path / "link.conf").symlink_to("open/p2-hook.conf")
    assert error_of("link.conf") == f": {tmp_path}/open is writable by group or others; chmod go-w it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_below_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "etc" / "p2-hook"
    directory.mkdir(parents=True)
    path = written(directory, "root = /x")
    os.chown(tmp_path / "etc", 12345, -1)
    assert error_of(path) == f": {tmp_path}/etc belongs to user 12345; chown it to root"


def test_what_is_no_file_of_reasonable_size_is_refused(tmp_path: Path) -> None:
    assert error_of(str(tmp_path)) == " is no regular file; write the configuration into one"
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    assert error_of(fifo) == " is no regular file; write the configuration into one"
    assert error_of(written(tmp_path, "#" * 70000)) == " is larger than 65536 bytes; is it the right file?"


def test_gaps_are_filled_from_the_file_and_then_from_the_defaults(tmp_path: Path) -> None:
    settings = configuration.read(written(tmp_path, "root = /srv/hooks\nterm_after = 5\nnode = x"))
    options = {"root": None, "term_after": 7.0, "kill_after": None, "event": None}
    settings.fill(options)
    assert options == {"root": "/srv/hooks", "term_after": 7.0, "kill_after": None, "event": None}


def test_an_error_about_a_value_of_the_file_says_where_that_is(tmp_path: Path) -> None:
    path = written(tmp_path, "root = /srv/hooks\nkill_after = 5\nterm_after = 70\nnode = a/b")
    options = {"root": None, "term_after": 1.0, "kill_after": None, "node": None}

    def explained(message: str) -> str:
        def fail() -> None:
            raise HookError(message)

        with pytest.raises(HookError) as caught:
            configuration.configured(path, dict(options), fail)
        return str(caught.value).removeprefix(message)

    assert explained("term_after is 1 and kill_after 5") == f"; kill_after is set in line 2 of {path}"
    assert explained("/srv/hooks: Not a directory") == f"; root is set in line 1 of {path}"
    assert explained("root /srv/hooks is no directory") == f"; root is set in line 1 of {path}"
    assert explained("node is 'a/b'; give another") == f"; node is set in line 4 of {path}"
    assert explained("/srv/hooks/exec/root is not yours") == ""


@pytest.mark.parametrize("where", ["run --config {}", "--config {} run", "run --config={} --check"])
def test_the_command_reads_the_file(tmp_path: Path, where: str) -> None:
    (tmp_path / "root/exec").mkdir(parents=True)
    write_script(tmp_path / "root/exec/a", "echo $HOOKED_NODE")
    path = written(tmp_path, f"root = {tmp_path}/root\naudit_log = {tmp_path}/audit.jsonl\nnode = n1")
    words = [*where.format(path).split(), "before_install", "hello"]
    command = [sys.executable, "-IS", str(TOP / "bin/p2-hook"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a" in done.stdout.split()
    assert (tmp_path / "audit.jsonl").exists() == ("--check" not in where)

    written(tmp_path, "term_after = 90\nkill_after = 60")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        "p2-hook: term_after is 90 and kill_after 60; "
        f".*set in line 1 of {path}; kill_after is set in line 2 of {path}\n",
        done.stderr,
    )


def test_the_document_names_every_option() -> None:
    text = (TOP / "docs/configuration.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert listed == [name for name in configuration.OPTIONS if name != "consul_token"]


@pytest.mark.parametrize(
    ("line", "log", "database"),
    [
        ("audit", "/file.jsonl", "/file.db"),
        ("audit --audit-log /given.jsonl", "/given.jsonl", None),
        ("audit --audit-database /given.db", "/file.jsonl", "/given.db"),
        ("audit-prune", "/file.jsonl", "/file.db"),
        ("audit-prune --audit-log /given.jsonl", "/given.jsonl", None),
        ("audit-prune --audit-database /given.db", None, "/given.db"),
        ("run before_install hello --audit-log /given.jsonl", "/given.jsonl", "/file.db"),
    ],
)
def test_of_log_and_database_only_what_is_meant_comes_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, log: str | None, database: str | None
) -> None:
    path = written(tmp_path, "audit_log = /file.jsonl\naudit_database = /file.db")
    seen: list[tuple[str | None, str | None]] = []

    def look(options: Namespace) -> Answer:
        seen.append((options.audit_log, options.audit_database))
        return Answer({}, [])

    words = [*line.split(), "--config", path]
    monkeypatch.setitem(commands.COMMANDS, words[0], look)
    assert cli.main(words) == 0
    assert seen == [(log, database)]
