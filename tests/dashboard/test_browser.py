"""The pages in a real browser: charts, updates, narrow screens, the keyboard; nothing from other hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from evolver.scheduler import Scheduler
from evolver.store import claims
from evolver.store.db import Database
from tests import factories
from tests.acceptance.helpers import create, search
from tests.acceptance.processes import wait_until
from tests.chromium import EXECUTABLE, MISSING, chromium

pytestmark = [
    pytest.mark.skipif(EXECUTABLE is None, reason=MISSING),
    pytest.mark.xdist_group("chromium"),
]
VIEWS = (
    "/", "/experiment/1", "/experiment/1/front", "/experiment/1/lineage", "/genome/12", "/genome/3",
    "/genome/12/lineage", "/compare?a=1&b=2", "/compare/genomes?a=1&b=12",
)  # fmt: skip
DRAWN = (
    "[...document.querySelectorAll('[data-chart]')].every(one => one.drawn || one.querySelector('.empty'))"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def until(page: Any, expression: str) -> None:
    """Wait until it is true. (``wait_for_function`` needs eval, which the security policy forbids.)"""
    wait_until(lambda: bool(page.evaluate(expression)), seconds=30, what=expression)


@dataclass
class Visit:
    """A page of a browser on one dashboard, and what went wrong on it."""

    page: Any
    address: str
    wrong: list[str] = field(default_factory=list)

    def to(self, path: str, *, drawn: bool = True) -> Any:
        """Open a page, and wait until its charts are drawn."""
        self.page.goto(self.address + path)
        if drawn:
            until(self.page, DRAWN)
        return self.page


@pytest.fixture
def visit(browser: Any, sqlite_url: str, serve: Callable[[str], str]) -> Iterator[Callable[..., Visit]]:
    """Opens a browser of its own on the test's database; nothing may go wrong in it."""
    address = serve(sqlite_url)
    contexts, visits = [], []

    def start(**settings: Any) -> Visit:
        context = browser.new_context(**settings)
        contexts.append(context)
        made = Visit(context.new_page(), address)
        visits.append(made)
        page = made.page
        page.set_default_timeout(30_000)
        page.on("console", lambda told: made.wrong.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: made.wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(address) else made.wrong.append(asked.url),
        )
        return made

    yield start
    for context in contexts:
        context.close()
    for made in visits:
        assert made.wrong == []


@pytest.fixture
def found(sqlite_url: str) -> Database:
    """Two searches that ran to their ends, the first with a failure."""
    database = Database.open(sqlite_url)
    for name in ("demo", "other"):
        create(database, name)
        search(database, name, failing=(3,))
    database.dispose()
    return database


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_drawn_without_complaint(
    found: Database, visit: Callable[..., Visit], scheme: str
) -> None:
    seen = visit(color_scheme=scheme)
    for path in VIEWS:
        page = seen.to(path)
        assert page.locator("h1").count() == 1
        charts = page.locator("[data-chart]").count()
        assert page.locator("[data-chart] .main-svg").count() >= charts, path
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", back)[0]) < 60) == (scheme == "dark")


def test_a_narrow_screen_needs_no_sideways_scrolling(found: Database, visit: Callable[..., Visit]) -> None:
    seen = visit(viewport={"width": 390, "height": 844})
    for path in VIEWS:
        page = seen.to(path)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider == 0, path


def test_a_page_follows_a_search_while_it_runs(
    database_of_a_search: Database, visit: Callable[..., Visit]
) -> None:
    seen = visit()
    page = seen.to("/")
    assert "0 of 12 genomes" in page.locator("main").inner_text()
    assert page.locator(".empty").count() == 2
    link = page.get_by_role("link", name="search", exact=True)
    link.focus()
    factories.run_to_the_end(database_of_a_search)
    until(page, "document.querySelector('main').innerText.includes('12 of 12 genomes')")
    until(page, "document.querySelectorAll('[data-chart] .main-svg').length > 0")
    assert page.locator(".state-finished").count() == 1
    assert page.evaluate("document.activeElement.textContent") == "search"  # the focus stays where it was
    assert "100 % evaluated" not in page.locator("[role=status]").inner_text()  # it runs no more


@pytest.fixture
def database_of_a_search(sqlite_url: str) -> Iterator[Database]:
    """A search that has begun, and has no result yet."""
    database = Database.open(sqlite_url)
    factories.running(database)
    yield database
    database.dispose()


def test_the_slider_replays_the_front_by_keyboard(found: Database, visit: Callable[..., Visit]) -> None:
    page = visit().to("/experiment/1/front")
    note = page.locator("#note")
    assert note.inner_text().startswith("After 12 of 12 results: 11 genomes")
    slider = page.locator("#at")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    until(page, "document.getElementById('note').textContent.startsWith('After 2 of 12')")
    assert "2 genomes in the front" in note.inner_text()
    assert "at=2" in page.url
    assert slider.get_attribute("aria-valuetext") == "after 2 results"
    points = page.evaluate("document.getElementById('front-chart').data.map(one => one.x.length)")
    assert points == [0, 2]
    until(page, "document.querySelector('caption').textContent.startsWith('After 2 results. All 2 genomes')")
    assert page.locator("tbody tr").count() == 2
    page.keyboard.press("End")
    until(page, "document.querySelectorAll('tbody tr').length === 11")


