"""The page in a browser: by mouse and keyboard, on wide and narrow screens, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from browser.driver import Browser

pytestmark = pytest.mark.browser

OVERVIEW = "#local-minilm-two-layer > .dt-container"
CONTRAST = 4.5  # of small text, Web Content Accessibility Guidelines 2.2, 1.4.3
COLOURS = """
const canvas = document.createElement("canvas").getContext("2d");
const luminance = (colour) => {
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
    const level = value / 255;
    return level <= 0.04045 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const style = (element) => getComputedStyle(element);
const paper = luminance(style(document.body).backgroundColor);
return arguments[0].map((selector) => {
  const ink = luminance(style(document.querySelector(selector)).color);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
});
"""


def rows(browser: Browser, table: str = OVERVIEW) -> list[str]:
    return [cell.text.split()[-1] for cell in browser.all(f"{table} tbody th")]


def test_the_page_loads_without_console_messages(browser: Browser, any_page: Path) -> None:
    browser.console()
    browser.open(any_page)
    assert browser.console() == []
    assert browser.all("figure")
    assert len(browser.all("figure > .chart-wrapper > svg, figure > svg")) == len(browser.all("figure"))


def test_the_page_fetches_nothing(browser: Browser, any_page: Path) -> None:
    browser.open(any_page)
    fetched = browser.script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [address for address in fetched if not address.startswith(("blob:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_the_width_of_the_screen(
    browser: Browser, any_page: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    browser.open(any_page, width, scheme)
    assert browser.script("return document.documentElement.scrollWidth") <= width
    assert max(figure.size["width"] for figure in browser.all("figure")) <= width
    browser.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == width
        assert len(image.convert("RGB").getcolors(maxcolors=2**24) or []) > 50


def test_a_header_sorts_by_keyboard(opened: Browser) -> None:
    first = rows(opened)
    header = f"{OVERVIEW} thead th:nth-child(2)"
    opened.script("arguments[0].focus()", opened.find(f"{header} .dt-column-order"))
    opened.press(Keys.ENTER)
    opened.wait(lambda: opened.find(header).get_attribute("aria-sort") == "descending")
    scores = [float(cell.text.split()[0]) for cell in opened.all(f"{OVERVIEW} tbody td:nth-child(2)")]
    assert scores == sorted(scores, reverse=True)
    assert rows(opened) != first
    opened.press(Keys.ENTER)
    opened.wait(lambda: opened.find(header).get_attribute("aria-sort") == "ascending")
    assert rows(opened)[0] == "head_only"
    opened.press(Keys.ENTER)
    opened.wait(lambda: opened.find(header).get_attribute("aria-sort") is None)
    assert rows(opened) == first


def test_the_filter_finds_methods_and_families(opened: Browser) -> None:
    box = opened.find(f"{OVERVIEW} input")
    box.send_keys("layer")
    assert rows(opened) == ["layer_norm"]
    box.clear()
    box.send_keys("sparse masks")
    assert rows(opened) == ["pafi", "sparse_random"]


def test_a_dialog_opens_and_closes_by_keyboard(opened: Browser) -> None:
    cell = opened.find(f"{OVERVIEW} button.cell")
    opened.script("arguments[0].focus()", cell)
    opened.press(Keys.ENTER)
    dialog = opened.find("dialog")
    assert dialog.is_displayed()
    assert "full on CoLA" in dialog.text
    assert "gluelamp train -m backbone=minilm method=full task=cola" in dialog.text
    assert "seed=0,1" in dialog.text
    opened.press(Keys.ESCAPE)
    assert not dialog.is_displayed()
    assert opened.driver.switch_to.active_element == cell


def test_the_other_methods_fade_when_one_is_highlighted(opened: Browser) -> None:
    symbols = ("#local-minilm-two-layer-stored-bytes-1 .mark-symbol path", "opacity")
    assert set(opened.attributes(*symbols)) == {"1"}
    opened.find("select").send_keys("pafi")
    opened.wait(lambda: sorted(opened.attributes(*symbols))[-2:] == ["0.1", "1"])


def test_charts_change_with_the_colour_scheme(opened: Browser) -> None:
    title = ("#local-minilm-two-layer-stored-bytes-1 .role-title-text text", "fill")
    light = opened.attributes(*title)
    opened.colours("dark")
    opened.wait(lambda: len(opened.attributes(*title)) == 1 and opened.attributes(*title) != light)


def test_every_control_has_a_name(opened: Browser) -> None:
    controls = opened.all("header a, main button, main select, main input, main summary, main [role=button]")
    seen = [control for control in controls if control.is_displayed()]
    assert len(seen) > 50
    assert [control.get_attribute("outerHTML") for control in seen if not control.accessible_name] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_required_contrast(browser: Browser, synthetic: Path, scheme: str) -> None:
    browser.open(synthetic, scheme=scheme)
    selectors = ["body", ".note", "nav a", "thead th", "tbody td", "button.cell", ".verdict", "footer"]
    ratios = browser.script(COLOURS, selectors)
    assert dict(zip(selectors, ratios, strict=True)) == {
        selector: pytest.approx(ratio)
        for selector, ratio in zip(selectors, ratios, strict=True)
        if ratio >= CONTRAST
    }
