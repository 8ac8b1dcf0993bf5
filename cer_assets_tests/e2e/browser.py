"""Debian's Chromium, headless: open a page, wait until it shows what it should, take its picture."""

import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
)


def open_page(url: str, picture: Path, words: list[str], size: tuple[int, int] = (1680, 1050)) -> str:
    """The text of a page once all the words are on it; a picture of it is left behind."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        try:
            driver.get(url)
            waiting = WebDriverWait(driver, 60)
            waiting.until(lambda d: all(word in d.find_element(By.TAG_NAME, "body").text for word in words))
            time.sleep(2)  # the graph is laid out
            picture.parent.mkdir(parents=True, exist_ok=True)
            driver.save_screenshot(str(picture))
            return driver.find_element(By.TAG_NAME, "body").text
        finally:
            driver.quit()
