"""Take the pictures of docs/screens: `python scripts/make_screens.py [NAME ...]` starts `edgeapp demo web` and looks at it with Chromium.

Needs Debian's chromium and edgeapp[dev]. Two minutes; on a quiet machine, because what the demo shows is measured.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

OUT = Path(__file__).resolve().parent.parent / "docs" / "screens"
PORT = 8097
CHROMIUM = "/usr/bin/chromium"
SHOTS = [
    # page, colours, width, height, seconds until it has something to show
    ("now", "/", "dark", 1920, 1080, 3.0),
    ("now-small", "/", "light", 800, 480, 3.0),
    ("budget", "/budget", "light", 1920, 1080, 2.0),
    ("station", "/station", "light", 1920, 1080, 2.0),
    ("station-small", "/station", "dark", 800, 480, 2.0),
    ("content", "/content", "light", 1920, 1080, 1.0),
    ("content-small", "/content", "dark", 800, 480, 1.0),
    ("models", "/models", "dark", 1920, 1080, 2.0),
    ("health", "/health", "light", 1920, 1080, 8.0),
    ("kiosk", "/kiosk", "dark", 1920, 1080, 6.0),
    ("kiosk-small", "/kiosk", "dark", 800, 480, 6.0),
]
KEEP_BYTES = 150_000


def main() -> None:
    """Start, wait until there are turns and rejects, take the pictures."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgeapp", "demo", "web", "--out", folder, "--port", str(PORT)]
        demo = subprocess.Popen([*command, "--seconds", "300"], stderr=subprocess.PIPE, text=True)
        try:
            password = signing_in(demo)
            time.sleep(75)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                wanted = [each for each in SHOTS if each[0] in (sys.argv[1:] or each[:1])]
                for name, path, colours, width, height, seconds in wanted:
                    context = browser.new_context(
                        viewport={"width": width, "height": height},
                        color_scheme="dark" if colours == "dark" else "light",
                    )
                    page = context.new_page()
                    sign_in(page, password)
                    page.goto(f"http://127.0.0.1:{PORT}{path}")
                    time.sleep(seconds)
                    if name.startswith("now"):
                        page.wait_for_selector(".verdict.fail", timeout=60_000)
                        time.sleep(0.15)  # until its picture is there, and before the next part
                    if name.startswith("content"):
                        write(page, "price = 12.50", "price = 9.95")
                    take(page, OUT / f"{name}.jpg")
                    context.close()
                browser.close()
        finally:
            demo.terminate()
            demo.wait(10)


def signing_in(demo: subprocess.Popen[str]) -> str:
    """The password that the demo prints."""
    assert demo.stderr is not None
    for line in demo.stderr:
        if found := re.search(r"as demo with (\S+)", line):
            return found[1]
    sys.exit("the demo did not start")


def sign_in(page: Page, password: str) -> None:
    """Through the page, as a person does."""
    page.goto(f"http://127.0.0.1:{PORT}/login")
    page.fill("#user", "demo")
    page.fill("#password", password)
    page.keyboard.press("Enter")
    page.wait_for_url(f"http://127.0.0.1:{PORT}/")


def write(page: Page, was: str, new: str) -> None:
    """Put in something else, as a shop's owner does, and wait for what the device says of it."""
    area = page.get_by_label("The content, as TOML")
    area.fill(area.input_value().replace(was, new, 1))
    page.wait_for_selector(".facts-changed .new")
    area.evaluate("each => each.setSelectionRange(0, 0) || (each.scrollTop = 0)")


def take(page: Page, file: Path) -> None:
    """A JPEG as good as fits."""
    for quality in (88, 80, 70, 60):
        page.screenshot(path=file, type="jpeg", quality=quality)
        if file.stat().st_size <= KEEP_BYTES:
            break
    print(f"{file}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
