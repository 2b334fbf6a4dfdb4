"""A real browser for tests and benchmarks: the chromium of the system, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXECUTABLE = (
    os.environ.get("EVOLVER_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)
"""Where it is; None where there is none."""
MISSING = "no chromium on this machine; install it, or name one with EVOLVER_TEST_CHROMIUM"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
"""Containers have no name spaces for its sandbox, and little shared memory."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def first_paint_ms(page: Any, address: str) -> float:
    """Open a page; when its first content was painted, from the start of the navigation."""
    page.goto(address)
    return float(
        page.evaluate(
            "new Promise(done => new PerformanceObserver(list => {"
            "  const [painted] = list.getEntriesByName('first-contentful-paint');"
            "  if (painted) done(painted.startTime);"
            "}).observe({type: 'paint', buffered: true}))"
        )
    )
