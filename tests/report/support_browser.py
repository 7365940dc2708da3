# Copyright: (c) 2026, The p2fleet.hooks authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Chromium without a window: it opens pages, and tells what they did."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException


@dataclass(frozen=True)
class Opened:
    """What became of a page."""

    #: The addresses of all that it asked for, itself included. What its policy blocked is in the console alone.
    requests: list[str]
    #: What the console says: errors, warnings and messages.
    console: list[str]
    #: The text of a dialog that it opened, which has been closed.
    dialog: str | None
    #: How wide its content and the window are, in CSS pixels.
    width: float
    window: float


class Browser:
    """One window, which opens one page after the other."""

    def __init__(self) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        assert chromium is not None, "chromium is missing; run .ci/setup all"
        assert driver is not None, "chromium-driver is missing; run .ci/setup all"
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        # Chromium has no sandbox for root, and /dev/shm of a container may be small.
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.set_capability("unhandledPromptBehavior", "ignore")
        self._driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    def close(self) -> None:
        self._driver.quit()

    def open(
        self, page: Path, *, width: int = 1280, scheme: str = "light", scripts: bool = True, media: str = ""
    ) -> Opened:
        """Open a file in a window of that width, for readers who prefer that colour scheme."""
        self._devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._devtools("Emulation.setEmulatedMedia", media=media, features=features)
        self._devtools("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._log("browser")
        self._log("performance")
        self._driver.get(page.as_uri())
        dialog = self._dialog()
        layout = self._devtools("Page.getLayoutMetrics")
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        blocked = {
            each["params"]["requestId"]
            for each in events
            if each["method"] == "Network.loadingFailed" and "blockedReason" in each["params"]
        }
        requests = [each["params"] for each in events if each["method"] == "Network.requestWillBeSent"]
        return Opened(
            requests=[each["request"]["url"] for each in requests if each["requestId"] not in blocked],
            console=[entry["message"] for entry in self._log("browser")],
            dialog=dialog,
            width=layout["cssContentSize"]["width"],
            window=layout["cssLayoutViewport"]["clientWidth"],
        )

    def ask(self, script: str) -> Any:
        """Return what ``script`` returns, which looks at the page."""
        return self._driver.execute_script(script)

    def pdf(self) -> bytes:
        """Print the page."""
        return base64.b64decode(self._devtools("Page.printToPDF", printBackground=True)["data"])

    def _devtools(self, command: str, **parameters: object) -> Any:
        return self._driver.execute_cdp_cmd(command, parameters)

    def _log(self, name: str) -> list[dict[str, Any]]:
        """Return what is new in a log."""
        entries: list[dict[str, Any]] = self._driver.get_log(name)  # type: ignore[no-untyped-call]
        return entries

    def _dialog(self) -> str | None:
        try:
            alert = self._driver.switch_to.alert
        except NoAlertPresentException:
            return None
        text = alert.text
        alert.accept()
        return text
