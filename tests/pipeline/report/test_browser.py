"""The report page in a real browser: it loads nothing from outside, says nothing on the console, and fits a phone."""

import json
import shutil

import pytest

from pipeline.report.html import render
from tests.conftest import skip_without
from tests.pipeline.report.records import RECORD
from tests.pipeline.schedule.nights import BUDGET, Nights


@pytest.fixture(scope="module")
def browser():
    if not (shutil.which("chromedriver") and shutil.which("chromium")):
        skip_without("chromium and its driver: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def night_after_night(folder) -> str:
    """The status page of a root with everything that can be on it."""
    nights = Nights(folder)
    nights.pushes(1, [1])
    nights.fails(2, "every record must decode. Refused: " + "train/" + "x" * 80)
    nights.refuses(3, BUDGET, "budget")
    nights.arrives(4, whole=False)
    nights.arrives(5, marked=False)
    return nights.page()


@pytest.fixture(params=["report", "status"])
def page(browser, tmp_path, request):
    path = tmp_path / f"{request.param}.html"
    path.write_text(render(RECORD) if request.param == "report" else night_after_night(tmp_path))
    browser.get_log("performance")
    browser.get(path.as_uri())
    return browser


def test_it_loads_nothing_but_itself_and_the_console_stays_empty(page):
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert requests == [page.current_url]
    assert page.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 1200])
def test_it_does_not_scroll_sideways(page, width):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.execute_script("return window.innerWidth") == width


@pytest.mark.parametrize("page", ["report"], indirect=True)
def test_the_picture_and_the_table_say_the_same(page):
    labels = {t.text for t in page.find_elements("css selector", "figure svg text") if t.text}
    assert {"parent", "int8"} <= labels
    rows = [row.text for row in page.find_elements("css selector", "tr.pushed")]
    assert len(rows) == 1 and rows[0].startswith("int8 84.12 %") and "pass, pushed" in rows[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(page, scheme):
    """Contrast of text against what is behind it, at least 4.5 (WCAG 2.1, 1.4.3)."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    worst = page.execute_script("""
        const canvas = document.createElement('canvas').getContext('2d');
        const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data]; };
        const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const light = c => { const [r, g, b] = c.map(v => linear(v / 255));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] / 255 + under[i] * (1 - top[3] / 255));
        const painted = e => rgba(getComputedStyle(e).backgroundColor);
        const behind = e => e ? over(painted(e), behind(e.parentElement)) : [255, 255, 255];
        let worst = [99, ''];
        for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || !e.checkVisibility()) continue;
            const style = getComputedStyle(e), svg = e instanceof SVGElement;
            const back = behind(e), front = over(rgba(svg ? style.fill : style.color), back);
            const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
            const ratio = (a + 0.05) / (b + 0.05);
            if (ratio < worst[0]) worst = [ratio, e.tagName + ': ' + e.textContent.trim().slice(0, 40)];
        }
        return worst;""")
    assert worst[0] >= 4.5, worst
