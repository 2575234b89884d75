"""The page in a real browser: no error, no violation of its policy, keyboard, dark, narrow, printed, large."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from report.pages import REPORTS, large

from bnguard._report.render import render_as

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="chromium and chromedriver are not installed")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
CASES = ("scan", "audit-ranks", "audit-range", "forecast")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for case in CASES:
        (folder / f"{case}.html").write_text(render_as("html", REPORTS[case]()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium) -> Iterator:
    yield chromium
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def emulate(browser, media: str = "screen", **features: str) -> None:
    wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": wanted})


def narrow(browser, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.parametrize("case", CASES)
def test_it_loads_without_a_complaint_or_a_request(browser, pages: Path, case: str) -> None:
    browser.get((pages / f"{case}.html").as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return getComputedStyle(document.querySelector('main')).maxWidth") == "1152px"


def test_the_policy_refuses_what_is_not_ours(browser, pages: Path, tmp_path: Path) -> None:
    page = (pages / "audit-ranks.html").read_text(encoding="utf-8")
    bad = page.replace("</body>", "<script>document.title = 'taken'</script><img src='none.png' alt=''></body>")
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    browser.get((tmp_path / "bad.html").as_uri())
    assert browser.title != "taken"
    assert sum("Content Security Policy" in entry["message"] for entry in browser.get_log("browser")) == 2


def test_lines_are_copied(browser, pages: Path) -> None:
    browser.get((pages / "forecast.html").as_uri())
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    buttons = browser.find_elements("css selector", ".ways button")
    assert buttons[0].accessible_name == "Copy: loader = bnguard.repair.merge_tail(loader)"
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", buttons[0])
    buttons[0].click()
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, e => done('refused: ' + e))"
    assert browser.execute_async_script(read) == "loader = bnguard.repair.merge_tail(loader)"
    assert buttons[0].text == "Copied"
    assert browser.find_element("id", "said").get_property("textContent") == "Copied."


def test_a_copy_without_a_clipboard_selects_the_line(browser, pages: Path) -> None:
    browser.get((pages / "forecast.html").as_uri())
    browser.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    browser.execute_script("document.querySelector('.ways button').click()")
    assert browser.execute_script("return String(getSelection())") == "loader = bnguard.repair.merge_tail(loader)"


def test_without_javascript_nothing_is_dead(browser, pages: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get((pages / "forecast.html").as_uri())
    assert browser.find_elements("tag name", "button") == []
    assert "loader = bnguard.repair.merge_tail(loader)" in browser.find_element("tag name", "main").text


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [320, 360, 768])
def test_a_phone_need_not_scroll_sideways(browser, pages: Path, case: str, width: int) -> None:
    narrow(browser, width)
    browser.get((pages / f"{case}.html").as_uri())
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [width, width]


def test_the_keyboard_is_enough(browser, pages: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get((pages / "scan.html").as_uri())
    skip = browser.switch_to.active_element
    skip.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the answer"
    assert browser.execute_script("return document.activeElement.getBoundingClientRect().top >= 0")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.id") == "main"
    details = browser.find_element("css selector", ".tree details")
    summary = details.find_element("tag name", "summary")
    before = details.get_property("open")
    browser.execute_script("arguments[0].focus({focusVisible: true})", summary)
    assert browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", summary) == "solid"
    summary.send_keys(Keys.SPACE)
    assert details.get_property("open") is not before
    summary.send_keys(Keys.ENTER)
    assert details.get_property("open") is before


def test_a_finding_opens_the_branch_of_its_layer(browser, pages: Path) -> None:
    browser.get((pages / "scan.html").as_uri())
    browser.execute_script("for (const d of document.querySelectorAll('.tree details')) d.open = false")
    link = browser.find_element("css selector", ".place a")
    target = link.get_attribute("href").partition("#")[2]
    browser.execute_script("arguments[0].click()", link)
    assert browser.find_element("id", target).is_displayed()


def test_it_follows_the_colours_of_the_reader(browser, pages: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        emulate(browser, prefers_color_scheme=scheme)
        browser.get((pages / "scan.html").as_uri())
        seen[scheme] = browser.execute_script(
            "const s = getComputedStyle(document.body), m = getComputedStyle(document.querySelector('.s.fails'));"
            "return [s.backgroundColor, s.color, m.stroke]"
        )
    assert not set(seen["light"]) & set(seen["dark"])


def test_all_that_is_folded_is_printed(browser, pages: Path) -> None:
    look = "return [...document.querySelectorAll('.explain p, .table td')].every(e => e.checkVisibility())"
    browser.get((pages / "scan.html").as_uri())
    assert not browser.execute_script(look)
    emulate(browser, media="print")
    assert browser.execute_script(look)
    assert not browser.find_element("css selector", "button").is_displayed()


@pytest.mark.slow
def test_ten_thousand_layers_load(browser, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text(render_as("html", large()), encoding="utf-8")
    browser.get(path.as_uri())
    height = "return document.documentElement.scrollHeight"
    assert browser.execute_script(height) > 100_000
    browser.execute_script("scrollTo({top: 100000, behavior: 'instant'})")
    assert browser.execute_script("return scrollY") > 50_000
    assert browser.get_log("browser") == []


def test_a_large_tree_has_a_filter(browser, tmp_path: Path) -> None:
    (tmp_path / "large.html").write_text(render_as("html", large(3000)), encoding="utf-8")
    browser.get((tmp_path / "large.html").as_uri())
    shown = "return [...document.querySelectorAll('.tree li:not(.branch)')].filter(x => x.checkVisibility()).length"
    opened = "return [...document.querySelectorAll('.tree details')].map(x => x.open)"
    before = browser.execute_script(opened)
    field = browser.find_element("css selector", ".filter input")
    assert field.accessible_name == "Filter layers of m.py:Net"
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", field)
    field.send_keys("stage2.block7 FAILS")
    assert browser.find_element("css selector", ".filter").text.endswith("20 of 3,000 layers")
    assert browser.execute_script(shown) == 20
    assert [e.text for e in browser.find_elements("css selector", ".tree summary .name") if e.text] == [
        "stage2", "block7.layers",
    ]  # fmt: skip
    field.clear()
    field.send_keys("no such layer")
    assert browser.execute_script(shown) == 0
    field.clear()
    field.send_keys(" ")
    assert browser.execute_script(shown) == 3000
    assert browser.execute_script(opened) == before


def test_a_small_tree_has_none(browser, pages: Path) -> None:
    browser.get((pages / "scan.html").as_uri())
    assert browser.find_elements("css selector", ".filter") == []
