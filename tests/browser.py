"""Headless Chromium for tests of pages: what the page asks for, says on its console, or throws is kept."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def started() -> Iterator[Browser]:
    """A browser; skips, and says what to install, where there is none."""
    with sync_playwright() as driver:
        own = driver.chromium.executable_path
        found = next((path for name in NAMES if (path := shutil.which(name))), own if Path(own).exists() else None)
        if found is None:
            pytest.skip("NO BROWSER: pages are not driven. Install one: apt-get install chromium")
        # Chromium's sandbox refuses root, as which containers run tests; the pages are our own.
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, url, size=DESKTOP, allowed=()):
    """A server's page, when it is ready; nothing unforeseen may be on its console, nor be asked of another host."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page, troubles, own = context.new_page(), [], url.partition("?")[0]

    def refuse(dialog: Dialog) -> None:
        troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def look(asked: Request) -> None:
        if not asked.url.startswith(own):
            troubles.append(f"request: {asked.url}")

    page.on("console", lambda said: troubles.append(said.text))
    page.on("pageerror", lambda error: troubles.append(f"exception: {error}"))
    page.on("dialog", refuse)
    page.on("request", look)
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    assert [text for text in troubles if not any(words in text for words in allowed)] == []


class Visit:
    """A page opened from a file.

    Args:
        troubles: Console errors and warnings, exceptions, dialogs of the browser, and requests for anything but the
            file itself and data URIs.
    """

    def __init__(self, browser: Browser, path: Path, size: tuple[int, int] = DESKTOP):
        self.troubles: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.page.on("console", lambda said: self.troubles.append(f"console {said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))
        self._own = path.resolve().as_uri()
        self.page.on("dialog", self._refuse)
        self.page.on("request", self._look)
        self.page.goto(self._own)

    def _refuse(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _look(self, request: Request) -> None:
        if request.url.partition("#")[0] != self._own and not request.url.startswith("data:"):
            self.troubles.append(f"request: {request.url[:200]}")
