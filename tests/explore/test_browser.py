"""The page in a real browser: searched, clicked, read. Skipped where there is no Chromium with its driver."""

import pytest

from tests.explore import chromium
from tests.explore.pages import NAMES, SEGMENTS, VIDEOS, YOUTUBE, write_predictions
from youtube8m_mod.explore import page
from youtube8m_mod.explore.contents import Truth
from youtube8m_mod.explore.outputs import read_outputs

pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.skipif(not chromium.found(), reason="there is no Chromium with its driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    contents = read_outputs(
        write_predictions(folder / "s.csv", SEGMENTS), write_predictions(folder / "v.csv", VIDEOS), title="Test videos"
    )
    contents.names = NAMES
    contents.videos[0].truth = Truth([11], [(11, 5, 10, True), (5, 0, 5, False)])
    page.write_page(str(folder / "page.html"), contents)
    return (folder / "page.html").as_uri()


@pytest.fixture(params=[1280, 400])
def opened(request, browser, address):
    """The browser with the page, at a width; what the page writes to the console fails the test."""
    chromium.resize(browser, request.param, 900)
    browser.get("about:blank")
    browser.get(address)
    wait(browser, lambda: browser.execute_script("return document.documentElement.dataset.drawn"))
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def wait(browser, condition):
    return WebDriverWait(browser, 300).until(lambda _: condition())


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def texts(browser, selector):
    """The visible text of what a selector finds, read at one moment: the page may be drawn anew between two calls."""
    script = "return [...document.querySelectorAll(arguments[0])].map(e => (e.innerText ?? e.textContent).trim())"
    return browser.execute_script(script, selector)


def text(browser, selector):
    return next(iter(texts(browser, selector)), "")


def point_at(browser, row, segment, rows, segments):
    """Moves the pointer to a cell of the chart."""
    chart = find(browser, "#chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    plot = find(browser, "#chart .nsewdrag").rect
    x = (segment + 0.5) / segments * plot["width"] - plot["width"] / 2
    y = (row + 0.6) / (rows + 0.2) * plot["height"] - plot["height"] / 2
    target = find(browser, "#chart .nsewdrag")
    ActionChains(browser, duration=0).move_to_element_with_offset(target, int(x) - 2, int(y) - 2).perform()
    ActionChains(browser, duration=0).move_by_offset(2, 2).perform()


def test_search_a_class_click_a_segment_read_its_value(opened):
    assert text(opened, "h2") == "SjJ3"
    find(opened, "#tab-classes").click()
    assert texts(opened, "#list a") == ["Cat <b>& dog</b></script>\nclass 7", "Guitar\nclass 5", "Vehicle\nclass 11"]
    find(opened, "#search").send_keys("vehi")
    assert texts(opened, "#list a") == ["Vehicle\nclass 11"] and text(opened, "#count") == "1 class"
    find(opened, "#list a").click()
    wait(opened, lambda: text(opened, "h2") == "Vehicle")
    assert texts(opened, "tbody td:nth-child(2)") == ["SjJ3, 10–15 s", "SjJ3, 5–10 s", "SjJ3, 0–5 s"]
    assert texts(opened, "tbody td:nth-child(4)") == ["not rated", "✓ true", "not rated"]
    find(opened, "tbody tr:nth-child(2) a").click()
    wait(opened, lambda: text(opened, "h2") == "SjJ3")
    assert f"Vehicle, 5–10 s (0:05): value (Eq. 1) {0.5**0.05 * 0.75**0.95:.4f}, ✓ true" in text(opened, "#reading")
    assert opened.execute_script("return document.querySelectorAll('#chart .shapelayer path').length") == 1

    point_at(opened, 0, 2, rows=2, segments=3)
    value = f"{0.5**0.05 * 0.9**0.95:.4f}"
    wait(opened, lambda: value in text(opened, "#reading"))
    assert wait(opened, lambda: value in "".join(texts(opened, "#chart .hoverlayer text")))
    point_at(opened, 1, 0, rows=2, segments=3)
    wait(opened, lambda: "Guitar, 0–5 s" in text(opened, "#reading"))
    assert "✗ rated as absent" in text(opened, "#reading")

    def chosen():
        """Points and clicks, again where need be: beside busy processes the chart has lost a click."""
        point_at(opened, 1, 0, rows=2, segments=3)
        ActionChains(opened, duration=0).click().perform()
        return opened.execute_script("return document.getElementById('chart').layout.shapes[0].x0") == 0

    assert wait(opened, chosen)


def test_keyboard_alone(opened):
    search = find(opened, "#search")
    search.send_keys("guitar", Keys.ARROW_DOWN)
    assert text(opened, ":focus").startswith("SjJ3")
    ActionChains(opened, duration=0).send_keys(Keys.ARROW_DOWN, Keys.ENTER).perform()
    wait(opened, lambda: text(opened, "h2") == YOUTUBE)
    chart = find(opened, "#chart")
    chart.send_keys(Keys.ARROW_RIGHT)
    wait(opened, lambda: "Guitar, 0–5 s" in text(opened, "#reading"))
    chart.send_keys(Keys.END, Keys.ARROW_DOWN)
    last = "Cat <b>& dog</b></script>, 5–10 s (0:05): value (Eq. 1) not known"
    wait(opened, lambda: last in text(opened, "#reading"))
    find(opened, "#tab-videos").send_keys(Keys.ARROW_RIGHT)
    assert find(opened, "#tab-classes").get_attribute("aria-selected") == "true"
    unnamed = """return [...document.querySelectorAll('a, button, input, select, [tabindex="0"]')]
        .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels || []).length)).length"""
    assert opened.execute_script(unnamed) == 0


def test_links_to_youtube_are_those_of_its_ids(opened):
    opened.execute_script(f"location.hash = '#video={YOUTUBE}&class=5&t=5'")
    wait(opened, lambda: text(opened, "h2") == YOUTUBE)
    addresses = "return [...document.querySelectorAll('main a[target]')].map(a => a.href)"
    links = opened.execute_script(addresses)
    assert links == [f"https://www.youtube.com/watch?v={YOUTUBE}&t={second}s" for second in (0, 5)]
    opened.execute_script("location.hash = '#video=SjJ3&class=11&t=5'")
    wait(opened, lambda: text(opened, "h2") == "SjJ3")
    assert opened.execute_script(addresses) == []
    opened.back()
    wait(opened, lambda: text(opened, "h2") == YOUTUBE)


def test_light_and_dark(opened):
    ground = "return getComputedStyle(document.body).backgroundColor"
    choose = "const s = document.getElementById('theme'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))"
    seen = {}
    for theme in ("dark", "light"):
        opened.execute_script(choose, theme)
        seen[theme] = (
            opened.execute_script(ground),
            opened.execute_script("return document.getElementById('chart').layout.paper_bgcolor"),
        )
    assert seen["dark"] == ("rgb(20, 24, 31)", "#14181f") and seen["light"] == ("rgb(255, 255, 255)", "#ffffff")
    opened.execute_script(choose, "auto")
    for scheme, expected in seen.items():
        opened.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        wait(opened, lambda expected=expected: opened.execute_script(ground) == expected[0])
