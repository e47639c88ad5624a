"""A browser for tests, by Selenium."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 60


class Browser:
    """A window on a page.

    Args:
        driver: Selenium's.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1280, scheme: str = "light") -> None:
        """Open a page, and wait until its script is finished."""
        window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
        self.colours(scheme)
        self.driver.get(page.as_uri())
        self.wait(lambda: self.script("return document.documentElement.dataset.ready") is not None)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.05).until(lambda _: condition())

    def colours(self, scheme: str) -> None:
        """Set the preferred colour scheme, light or dark."""
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)

    def script(self, source: str, *arguments: object) -> Any:
        """Return what a script in the page returns."""
        return self.driver.execute_script(source, *arguments)

    def find(self, selector: str) -> Any:
        """Return the first element of a selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """Return all elements of a selector."""
        return self.driver.find_elements("css selector", selector)

    def attributes(self, selector: str, name: str) -> list[str | None]:
        """Return an attribute of all elements of a selector, in one step: charts may replace the elements."""
        source = (
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.getAttribute(arguments[1]))"
        )
        return self.script(source, selector, name)

    def press(self, *keys: str) -> None:
        """Press keys on the element with the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def console(self) -> list[str]:
        """Return the messages of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def screenshot(self, path: Path) -> None:
        """Save the visible part of the page as PNG."""
        found = self.driver.execute_cdp_cmd("Page.captureScreenshot", {})
        path.write_bytes(base64.b64decode(found["data"]))
