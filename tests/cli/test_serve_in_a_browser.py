"""The live page as a browser shows it, and as people use it: by pointer and keyboard, on a phone and a wide screen."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, Page, served

import netwright as nw

pytest.importorskip("uvicorn")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

SPACE = {"depth": (1, 2, 3), "width": (8, 16)}
CLICK = """(() => {
  const dots = [...document.querySelectorAll('#scatter .dot.front')], box = dots[%d].getBoundingClientRect();
  const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true };
  dots[%d].dispatchEvent(new MouseEvent('click', at));
  return dots.length;
})()"""


def figures(candidate: nw.Candidate) -> dict[str, float]:
    depth, width = int(candidate["depth"]), int(candidate["width"])  # type: ignore[call-overload]
    if (depth, width) == (2, 16):
        raise RuntimeError("<script>no</script>")
    return {"q": float(depth), "cost": float(depth * width)}


def search(path: Path, evaluations: int) -> list[nw.Record]:
    better = {"q": "max", "cost": "min"}
    return nw.search(SPACE, figures, better, store=path, evaluations=evaluations, strategy="random")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory: a study, and one network that was exported."""
    path = tmp_path_factory.mktemp("live") / "it's mine"
    path.mkdir()
    best = nw.front(search(path / "study.db", 6))[0]
    folder = path / "networks" / best.id
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "manifest.json").write_text(json.dumps({"role": "most <b>accurate</b>"}))
    return path


@pytest.fixture(scope="module")
def address(out: Path) -> Iterator[str]:
    other = out.parent / "other.db"
    search(other, 3)
    with served(out, other) as found:
        yield found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(params=[(390, False), (1600, True)], ids=["phone", "wide-dark"])
def page(request: pytest.FixtureRequest, chromium: Browser, address: str) -> Iterator[Page]:
    width, dark = request.param
    made = Page(chromium, width, 900, dark)
    made.open(address)
    made.wait("document.querySelector('#table code:not(:empty)') !== null")
    yield made
    made.close()


def text(page: Page, selector: str) -> str:
    return str(page.value(f"document.querySelector({selector!r}).innerText"))


def test_it_shows_a_study(page: Page) -> None:
    html = str(page.value("document.documentElement.outerHTML"))
    assert "<b>6</b><span>measured" in html and "<b>1</b><span>failed" in html
    assert html.count('class="dot front"') >= 2 and 'class="step"' in html and 'class="thread"' in html
    assert "&lt;script&gt;no&lt;/script&gt;" in html and "<script>no" not in html
    assert not re.search(r"NaN|undefined|Infinity", html)


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.value("document.documentElement.scrollWidth <= innerWidth")


def test_its_theme_is_the_persons(page: Page) -> None:
    dark = page.value("matchMedia('(prefers-color-scheme: dark)').matches")
    ground = page.value("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (sum(ground) < 3 * 128) == dark


def test_networks_are_compared_and_bundles_downloaded(page: Page, out: Path, address: str) -> None:
    (exported,) = (out / "networks").iterdir()
    number = page.value(CLICK % (0, 0))
    page.wait("!document.querySelector('#compare').hidden")
    page.value(CLICK % (number - 1, number - 1))
    page.wait("document.querySelectorAll('#pairs thead th').length === 3")
    assert page.value("document.querySelectorAll('#pairs td.best').length") == 2, "of each objective one is the best"
    assert page.value("document.querySelectorAll('.dot.chosen').length") == 2
    link = page.value("document.querySelector('#pairs a').getAttribute('href')")
    assert link == f"api/studies/0/bundles/{exported.name}.zip"
    assert page.value(f"fetch({link!r}).then((r) => r.arrayBuffer()).then((b) => new Uint8Array(b)[0])") == ord("P")
    cells = text(page, "#pairs")
    assert "most <b>accurate</b>" in cells
    command = f"netwright export {shlex.quote(str(out))} --network"
    assert re.search(rf"{re.escape(command)} [0-9a-f]{{10}}\b", cells)
    page.value("document.querySelector('#none').click()")
    page.wait("document.querySelector('#compare').hidden")


def test_a_key_chooses_a_network_and_keeps_its_place(page: Page) -> None:
    page.value("document.querySelector('#table input').focus()")
    page.ask("Input.dispatchKeyEvent", type="keyDown", key=" ", code="Space", text=" ")
    page.ask("Input.dispatchKeyEvent", type="keyUp", key=" ", code="Space")
    page.wait("!document.querySelector('#compare').hidden")
    assert page.value("document.activeElement.checked && document.activeElement.closest('#table') !== null")


def test_bounds_leave_what_is_within_and_its_own_front(page: Page) -> None:
    page.value("document.querySelector('details').open = true")
    most = "document.querySelector('#bounds input[aria-label=\"cost, most\"]')"
    page.value(f"{most}.value = 16; {most}.dispatchEvent(new Event('input'))")
    assert page.wait("document.querySelector('#filtered').innerText") == "3 of 6 are shown"
    page.wait("document.querySelectorAll('#table tbody tr').length === 2")  # of depths 1 and 2 with width 8
    page.value("document.querySelector('#clear').click()")
    page.wait("document.querySelector('#filtered').innerText === ''")


def test_several_studies_are_shown_by_turns(page: Page) -> None:
    page.value("document.querySelectorAll('#studies button')[1].click()")
    page.wait("document.querySelector('.tile b').innerText === '3'")
    assert text(page, "h1").endswith("other.db") and page.value("location.hash") == "#1"


def test_what_is_measured_meanwhile_is_shown(chromium: Browser, tmp_path: Path) -> None:
    search(tmp_path / "s.db", 2)
    with served(tmp_path / "s.db") as address:
        page = Page(chromium)
        page.open(address)
        page.wait("document.querySelector('.tile b')?.innerText === '2'")
        search(tmp_path / "s.db", 5)
        page.wait("document.querySelector('.tile b').innerText === '5'")
        page.close()
