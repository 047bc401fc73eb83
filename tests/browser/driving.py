"""Driving a headless Chromium, and what every page of the dashboard is held to."""

import shutil
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

__all__ = [
    "By", "Keys", "Select", "accessible", "browser", "check", "finish", "overflow", "quiet", "rows", "select", "text", "until",
]

passed = 0


def check(what, holds):
    global passed
    assert holds, what
    passed += 1


def browser(width, dark=False):
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Both by path: Selenium would otherwise look for newer ones on the network.
    options.binary_location = shutil.which("chromium")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_window_size(width, 1000)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600})
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    return driver


def until(what, look, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


def text(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector).text


def rows(driver):
    return driver.find_elements(By.CSS_SELECTOR, "#rows tbody tr")


def select(driver, name, value):
    Select(driver.find_element(By.NAME, name)).select_by_value(value)


def quiet(driver):
    complaints = [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    check(f"the console has no complaints: {complaints}", not complaints)


def accessible(driver, where, axe):
    driver.execute_script(open(axe, encoding="utf-8").read())
    found = driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
    found = [f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:120]}" for v in found]
    check(f"{where} has no accessibility violations: {found}", not found)


def overflow(driver):
    return driver.execute_script("return document.documentElement.scrollWidth > document.documentElement.clientWidth")


def finish():
    print(f"{passed} passed, 0 failed")
