# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can become of a hook; see docs/events.md."""

from __future__ import annotations

#: It is being executed. Only what asks for the present knows this one; a record in the audit never has it.
STARTED = "started"
SUCCEEDED, FAILED, TIMED_OUT, SKIPPED = "succeeded", "failed", "timed_out", "skipped"
#: The run died while it was being executed.
INTERRUPTED = "interrupted"
#: How one that timed out came to its end, in the record that closes it.
TERMINATED, KILLED = "terminated", "killed"
#: Records with these are no runs of their own.
CLOSING = (TERMINATED, KILLED)

OUTCOMES = (STARTED, SUCCEEDED, FAILED, TIMED_OUT, TERMINATED, KILLED, SKIPPED, INTERRUPTED)