def test_the_table_of_the_front_stays_at_its_time_while_the_search_goes_on(
    database_of_a_search: Database, visit: Callable[..., Visit]
) -> None:
    worker_id = factories.registered_worker(database_of_a_search)
    scheduler = Scheduler(database_of_a_search, ["search"])
    for _ in range(3):
        factories.complete(database_of_a_search, factories.must_claim(database_of_a_search, worker_id))
        scheduler.step()
    scheduler.close()
    page = visit().to("/experiment/1/front?at=2")
    captions = page.locator("caption")
    assert captions.inner_text().startswith("After 2 results")
    factories.run_to_the_end(database_of_a_search)
    until(page, "document.getElementById('at').max === '12'")
    assert captions.inner_text().startswith("After 2 results")


def test_axes_change_the_chart_and_a_click_opens_the_genome(
    found: Database, visit: Callable[..., Visit]
) -> None:
    page = visit().to("/experiment/1/front")
    page.select_option("#axis-y", "params")
    until(page, "document.getElementById('front-chart').layout.yaxis.title.text.startsWith('params')")
    page.evaluate("document.getElementById('front-chart').scrollIntoView({block: 'center'})")
    point = page.locator("#front-chart .points path").last.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector("#front-chart .hoverlayer .hovertext")
    assert "conv" in page.locator("#front-chart .hoverlayer").text_content()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(re.compile(r"/genome/\d+$"))


def test_a_third_axis_is_drawn_in_space(found: Database, visit: Callable[..., Visit]) -> None:
    seen = visit()
    page = seen.to("/experiment/1/front?asked=1&x=error&y=loss&z=params&log_z=1")
    assert page.evaluate("document.getElementById('front-chart').data[1].type") == "scatter3d"
    assert page.locator("#front-chart canvas").count() >= 1


def test_everything_is_reached_by_keyboard(found: Database, visit: Callable[..., Visit]) -> None:
    page = visit().to("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["y"] >= 0  # seen while it has the focus
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    page.goto(page.url.split("#")[0] + "experiment/1/lineage")
    node = page.locator("#tree a").first
    node.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/genome/\d+/lineage"))
    tables = page.goto(page.url.split("/genome/")[0] + "/experiment/1").ok
    assert tables
    assert page.locator("table").count() == page.locator("table > caption").count() >= 2


def test_a_lineage_is_zoomed(found: Database, visit: Callable[..., Visit]) -> None:
    page = visit().to("/genome/12/lineage?depth=50")
    before = page.locator("#tree").bounding_box()["width"]
    page.get_by_role("button", name="Larger").click()
    assert page.locator("#tree").bounding_box()["width"] == pytest.approx(1.25 * before)


def test_what_was_opened_stays_open(database_of_a_search: Database, visit: Callable[..., Visit]) -> None:
    worker_id = factories.registered_worker(database_of_a_search)
    with database_of_a_search.write() as connection:
        claims.worker_state(connection, worker_id, "stopped")
    page = visit().to("/")
    page.locator("#left summary").click()
    factories.run_to_the_end(database_of_a_search)
    until(page, "document.querySelector('main').innerText.includes('12 of 12 genomes')")
    assert page.evaluate("document.getElementById('left').open")


def test_a_database_that_is_gone_is_told(
    found: Database, browser: Any, sqlite_url: str, serve: Any, tmp_path: Path
) -> None:
    address = serve(sqlite_url)
    page = browser.new_page()
    page.goto(address)
    until(page, DRAWN)
    Path(make_url(sqlite_url).database or "").rename(tmp_path / "kept")
    page.wait_for_selector("#away", state="visible")
    assert "is gone" in page.locator("#away").inner_text()
    page.goto(f"{address}/experiment/1")
    assert page.locator("h1").inner_text() == "The database does not answer"
    page.close()


def test_a_server_that_is_away_is_told(found: Database, browser: Any, sqlite_url: str, serve: Any) -> None:
    address = serve(sqlite_url)
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    assert page.locator("#away").is_hidden()
    context.set_offline(True)
    page.wait_for_selector("#away", state="visible")
    context.set_offline(False)
    page.wait_for_selector("#away", state="hidden")
    context.close()


def test_everything_is_readable_without_scripts(found: Database, visit: Callable[..., Visit]) -> None:
    page = visit(java_script_enabled=False).to("/experiment/1/front", drawn=False)
    page.select_option("#axis-x", "params")
    page.get_by_role("button", name="Draw").click()
    assert "x=params" in page.url
    assert page.locator("tbody tr").count() == 11
