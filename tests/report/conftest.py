# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from support_browser import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with closing(Browser()) as browser:
        yield browser
