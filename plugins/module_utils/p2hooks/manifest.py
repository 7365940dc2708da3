# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pod manifests: what a hook consists of, in p2's format.

The format is p2's (``pkg/manifest``), and so are the names. A hook uses the part of it that is described in
docs/manifest.md; what p2 knows beyond that (``status_port``, ``resource_limits`` and so on) is accepted and carried
along, and a key that p2 does not know either is refused, since it is most likely a typing error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import SplitResult, urlsplit

from . import strict_yaml
from .errors import ManifestError, shown
from .ids import check_id
from .manifest_sha import sha_of
from .time_limits import LONGEST_LIMIT

#: The schemes of an artifact's location; ``store`` is a key of the store that holds the hooks as well.
LOCATION_SCHEMES = ("https", "http", "file", "store")

_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"

# Every known key and the type of its value.
_POD_KEYS = {
    "id": object, "launchables": Mapping, "config": Mapping, "run_as": str, "readonly": bool, "artifact_registry": str,
    "unpack_as": str, "status": Mapping, "status_port": int, "status_http": bool, "status_path": str,
    "status_localhost_only": bool, "resource_limits": Mapping, "min_health_percent": int, "node_selector": str,
}  # fmt: skip
_LAUNCHABLE_KEYS = {
    "launchable_type": str, "location": str, "version": Mapping, "sha256": str, "entry_points": list, "env": Mapping,
    "restart_timeout": str, "launchable_id": str, "entry_point": str, "digest_location": str,
    "digest_signature_location": str, "cgroup": Mapping, "restart_policy": str, "no_halt_on_update": bool,
    "is_uuid_pod": bool, "image": Mapping,
}  # fmt: skip
_VERSION_KEYS = {"id": str, "tags": Mapping}

#: Names in a pod home that no launchable can have; see pod_home.
_TAKEN_NAMES = ("config", "env", "installed", "current_manifest.yaml")

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
#: Variables that the layout itself sets in a pod home; see pod_home.
LAYOUT_VARIABLES = (
    "CONFIG_PATH", "POD_HOME", "POD_ID", "POD_UNIQUE_KEY", "PLATFORM_CONFIG_PATH",
    "LAUNCHABLE_ID", "LAUNCHABLE_ROOT", "RESTART_TIMEOUT",
)  # fmt: skip
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~-]{0,127}\Z")
_DURATION = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?\Z")
#: What stands between the slashes and the host of a URL: a user name or password.
_USERINFO = re.compile(r"(//)[^/]*@")


@dataclass(frozen=True)
class Launchable:
    """One artifact of a pod, and the scripts in it that are the hook."""

    id: str
    location: str
    version: str | None
    #: The artifact's SHA-256 in hexadecimal, or None where the manifest does not pin it.
    sha256: str | None
    #: Relative paths inside the artifact: each an executable file or a directory of them.
    entry_points: tuple[str, ...]
    env: Mapping[str, str]
    #: Seconds.
    restart_timeout: int
    cgroup: Mapping[str, Any]

    @property
    def install_name(self) -> str:
        """The name of its directory below ``installs/``."""
        return f"{self.id}_{self.version}" if self.version else self.id


@dataclass(frozen=True)
class PodManifest:
    """A validated pod manifest; build it with :func:`parse` or :func:`from_mapping`."""

    id: str
    launchables: tuple[Launchable, ...]
    config: Mapping[str, Any]
    #: See :func:`.manifest_sha.sha_of`.
    sha: str
    #: The manifest as YAML: as it was given where it was text, so that no comment is lost.
    text: str
    #: The same as plain data.
    data: Mapping[str, Any]
    #: The hook's own time limits in seconds, from ``config``; None where it sets none.
    term_after: float | None
    kill_after: float | None


def parse(content: bytes | str, source: str) -> PodManifest:
    """Return the pod manifest that is written in ``content``.

    Args:
        source: names the content in messages: a file, or a key of the store.

    Raises:
        ManifestError: it is no YAML, or no valid manifest.
    """
    text = content if isinstance(content, str) else content.decode("utf-8", "replace")
    if text.lstrip().startswith(_SIGNED):
        raise ManifestError(
            f"{source}: is PGP clear-signed, and this version cannot verify signatures; give the plain YAML"
        )
    return _build(strict_yaml.load(content, source), text, source)


def from_mapping(data: Mapping[str, Any], source: str) -> PodManifest:
    """Return the pod manifest that ``data``, as read from YAML or JSON, stands for.

    Raises:
        ManifestError: it is no valid manifest.
    """
    _check_plain(data, source, "the manifest", 0)
    text = strict_yaml.dump(data)
    if len(text.encode()) > strict_yaml.MAX_BYTES:
        raise ManifestError(f"{source}: is larger than {strict_yaml.MAX_BYTES // 1024} KiB; a manifest may not be")
    return _build(data, text, source)


def redacted(location: str) -> str:
    """Return a location as messages may show it: without a password, and without a query, which can grant access."""
    return _USERINFO.sub(r"\1", location.split("?", 1)[0])


