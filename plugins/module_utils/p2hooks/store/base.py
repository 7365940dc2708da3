# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every store can do: read keys under a prefix, and change keys by compare-and-set."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import StoreConflict, StoreError, shown

#: The index of a key that does not exist, as in Consul's check-and-set.
ABSENT = 0


@dataclass(frozen=True)
class Entry:
    """A key's value, and the index by which a later change proves that it still holds."""

    value: bytes
    index: int


@dataclass(frozen=True)
class Change:
    """One key to write (``value`` given) or to delete (``value`` is None), if its index is still ``index``.

    To delete a key that is gone already is no conflict, unless ``must_exist``. So to delete one with the index
    :data:`ABSENT` makes sure that there still is no such key.
    """

    key: str
    value: bytes | None
    index: int
    must_exist: bool = False


@dataclass(frozen=True)
class Snapshot:
    """What :meth:`Store.wait` saw."""

    #: All keys under the prefix, sorted.
    entries: dict[str, Entry]
    #: Grows with each change under the prefix, and is at least 1. One that is lower than before says that the store was
    #: emptied or put back to an earlier state, or, in Consul, that it has forgotten a deletion.
    index: int


class Store(abc.ABC):
    """The keys that docs/stores.md describes, wherever they are kept.

    A key is one or more non-empty parts joined by ``/``; each part is printable and does not begin with a dot.
    """

    #: How messages call this store, such as ``Consul at http://127.0.0.1:8500``; never holds a secret.
    name: str
    #: What looks as if there was nothing under a prefix, which takes the place of ``{}``; for messages.
    lookalike_of_empty: str
    #: The largest value in bytes, or None where there is no limit.
    max_value_bytes: int | None = None

    @abc.abstractmethod
    def read(self, prefix: str) -> dict[str, Entry]:
        """Return all keys that begin with ``prefix``, in one consistent read, sorted by key.

        An empty answer means that there is no such key, as far as the store lets us see.

        Raises:
            StoreError: or one of its kinds, naming the store.
        """

    @abc.abstractmethod
    def wait(self, prefix: str, index: int, seconds: float) -> Snapshot:
        """Return what :meth:`read` does as soon as it may differ from what it was at ``index``, or after ``seconds``.

        Args:
            index: that of the last snapshot of the same store, or 0 to have an answer at once.

        Raises:
            StoreDenied: among others, when the store says that the token may not read everything under ``prefix``.
            StoreError: or one of its kinds, naming the store.
        """

    @abc.abstractmethod
    def get(self, key: str) -> Entry | None:
        """Return one key, or None where it does not exist.

        Raises:
            StoreError: or one of its kinds, naming the store.
        """

    @abc.abstractmethod
    def commit(self, changes: Sequence[Change]) -> None:
        """Apply one of the batches of :meth:`batches`, all or nothing.

        Raises:
            StoreConflict: a key no longer has the index it was read with; names that key.
            StoreError: or one of its kinds, naming the store.
        """

    def make_folder(self, prefix: str) -> None:  # noqa: B027 (most stores need none)
        """Have :meth:`wait` wait for changes under ``prefix`` alone, also as long as there is no key.

        Args:
            prefix: it ends in a slash.

        Raises:
            StoreDenied: among others, when the token may not read or write there.
            StoreError: or one of its kinds, naming the store.
        """

    def batches(self, groups: Iterable[Sequence[Change]]) -> list[list[Change]]:
        """Put ``groups`` of changes into as few transactions as this store allows, each group into one of them.

        Without limits, all are one transaction.

        Raises:
            StoreError: one of the changes can never be made: its key breaks the rules, or its value is too large; or a
                group is too large for a transaction.
        """
        changes = [change for group in groups for change in group]
        self._check_changes(changes)
        return [changes] if changes else []

    def _check_key(self, key: str) -> None:
        if not key.isprintable() or any(not part or part.startswith(".") for part in key.split("/")):
            raise StoreError(
                f"{self.name}: {shown(key)} cannot be a key; give printable parts joined by '/', "
                "none of them empty or beginning with a dot"
            )

    def _check_prefix(self, prefix: str) -> None:
        if prefix:
            self._check_key(prefix.removesuffix("/"))

    def _check_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._check_key(change.key)
            size = len(change.value or b"")
            if self.max_value_bytes is not None and size > self.max_value_bytes:
                raise StoreError(
                    f"{self.name}: the value of {shown(change.key)} has {size} bytes, and the limit is "
                    f"{self.max_value_bytes}; make it smaller, or serve it from a file or web server"
                )

    def _conflict(self, key: str) -> StoreConflict:
        return StoreConflict(
            f"{self.name}: somebody else changed {shown(key)} since it was read; "
            "nothing of this transaction was written, so run this again"
        )
