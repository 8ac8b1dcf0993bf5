"""Debian's Chromium, headless: open a page, wait until it shows what it should, take its picture."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
)
ENDLESS = "return document.getAnimations().some(one => one.effect.getTiming().iterations === Infinity)"


class Browser:
    """One window; pages are opened one after the other."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, url: str, picture: Path, words: Sequence[str]) -> str:
        """The text of a page once all the words are on it; a picture of it is left behind."""
        self._driver.get(url)
        waiting = WebDriverWait(self._driver, 90)
        waiting.until(lambda _: all(word in self._text() for word in words), f"{url} does not show {words}")
        self._comes_to_rest()
        picture.parent.mkdir(parents=True, exist_ok=True)
        self._driver.save_screenshot(str(picture))
        return self._text()

    def _comes_to_rest(self, seconds: float = 15) -> None:
        """Wait until graphs are laid out and nothing turns; some pages count seconds and never rest."""
        end, before = time.monotonic() + seconds, ""
        while ((now := self._text()) != before or self._turns()) and time.monotonic() < end:
            before = now
            time.sleep(2)

    def _turns(self) -> bool:
        """Whether something on the page is animated without end, as what stands for a page being loaded is."""
        return self._driver.execute_script(ENDLESS)

    def _text(self) -> str:
        try:
            return self._driver.find_element(By.TAG_NAME, "body").text
        except StaleElementReferenceException:  # the page was replaced meanwhile
            return ""


@contextmanager
def browser(size: tuple[int, int] = (1680, 1050)) -> Iterator[Browser]:
    """A window of its own profile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        # The size of the page: a window's is more than that, headless too.
        viewport = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", viewport)
        try:
            yield Browser(driver)
        finally:
            driver.quit()