def _build(data: Any, text: str, source: str) -> PodManifest:
    try:
        pod = _Fields(data, "the manifest", _POD_KEYS)
        pod_id = check_id(pod.required("id"), "id")
        stanzas = pod.required("launchables")
        if not stanzas:
            raise ManifestError("launchables is empty; add a launchable")
        registry = pod.optional("artifact_registry")
        config = pod.optional("config") or {}
        term_after, kill_after = _limits(config)
        return PodManifest(
            id=pod_id,
            launchables=tuple(_launchable(name, stanzas[name], registry) for name in sorted(stanzas)),
            config=config,
            sha=sha_of(data),
            text=text,
            data=data,
            term_after=term_after,
            kill_after=kill_after,
        )
    except ManifestError as error:
        raise ManifestError(f"{source}: {error}") from None


def _limits(config: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the time limits that ``config`` sets, in seconds; a hook's configuration is for us too, as p2's was."""
    limits: list[float | None] = []
    for name in ("term_after", "kill_after"):
        value = config.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 < value <= LONGEST_LIMIT):
            raise ManifestError(
                f"config: {name} is {shown(value)}; give seconds, a number above 0 and not more than {LONGEST_LIMIT}"
            )
        limits.append(None if value is None else float(value))
    term_after, kill_after = limits
    if term_after is not None and kill_after is not None and term_after > kill_after:
        raise ManifestError(f"config: kill_after is {kill_after:g}, less than term_after, {term_after:g}; raise it")
    return term_after, kill_after


def _launchable(name: Any, stanza: Any, registry: str | None) -> Launchable:
    launchable_id = check_id(name, "the id of a launchable")
    where = f"launchable {launchable_id}"
    if launchable_id in _TAKEN_NAMES:
        raise ManifestError(f"{where}: this name is taken in every pod home; choose another")
    fields = _Fields(stanza, where, _LAUNCHABLE_KEYS)
    kind = fields.required("launchable_type")
    if kind != "hoist":
        raise ManifestError(
            f"{where}: hook disabled: unsupported launchable type {shown(kind)}; only hoist can be a hook"
        )
    sha256 = fields.optional("sha256")
    if sha256 is not None and not _SHA256.match(sha256):
        raise ManifestError(f"{where}: sha256 must be 64 lower-case hexadecimal digits, not {shown(sha256)}")
    location, version = _location_and_version(launchable_id, fields, sha256, registry)
    return Launchable(
        id=launchable_id,
        location=location,
        version=version,
        sha256=sha256,
        entry_points=_entry_points(fields, where),
        env=_env(fields.optional("env") or {}, where),
        restart_timeout=_seconds(fields.optional("restart_timeout") or "10s", where),
        cgroup=fields.optional("cgroup") or {},
    )


def _location_and_version(
    launchable_id: str, fields: _Fields, sha256: str | None, registry: str | None
) -> tuple[str, str | None]:
    """Return where the artifact is, and its version, following p2: from ``version.id``, or from the file's name."""
    location = fields.optional("location")
    stanza = fields.optional("version")
    where = fields.where
    if location is not None and stanza is not None:
        raise ManifestError(f"{where}: has both location and version; give one of them")
    if location is not None:
        name = PurePosixPath(_checked_location(location, sha256, where).path).name
        if not name.endswith(".tar.gz"):
            raise ManifestError(
                f"{where}: location {shown(redacted(location))} does not end in .tar.gz; "
                "bin2pod puts the file's name in the place of {}"
            )
        stem, separator, version = name[: -len(".tar.gz")].rpartition("_")
        if not separator or not stem:
            return location, None
        return location, _check_version(version, where)
    if stanza is None:
        raise ManifestError(f"{where}: has neither location nor version; give the location of its artifact")
    version = _check_version(_Fields(stanza, f"{where}: version", _VERSION_KEYS).required("id"), where)
    if registry is None:
        raise ManifestError(f"{where}: has a version, which needs the manifest's artifact_registry, or give a location")
    location = f"{registry.rstrip('/')}/{launchable_id}_{version}.tar.gz"
    _checked_location(location, sha256, where)
    return location, version


def _check_version(version: str, where: str) -> str:
    if not _VERSION.match(version) or ".." in version:
        raise ManifestError(f"{where}: {shown(version)} is no version; use letters, digits, '.', '+', '~' and '-'")
    return version


def _checked_location(location: str, sha256: str | None, where: str) -> SplitResult:
    # An encoded NUL is the one character that no path on disk can hold.
    if any(ord(character) <= 32 or ord(character) == 127 for character in location) or "%00" in location:
        raise ManifestError(f"{where}: location {shown(redacted(location))} holds a blank or a control character")
    try:
        parts = urlsplit(location)
        if "@" in parts.netloc:
            raise ManifestError(
                f"{where}: the location holds a user name or password, which every host could read; remove it"
            )
        host, dummy = parts.hostname, parts.port
    except ValueError:
        raise ManifestError(f"{where}: the location is no URL; its host or port is malformed") from None
    if parts.scheme not in LOCATION_SCHEMES:
        raise ManifestError(
            f"{where}: location {shown(redacted(location))} must begin with {', '.join(LOCATION_SCHEMES)} and a colon"
        )
    if parts.scheme in ("http", "https") and not host:
        raise ManifestError(f"{where}: location {shown(redacted(location))} names no host")
    if parts.scheme == "http" and sha256 is None:
        raise ManifestError(
            f"{where}: an http location can be tampered with on its way; give sha256 as well, or use https"
        )
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        raise ManifestError(f"{where}: location {shown(redacted(location))} must be file:// and an absolute path")
    if parts.scheme == "store" and (parts.netloc or not parts.path or parts.path.startswith("/")):
        raise ManifestError(f"{where}: location {shown(redacted(location))} must be store: and a key of the store")
    return parts


def _entry_points(fields: _Fields, where: str) -> tuple[str, ...]:
    if "entry_point" in fields:
        raise ManifestError(f"{where}: entry_point is not supported; give a list called entry_points")
    entry_points = fields.optional("entry_points")
    if entry_points is None:
        return ("bin/launch",)
    if not entry_points:
        raise ManifestError(f"{where}: entry_points is empty; leave it out for bin/launch")
    for path in entry_points:
        if (
            not isinstance(path, str)
            or any(part in ("", ".", "..") for part in path.split("/"))
            or not path.isprintable()
        ):
            raise ManifestError(
                f"{where}: entry point {shown(path)} must be a relative path without '.', '..' and '//'"
            )
    if len(set(entry_points)) < len(entry_points):
        raise ManifestError(f"{where}: entry_points names a path twice; remove one")
    return tuple(entry_points)


def _env(env: Mapping[str, Any], where: str) -> dict[str, str]:
    result = {}
    for name, value in env.items():
        if not isinstance(name, str) or not _ENV_NAME.match(name):
            raise ManifestError(
                f"{where}: env name {shown(name)} must be letters, digits and '_', not beginning with a digit"
            )
        if name in LAYOUT_VARIABLES or name.startswith("HOOK"):
            raise ManifestError(
                f"{where}: env name {name} is set for every hook and would be lost; choose another name"
            )
        if not isinstance(value, (str, int, float)):
            raise ManifestError(f"{where}: env {name} must be a string or a number, not {_type_name(value)}")
        result[name] = str(value).lower() if isinstance(value, bool) else str(value)
        if result[name] != result[name].rstrip(" \t"):
            raise ManifestError(f"{where}: env {name} ends in a blank, which would be lost; take it off")
        if "\0" in result[name]:
            raise ManifestError(f"{where}: env {name} holds a NUL byte, which no variable can")
    return result


def _seconds(duration: str, where: str) -> int:
    match = _DURATION.match(duration)
    if not match:
        raise ManifestError(f"{where}: restart_timeout is {shown(duration)}; write it like 30s or 1m30s")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


class _Fields:
    """The keys of one mapping of a manifest, with their types checked as they are read."""

    def __init__(self, data: Any, where: str, known: Mapping[str, type]) -> None:
        if not isinstance(data, Mapping):
            raise ManifestError(f"{where} must be a mapping, not {_type_name(data)}")
        for key, value in data.items():
            if key not in known:
                raise ManifestError(f"{where} has the unknown key {shown(key)}; {_suggestion(key, known)}")
            if value is not None and not _is_a(value, known[key]):
                wanted = _TYPE_NAMES.get(known[key], "a mapping")
                raise ManifestError(f"{where}: {key} must be {wanted}, not {_type_name(value)}")
        self._data = data
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def required(self, key: str) -> Any:
        if self._data.get(key) is None:
            raise ManifestError(f"{self.where} has no {key}; add it")
        return self._data[key]

    def optional(self, key: str) -> Any:
        """Return the value of ``key``, or None where it is missing or null."""
        return self._data.get(key)


_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", list: "a list"}


def _is_a(value: Any, kind: type) -> bool:
    # For Python, True is a number.
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _type_name(value: Any) -> str:
    return "nothing" if value is None else _TYPE_NAMES.get(type(value), "a mapping")


def _suggestion(key: Any, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(key), known, n=1)
    return f"did you mean {close[0]}?" if close else f"remove it (known are {', '.join(known)})"


def _check_plain(value: Any, source: str, where: str, depth: int) -> None:
    """Refuse what YAML text could not have held: the counterpart of strict_yaml for data that others parsed."""
    if depth > strict_yaml.MAX_DEPTH:
        raise ManifestError(
            f"{source}: {where} is nested more than {strict_yaml.MAX_DEPTH} deep; a manifest may not be"
        )
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ManifestError(f"{source}: {where} has the key {shown(key)}, which is no string; quote it")
            _check_plain(key, source, where, depth + 1)
            _check_plain(item, source, f"{where}: {shown(key)}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_plain(item, source, where, depth + 1)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ManifestError(
                f"{source}: {where} has {shown(value)}, which is not UTF-8; encode it in base64"
            ) from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise ManifestError(f"{source}: {where} is {value}, which is no number that a manifest can hold")
    elif not (value is None or isinstance(value, (int, float, bool))):
        raise ManifestError(f"{source}: {where} is a {type(value).__name__}, which a manifest cannot hold; quote it")
