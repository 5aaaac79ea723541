"""Take the picture of a comparison report for the README: ``python .github/picture.py`` in an empty folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from playwright.sync_api import sync_playwright

COMPARISON = "digits_tiny --methods bce,asl,ldrnet --seeds 0..4 --name tiny train.epochs=25"
PICTURE = Path(__file__).parent / "comparison.png"


def main() -> None:
    """Run the comparison, write its report and photograph the upper part of the page."""
    subprocess.run(["ltml", "compare", *COMPARISON.split()], check=True)
    subprocess.run(["ltml", "report", "runs/_comparisons/tiny"], check=True)
    page_address = Path("runs/_comparisons/tiny/report.html").absolute().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1150})
        page.goto(page_address)
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
