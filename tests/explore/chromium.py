"""A headless Chromium, driven by selenium."""

import shutil

_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()


def found():
    """(browser, its driver), paths; None where one is missing."""
    browsers = map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))
    browser, driver = next(filter(None, browsers), None), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def start(profile):
    """A browser with a new profile in a folder; it remembers what pages write to the console."""
    from selenium import webdriver

    browser, driver = found()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def resize(browser, width, height):
    """Gives the page so many pixels."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
