"""The live page in a browser: when it paints, when a study stands there whole, and how much memory that takes.

Studies of made-up records (see ``study_scale.py``) are served by ``netwright serve``, and opened in Chromium without a
window. From the beginning of the navigation, in ms: ``paint`` (the first contents), ``drawn`` (front, table and curves
of all records). ``heap`` is what the page's own objects take once garbage is collected, ``memory`` what its process has
for itself (PSS, with the browser's code) and ``empty`` the same of an empty page. ``filtered`` is what a bound on a
figure takes until the front within it stands there. Of five visits each the best, since other work on the
machine only adds; the server has read the study before.

    python benchmarks/live_page.py                  # 300, 10,000 and 100,000 records; needs Chromium
    python benchmarks/live_page.py 1000 --screenshots FOLDER
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import study_scale

SIZES, VISITS = (300, 10_000, 100_000), 5
WATCH = """
addEventListener("DOMContentLoaded", () => {
  const look = () => {
    if (!window.drawnAt && document.querySelector("#table code:not(:empty)") && document.querySelector(".dot.front"))
      requestAnimationFrame(() => setTimeout(() => { window.drawnAt = performance.now(); }));
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true });
});
"""
FILTER = """
new Promise((done) => {
  const input = document.querySelector("#bounds input"), before = document.querySelector("#filtered").textContent;
  const since = performance.now();
  input.value = 60;
  input.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - since)));
})
"""


def measured(page: Any, address: str) -> dict[str, float]:
    """Of one visit."""
    page.add(WATCH)
    _, empty = page.memory()
    page.open(address)
    drawn = page.wait("window.drawnAt")
    paint = page.value("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    heap, memory = page.memory()
    return {
        "paint": paint,
        "drawn": drawn,
        "filtered": page.value(FILTER),
        "heap": heap,
        "memory": memory,
        "empty": empty,
    }


def pictures(browser: Any, chromium: Any, address: str, stem: str) -> None:
    """Write pictures of a page, narrow and wide, light and dark."""
    for width in (390, 1600):
        for theme in ("light", "dark"):
            page = browser.Page(chromium, width, 1000, theme == "dark")
            page.add(WATCH)
            page.open(address)
            page.wait("window.drawnAt")
            page.screenshot(Path(f"{stem}-{width}-{theme}.png"))
            page.close()


def main() -> None:
    """Print one row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--screenshots", type=Path, help="a folder for pictures, narrow and wide, light and dark")
    given = parser.parse_args()
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    browser = importlib.import_module("browser")
    print(f"{'records':>8}{'paint':>9}{'drawn':>9}{'filtered':>10}{'heap':>9}{'memory':>9}{'empty':>9}")
    with tempfile.TemporaryDirectory() as folder:
        chromium = browser.Browser(Path(folder) / "profile")
        for size in given.sizes:
            path = Path(folder) / f"{size}.db"
            study_scale.write(path, size)
            with browser.served(path) as address:
                found = []
                for _ in range(VISITS):
                    page = browser.Page(chromium)
                    found.append(measured(page, address))
                    page.close()
                row = {name: min(each[name] for each in found) for name in found[0]}
                print(
                    f"{size:>8}{row['paint']:>6.0f} ms{row['drawn']:>6.0f} ms{row['filtered']:>7.0f} ms"
                    f"{row['heap']:>6.1f} MB{row['memory']:>6.0f} MB{row['empty']:>6.0f} MB",
                    flush=True,
                )
                if given.screenshots:
                    given.screenshots.mkdir(parents=True, exist_ok=True)
                    pictures(browser, chromium, address, str(given.screenshots / str(size)))
        chromium.close()


if __name__ == "__main__":
    main()
