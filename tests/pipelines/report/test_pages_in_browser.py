"""The report in a browser: mouse and keyboard, wide and narrow screens, light and dark colors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.runs import Finished

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="requires the Debian packages chromium and chromium-driver"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def report(browser: Any, finished: Finished) -> Iterator[Any]:
    """Return the browser with the overview on a wide screen. A message in the log of the page fails the test."""
    browser.set_window_size(1280, 900)
    browser.get((finished.out / "report" / "index.html").as_uri())
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def texts(browser: Any, selector: str) -> list[str]:
    return [element.text for element in browser.find_elements("css selector", selector)]


def open_cloth(browser: Any) -> None:
    find(browser, 'a[href="categories/cloth.html"]').click()


def press(browser: Any, *keys: str) -> None:
    browser.switch_to.active_element.send_keys(*keys)


def test_the_overview_is_sorted_by_the_column_that_is_clicked(report: Any) -> None:
    assert texts(report, "tbody th") == ["a=b x%20y", "cloth"]
    find(report, "thead th:first-child button").click()
    assert texts(report, "tbody th") == ["cloth", "a=b x%20y"]
    heads = texts(report, "thead th")
    column = next(number for number, head in enumerate(heads) if head.startswith("d′")) + 1
    for order in (sorted, lambda values: sorted(values, reverse=True)):
        find(report, f"thead th:nth-child({column}) button").click()
        values = [float(text) for text in texts(report, f"tbody td:nth-child({column})")]
        assert values == order(values)


def test_links_and_keys_open_categories(report: Any) -> None:
    open_cloth(report)
    assert find(report, "h1").text == "cloth"
    press(report, "[")
    assert find(report, "h1").text == "a=b x%20y"
    press(report, "]")
    assert find(report, "h1").text == "cloth"


def counts(browser: Any) -> dict[str, tuple[int, int]]:
    """Return group → (flagged, not flagged)."""
    rows = browser.find_elements("css selector", "#flagged tbody tr")
    cells = {row.get_attribute("data-kind"): row.find_elements("css selector", "td") for row in rows}
    return {kind: (int(flagged.text), int(rest.text)) for kind, (flagged, rest, _) in cells.items()}


def test_moving_the_threshold_by_keyboard_updates_the_page(report: Any) -> None:
    open_cloth(report)
    before, line = counts(report), find(report, ".threshold").get_attribute("x1")
    assert sum(before["defective"]) == sum(before["good"]) + 0 == 5
    slider = find(report, "#threshold")
    slider.send_keys("\ue011")  # The key Home selects the lowest score.
    lowest = counts(report)
    assert sum(flagged for flagged, _ in lowest.values()) == sum(a + b for a, b in before.values()) - 1
    assert find(report, ".threshold").get_attribute("x1") != line
    slider.send_keys("\ue010")  # The key End selects the highest score.
    assert all(flagged == 0 for flagged, _ in counts(report).values())
    assert set(texts(report, ".card .verdict")) <= {"not flagged", ""}
    assert set(texts(report, "#images tbody td:last-child")) == {"not flagged"}
    find(report, "#reset").click()
    assert counts(report) == before


def test_images_are_enlarged_and_browsed_by_keyboard(report: Any) -> None:
    open_cloth(report)
    names = texts(report, ".gallery .name")
    report.execute_script("document.querySelector('.card').focus()")
    press(report, "\ue007")  # Enter
    assert texts(report, "dialog .name") == names[:1]
    press(report, "\ue014")  # arrow right
    assert texts(report, "dialog .name") == names[1:2]
    press(report, "\ue012", "\ue012")  # arrow left
    assert texts(report, "dialog .name") == names[-1:]
    press(report, "\ue00c")  # Escape
    assert not find(report, "dialog").is_displayed()
    assert report.switch_to.active_element.find_element("css selector", ".name").text == names[-1]


def test_every_image_is_loaded_with_its_map_and_its_outlines(report: Any) -> None:
    open_cloth(report)
    report.execute_script("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    loaded = "return [...document.images].filter((image) => image.getAttribute('src')).every((image) => image.complete)"
    for _ in range(100):
        if report.execute_script(loaded):
            break
    widths = report.execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert len(widths) >= 10
    assert min(widths) > 0
    assert len(report.find_elements("css selector", ".marks .star")) == len(texts(report, ".gallery .card"))
    assert report.find_elements("css selector", ".marks .truth")
    for key, selector in (("m", ".picture .map"), ("o", ".marks")):
        assert find(report, selector).is_displayed()
        report.find_element("css selector", "body").send_keys(key)
        assert not find(report, selector).is_displayed()


def test_the_table_of_images_is_filtered_by_path(report: Any) -> None:
    open_cloth(report)
    find(report, "#paths").send_keys("blot/")
    assert len(texts(report, "#images tbody tr")) == 5
    assert all("/blot/" in path for path in texts(report, "#images tbody th"))


@pytest.mark.parametrize("page", ["index.html", "categories/cloth.html"])
def test_pages_fit_the_screen_of_a_phone(browser: Any, finished: Finished, page: str) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get((finished.out / "report" / page).as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark_colors(report: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    open_cloth(report)
    style = "return [getComputedStyle(arguments[0]).color, getComputedStyle(document.body).backgroundColor]"
    for selector in ("h1", ".facts", "nav a", ".nearest", ".verdict"):
        text, background = (luminance(color) for color in report.execute_script(style, find(report, selector)))
        assert (max(text, background) + 0.05) / (min(text, background) + 0.05) >= 4.5, selector  # WCAG 2.2, level AA
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def luminance(color: str) -> float:
    """Return the relative luminance, as WCAG defines it, of a CSS color such as rgb(1, 2, 3)."""
    channels = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_names_that_look_like_a_script_are_not_executed(browser: Any, tmp_path: Path) -> None:
    from pipelines.report.pages import render_page

    evil = '</script><script>document.title="run"</script>'
    run_info = {
        "status": "complete",
        "started_at": "2026-01-01T00:00",
        "seconds": 1.0,
        "run_id": evil,
        "warnings": [evil],
        "config": {"image_size": 96},
    }
    values = {
        "rows": [],
        "failed": {evil: evil},
        "unreadable": [],
        "labeled": False,
        "night": False,
        "members": [evil],
    }
    text = render_page("index.html", root=".", title="Run", run_info=run_info, **values)
    (tmp_path / "index.html").write_text(text)
    browser.get((tmp_path / "index.html").as_uri())
    assert browser.title == "Run · ReConPatch"
