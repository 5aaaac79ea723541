"""Pages in a real browser: nothing is fetched, nothing goes wrong, tables sort, and they fit phone, desktop, paper."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import ltml

pytestmark = pytest.mark.process

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PAGES = ("comparison", "evil_comparison", "tiny_run", "evil_run")
TEXT_CONTRAST, MARK_CONTRAST = 4.5, 3.0  # WCAG 2.1, AA


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.is_file():
        message = f"there is no {CHROMIUM}: install it with `apt-get install chromium`"
        pytest.fail(message) if os.environ.get("LTML_NEED_BROWSER") else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {name: ltml.write_report(request.getfixturevalue(name), folder / f"{name}.html") for name in PAGES}


@pytest.fixture
def view(browser: Browser) -> Iterator:
    """Opens a page; at the end nothing may have been requested beyond it, and nothing have gone wrong."""
    problems: list[str] = []
    contexts = []

    def open_page(path: Path, width: int = 1280, scheme: str = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page, url = context.new_page(), path.as_uri()

        def answer(route) -> None:
            if route.request.url.partition("#")[0] == url:
                route.continue_()
                return
            problems.append(f"request: {route.request.url}")
            route.abort()

        page.route("**/*", answer)
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_every_width_by_day_and_night(view, reports: dict[str, Path], tmp_path: Path, name: str) -> None:
    for width in (390, 800, 1280):
        for scheme in ("light", "dark"):
            page = view(reports[name], width, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
            red, green, blue = _colour(page, "getComputedStyle(document.body).backgroundColor")
            assert (red + green + blue > 384) == (scheme == "light")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_a_table_wider_than_its_place_scrolls_there_and_says_so(
    view, reports: dict[str, Path], name: str, width: int
) -> None:
    page = view(reports[name], width)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    places = page.locator(".scroll")
    wide = 0
    for number in range(places.count()):
        place = places.nth(number)
        needed, given = place.evaluate("e => [e.scrollWidth, e.clientWidth]")
        hint = place.locator("xpath=preceding-sibling::*[1]")
        assert hint.is_visible() == (needed > given)
        if needed > given:
            wide += 1
            place.evaluate("e => { e.scrollLeft = 1e6; }")
            assert place.evaluate("e => e.scrollLeft + e.clientWidth") >= needed - 1
        last = place.locator("thead th:last-child").bounding_box()
        assert last["x"] + last["width"] <= width
    assert wide > 0
    page.emulate_media(media="print")
    assert page.locator(".hint:visible").count() == 0


@pytest.mark.parametrize("name", PAGES)
def test_pages_print(view, reports: dict[str, Path], tmp_path: Path, name: str) -> None:
    page = view(reports[name], 800, "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert _colour(page, "getComputedStyle(document.body).backgroundColor") == (255, 255, 255)  # paper, at night too
    page.screenshot(path=tmp_path / f"{name}-print.png", full_page=True)
    paper = page.pdf(path=tmp_path / f"{name}.pdf")
    assert paper.startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_a_warning_cannot_be_overlooked(view, reports: dict[str, Path], width: int, scheme: str) -> None:
    page = view(reports["evil_comparison"], width, scheme)
    warning = page.get_by_role("note")
    assert warning.inner_text().startswith("ORACLE")
    ground = _variable(page, "--page")
    for name, least in (("color", TEXT_CONTRAST), ("borderColor", MARK_CONTRAST)):
        colour = _colour(page, f"getComputedStyle(document.querySelector('.warning')).{name}")
        assert _contrast(colour, ground) >= least
    page.emulate_media(media="print")
    assert warning.is_visible()
    assert page.evaluate("document.querySelector('.warning').getBoundingClientRect().height") > 30
    assert view(reports["comparison"]).get_by_role("note").count() == 0


def _column(page: Page, place: int) -> list[str]:
    return page.locator(f"#classes table tbody tr > :nth-child({place})").all_inner_texts()


def test_a_column_is_sorted_by_click_and_by_keyboard(view, reports: dict[str, Path]) -> None:
    page = view(reports["tiny_run"])
    headers, buttons = page.locator("#classes thead th"), page.locator("#classes thead th button")
    names, counts = _column(page, 1), [int(text) for text in _column(page, 3)]
    assert len(names) == 10
    assert page.locator("[aria-sort]").count() == 0
    buttons.nth(0).click()
    assert headers.nth(0).get_attribute("aria-sort") == "ascending"
    assert _column(page, 1) == sorted(names)
    buttons.nth(2).focus()
    page.keyboard.press("Enter")
    assert headers.nth(2).get_attribute("aria-sort") == "descending"
    assert [int(text) for text in _column(page, 3)] == sorted(counts, reverse=True)
    page.keyboard.press("Space")
    assert headers.nth(2).get_attribute("aria-sort") == "ascending"
    assert [int(text) for text in _column(page, 3)] == sorted(counts)
    assert page.locator("[aria-sort]").count() == 1
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    assert dict(zip(_column(page, 1), _column(page, 3), strict=True)) == dict(zip(names, map(str, counts), strict=True))


def test_numbers_are_sorted_as_numbers_and_undefined_ones_come_last(view, reports: dict[str, Path]) -> None:
    page = view(reports["evil_run"])
    button = page.locator("#classes thead th button", has_text=re.compile("^AUC 2$"))
    place = [text.strip() for text in page.locator("#classes thead th").all_inner_texts()].index("AUC 2") + 1
    for direction in (-1, 1):
        button.click()
        *values, last = _column(page, place)
        assert last == "–"
        numbers = [direction * float(value) for value in values]
        assert numbers == sorted(numbers)


def test_the_keyboard_reaches_the_content_first(view, reports: dict[str, Path]) -> None:
    page = view(reports["comparison"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.wait_for_function("document.activeElement.getBoundingClientRect().top >= 0")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out_from_the_page(view, reports: dict[str, Path], scheme: str) -> None:
    page = view(reports["comparison"], scheme=scheme)
    ground = _variable(page, "--page")
    for name in ("--text", "--muted", "--accent"):
        assert _contrast(_variable(page, name), ground) >= TEXT_CONTRAST, name
    for series in range(8):
        assert _contrast(_variable(page, f"--s{series}"), ground) >= MARK_CONTRAST, series


def test_what_assistive_technology_is_told(view, reports: dict[str, Path]) -> None:
    page = view(reports["tiny_run"])
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("img", name="ROC curve of zero").count() == 1
    assert page.get_by_role("table", name="Every class on test, the most frequent in training first").count() == 1
    assert page.get_by_role("rowheader", name="nine").count() >= 1
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def _variable(page: Page, name: str) -> tuple[int, ...]:
    """A colour of the page's style, as the browser resolves it."""
    page.evaluate(f"document.body.style.outlineColor = 'var({name})'")
    return _colour(page, "getComputedStyle(document.body).outlineColor")


def _colour(page: Page, expression: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", page.evaluate(expression))[:3])


def _contrast(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: tuple[int, ...]) -> float:
    shares = [part / 255 for part in colour]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
