# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scheduling: putting hooks' manifests into the store and taking them out, by compare-and-set."""

from __future__ import annotations

import copy
import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from .errors import ArtifactError, HookError, ManifestError, StoreConflict, StoreDenied, reason_of
from .fetch import ARTIFACT_PREFIX
from .hook_key import PREVIOUS_PREFIX, SCHEDULE_PREFIX, HookKey
from .manifest import PodManifest, from_mapping, parse
from .rollout_record import ROLLOUT_PREFIX
from .store import ABSENT, Change, Entry, Store


@dataclass
class SchedulePlan:
    """What has to change in the store, from one read of it."""

    #: What belongs together is written together, or not at all.
    groups: list[list[Change]] = field(default_factory=list)
    #: Key to content of the artifacts that the changed manifests need and that have to be uploaded before.
    uploads: dict[str, bytes] = field(default_factory=dict)
    #: Key to the text that is shown of it as it is, and as it will be; of the keys that change.
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    #: The keys of what :func:`apply` has written so far.
    written: set[str] = field(default_factory=set)
    #: What people should know of it, one sentence each.
    warnings: list[str] = field(default_factory=list)


def plan(
    store: Store,
    wanted: Mapping[HookKey, PodManifest | None],
    *,
    exclusive: bool = False,
    upload_artifacts: bool = False,
    check: bool = False,
) -> SchedulePlan:
    """Compare what the store schedules with ``wanted``, reading it once.

    Args:
        wanted: each hook's manifest, or None for a hook that is not to be scheduled.
        exclusive: also remove every hook that ``wanted`` does not name.
        upload_artifacts: move artifacts with a ``file`` location into the store, and have the manifests say so.
        check: the plan is only to be shown, so what a manifest gives the digest of may not have been built yet.

    Raises:
        ManifestError: a manifest's id is not the hook's, or ``exclusive`` would remove everything.
        ArtifactError: an artifact to upload is missing, is not what its manifest says, or is too large for the store.
        StoreError: the store could not be read.
    """
    if exclusive and not any(wanted.values()):
        raise ManifestError(
            "no hook is given, and exclusive would remove all that are scheduled; name those in hooks instead"
        )
    result = SchedulePlan()
    texts: dict[str, str | None] = {}
    artifacts: dict[str, dict[str, bytes]] = {}
    for key, manifest in wanted.items():
        if manifest is not None and manifest.id != key.id:
            raise ManifestError(f"{key}: the manifest has the id {manifest.id}; it must be the hook's")
        scheduled_manifest = manifest
        if manifest is not None and upload_artifacts:
            scheduled_manifest, artifacts[key.store_key] = with_artifacts_in(store, manifest, key, check)
        texts[key.store_key] = scheduled_manifest.text if scheduled_manifest else None
    scheduled = store.read(SCHEDULE_PREFIX)
    if exclusive:
        texts.update({name: None for name in scheduled if _is_of_a_hook_not_in(wanted, name)})
    changed = {name: text for name, text in texts.items() if _differs(scheduled.get(name), text)}
    previous = store.read(PREVIOUS_PREFIX) if not changed.keys().isdisjoint(scheduled) else {}
    under_way = _rollouts(store) if changed else {}
    for name, text in changed.items():
        _add(result, name, scheduled.get(name), text, previous)
        if ROLLOUT_PREFIX + name[len(SCHEDULE_PREFIX) :] in under_way:
            result.warnings.append(
                f"{name[len(SCHEDULE_PREFIX) :]}: a rollout of it is under way, which can be promoted only over what "
                "was scheduled when it was started; abort it, and start it again"
            )
        result.uploads.update(missing_in(store, artifacts.get(name, {})))
    return result


def apply(store: Store, schedule: SchedulePlan) -> None:
    """Carry out ``schedule``: the artifacts first, so that no scheduled manifest ever lacks its own.

    Raises:
        StoreConflict: somebody else changed one of the keys since the plan was made.
        StoreError: the store could not be written. Both say how much had been written by then.
    """
    batches = store.batches(schedule.groups)
    if batches:
        _make_folder_of_rollouts(store)
    for key, content in schedule.uploads.items():
        try:
            store.commit([Change(key, content, ABSENT)])
            schedule.written.add(key)
        except StoreConflict:
            continue  # somebody else uploaded the same in the meantime
    written = 0
    for batch in batches:
        try:
            store.commit(batch)
        except HookError as error:
            if not written:
                raise
            total = len(schedule.before.keys() | schedule.after.keys())
            raise type(error)(f"{error}; {written} of {total} changes were written before") from None
        keys = {change.key for change in batch} & (schedule.before.keys() | schedule.after.keys())
        written += len(keys)
        schedule.written |= keys


