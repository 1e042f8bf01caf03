"""A real Chromium on the simulator of a running server."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app import Settings, create_app, listen
from dialogue.agent import DialogueAgent
from dialogue.checkpoint import Checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = (
    os.environ.get("CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
AXE = Path(__file__).parent.parent / "clients" / "node_modules" / "axe-core" / "axe.min.js"
SAID = (
    "do you like music?",
    "who do you listen to?",
    "yes",
    "have you seen a good movie?",
    "what's your name",
)

IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHROMIUM,
        reason="Chromium is not there: apt-get install chromium, or name it in CHROMIUM",
    ),
]


@pytest.fixture(scope="module")
def address(talker: Checkpoint) -> Iterator[str]:
    """Serve the small model as `make run` does."""
    settings = Settings(verify=False, port=0)
    server = listen(create_app(settings, DialogueAgent(talker)), settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}/simulator"
    server.task_dispatcher.shutdown()
    server.asyncore.close_all(server._map)
    thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open the page; what it asked of any host, and what it complained of, is looked at when the
    test is over.
    """
    with contextlib.ExitStack() as opened:
        asked: list[str] = []
        complaints: list[str] = []

        def visit(before: str = "", **options: Any) -> Page:
            context = chromium.new_context(
                **{"viewport": {"width": 1280, "height": 800}, **options}
            )
            opened.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("request", lambda request: asked.append(request.url))
            page.on(
                "console",
                lambda message: (
                    complaints.append(message.text)
                    if message.type in ("error", "warning")
                    else None
                ),
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.clock.install()
            page.add_init_script(before)
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            return page

        visit.complaints = complaints  # type: ignore[attr-defined]  # some tests expect complaints
        yield visit
        foreign = [
            url
            for url in asked
            if not url.startswith((address.removesuffix("/simulator"), "blob:"))
        ]
        assert asked, "nothing was watched"
        assert foreign == [], "a request left this machine"
        assert complaints == []


def bubbles(page: Page) -> list[str]:
    return page.locator("#talk .it .bubble").all_inner_texts()


def answered(page: Page, count: int) -> list[str]:
    """Wait for so many answers in all, and until it listens, or has closed."""
    page.wait_for_function(
        "count => document.querySelectorAll('#talk li.it').length >= count", arg=count
    )
    page.wait_for_selector("body[data-state=listening], body[data-state=closed]")
    return bubbles(page)


def speak(page: Page, text: str) -> str:
    before = page.locator("#talk li.it").count()
    page.fill("#say", text)
    page.press("#say", "Enter")
    return answered(page, before + 1)[-1]


def launch(page: Page) -> str:
    page.click("#begin")
    return answered(page, 1)[-1]
