"""Chromium, without a window, and pages to open in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from browser.driver import Browser
from gluelamp.package_data import CONFIGS
from gluelamp.reporting.results import Results
from gluelamp.reporting.site.page import gather, render
from synthetic_results import write_results

COMMITTED = CONFIGS.parent / "results" / "reference" / "report.html"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by Selenium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium and its driver are not installed; as root, `make test-browser` installs them")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield Browser(session)
    session.quit()


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a few methods, with missing runs, a failure and two sources of data."""
    root = tmp_path_factory.mktemp("results")
    write_results(root, methods=10, seeds=2)
    page = root / "report.html"
    page.write_text(render(gather(Results(root, root / "published"))), encoding="utf-8")
    return page


@pytest.fixture(params=["synthetic", "committed"])
def any_page(request: pytest.FixtureRequest) -> Path:
    """The synthetic page and, if it exists, that of the committed records."""
    if request.param == "committed" and not COMMITTED.is_file():
        pytest.skip("results/reference/report.html does not exist; `make reference` writes it")
    return COMMITTED if request.param == "committed" else request.getfixturevalue("synthetic")


@pytest.fixture
def opened(browser: Browser, synthetic: Path) -> Callable[..., Browser]:
    """The browser with the synthetic page open."""
    browser.open(synthetic)
    return browser