def _rollouts(store: Store) -> Mapping[str, Entry]:
    try:
        return store.read(ROLLOUT_PREFIX)
    except StoreDenied:  # who does not steer rollouts need not have that right
        return {}


def _make_folder_of_rollouts(store: Store) -> None:
    """Have listeners wait for a first rollout, rather than ask for it again and again."""
    with suppress(StoreDenied):  # who does not steer rollouts need not have that right
        store.make_folder(ROLLOUT_PREFIX)


def kept(previous_key: str, replaced: Entry | None, previous: Entry | None) -> list[Change]:
    """Return what has to be written when the manifest of a hook is replaced, so that it can be put back.

    Args:
        previous_key: where it goes, :attr:`HookKey.previous_key`.
        replaced: what is scheduled now.
        previous: what is at ``previous_key`` now.
    """
    return [Change(previous_key, replaced.value, index_of(previous))] if replaced else []


def pod_of(entry: Entry, key: HookKey) -> PodManifest:
    """Return what ``entry``, the value of the key of ``key``, schedules.

    Raises:
        ManifestError: it is no valid manifest.
    """
    return parse(entry.value, f"key {key.store_key}")


def sha_of(entry: Entry | None, key: HookKey) -> str | None:
    """Return the SHA of the manifest that is scheduled; None where none is.

    Raises:
        ManifestError: it is no valid manifest.
    """
    return pod_of(entry, key).sha if entry else None


def index_of(entry: Entry | None) -> int:
    """Return the index that a change of a key needs which holds ``entry`` now."""
    return entry.index if entry else ABSENT


def _add(
    result: SchedulePlan, store_key: str, entry: Entry | None, text: str | None, previous: Mapping[str, Entry]
) -> None:
    value = None if text is None else text.encode()
    previous_key = PREVIOUS_PREFIX + store_key[len(SCHEDULE_PREFIX) :]
    change = Change(store_key, value, index_of(entry))
    result.groups.append([change, *kept(previous_key, entry, previous.get(previous_key))])
    if entry:
        result.before[store_key] = entry.value.decode("utf-8", "replace")
    if text is not None:
        result.after[store_key] = text


def _is_of_a_hook_not_in(wanted: Mapping[HookKey, PodManifest | None], store_key: str) -> bool:
    try:
        return HookKey.from_store_key(store_key) not in wanted
    except ManifestError:  # a README in a git checkout, say
        return False


def _differs(entry: Entry | None, text: str | None) -> bool:
    if entry is None or text is None:
        return (entry is None) != (text is None)
    return entry.value != text.encode()


def missing_in(store: Store, artifacts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return those of ``artifacts`` that ``store`` lacks.

    The key of an artifact holds its digest, so one that is there already is the same.

    Raises:
        StoreError: the store could not be read.
    """
    return {name: artifacts[name] for name in artifacts if store.get(name) is None}


def with_artifacts_in(
    store: Store, manifest: PodManifest, key: HookKey, check: bool
) -> tuple[PodManifest, dict[str, bytes]]:
    """Return ``manifest`` with its ``file`` locations moved into ``store``, and each artifact's key and content.

    Args:
        check: see :func:`plan`.

    Raises:
        ArtifactError: an artifact is missing, is not what the manifest says, or is too large for the store.
    """
    data = copy.deepcopy(dict(manifest.data))
    artifacts = {}
    for launchable in manifest.launchables:
        parts = urlsplit(launchable.location)
        if parts.scheme != "file":
            continue
        path = os.fsdecode(unquote_to_bytes(parts.path))
        if check and launchable.sha256 is not None and not os.path.exists(path):
            content, digest = b"", launchable.sha256
        else:
            content = _read_artifact(path, store)
            digest = hashlib.sha256(content).hexdigest()
        if launchable.sha256 not in (None, digest):
            raise ArtifactError(
                f"{path}: has the SHA-256 {digest}, but the manifest of {key} says {launchable.sha256}; "
                "build both again"
            )
        artifact_key = f"{ARTIFACT_PREFIX}{digest}/{path.rpartition('/')[2]}"
        artifacts[artifact_key] = content
        data["launchables"][launchable.id].update(location=f"store:{artifact_key}", sha256=digest)
    return (from_mapping(data, str(key)), artifacts) if artifacts else (manifest, {})


def _read_artifact(path: str, store: Store) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError(f"{path}: is no regular file; give the location of a .tar.gz")
        if store.max_value_bytes is not None and status.st_size > store.max_value_bytes:
            raise ArtifactError(
                f"{path}: has {status.st_size} bytes, but {store.name} takes no more than {store.max_value_bytes}; "
                "publish it on a web server, build it for that location, and schedule without upload_artifacts"
            )
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"{path}: is missing; build it with bin2pod on this host before it can be uploaded"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path}: {reason_of(error)}; the artifact to upload must be readable here") from None
