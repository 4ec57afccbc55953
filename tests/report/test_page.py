from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.core.errors import NetwrightError
from netwright.core.limits import Limit
from netwright.core.metric import Measurement, Metric
from netwright.core.record import Record
from netwright.core.space import Choice, Space
from netwright.core.text import printable
from netwright.report.data import ReportData
from netwright.report.page import render, write_page
from netwright.report.sections import SECTIONS, Section
from netwright.report.sections.front import front_figure

from .stories import ACCURACY, BYTES, LATENCY, LIMITS, network, records, story

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page and complains where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(self.text).replace("\u00a0", " ")


@pytest.fixture(autouse=True)
def small_plotly(monkeypatch):
    """A page without the five megabytes of script."""
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "/* plotly */")


TOLD: dict[str, ReportData] = {
    "two objectives": story(records(40), roles=["most accurate", "<i>fast</i>"]),
    "one objective": story(records(40, [ACCURACY]), [ACCURACY], roles=["best"]),
    "three objectives": story(records(40, METRICS := (ACCURACY, LATENCY, BYTES)), METRICS),
    "nothing exported": story(records(40)),
    "no limits": story(records(40, limits=()), limits=()),
    "no record": story([]),
    "one record": story(records(1)),
    "only infeasible": story([r for r in records(40) if r.status == "infeasible"]),
    "only failed": story([r for r in records(40) if r.status == "failed"]),
    "failed after the measurements": story([replace(r, status="failed") for r in records(5)]),
    "nothing measured in every objective": story([replace(r, measurements={}) for r in records(5)]),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_page_is_well_formed_and_loads_nothing(name):
    html = render(TOLD[name])
    for tag, attributes in Page(html).elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        for where in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(where) in (None, "data:,") or attributes[where].startswith("#n-")
    assert not re.search(r"url\(|@import", html)


@pytest.mark.parametrize("name", TOLD)
def test_the_page_names_the_whole_front(name):
    words = Page(render(TOLD[name])).words
    assert all(record.id in words for record in TOLD[name].front)


def test_what_others_wrote_is_text():
    html = render(TOLD["two objectives"])
    assert "<script>alert(1)" not in html and "<i>" not in html and "<hello>" not in html
    words = Page(html).words
    for text in ("<script>alert(1)</script>", "<i>fast</i>", "print('<hello>')", "a & b"):
        assert text in words


PIECES = (
    *("[red]", "</script>", "<b>", "<a href='x'>", "<br>", "&lt;", "%{x}", "$", '"'),
    *("\x1b[2J", "\x00", "\u202e", "\udcff"),
)

LETTERS = st.text(st.characters(exclude_categories=(), exclude_characters="."))  # a dot parts names

ANY = st.lists(st.one_of(st.sampled_from(PIECES), LETTERS)).map(lambda parts: "n" + "".join(parts))
"""Texts of others, at their worst."""


def told_with(name: str, option: str) -> ReportData:
    """A story in which everything that others name is named so."""
    metric = Metric(name, f"{option}/s", "max")
    space = Space([Choice(name, (option, option + "x")), Choice(f"{name}.{name}", (0, 1))])
    found = {metric.name: Measurement(3.0, metric.unit, 0.1), "latency": Measurement(1.0, "ms")}
    record = Record(space.largest, found, objectives=(metric, LATENCY))
    failed = Record(space.smallest, status="failed", reason=f"-{option}", objectives=(metric, LATENCY))
    told = story(
        [record, failed], (metric, LATENCY), [f"-{name}"], [Limit(name, ">=", 1.0, metric.unit)], {name: option}
    )
    networks = [replace(each, run=option, files={name: 3}) for each in told.networks]
    given = {name: Measurement(1.0, metric.unit)}
    return replace(
        told, space=space, title=f"-{name}", networks=tuple(networks), given=given, target={name: {name: option}}
    )


@settings(max_examples=25, deadline=None)
@given(ANY, ANY)
def test_any_text_is_text_on_the_page(name, option):
    plain, page = Page(render(told_with("name", "option"))), Page(html := render(told_with(name, option)))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert printable(f"-{name}") in page.text and printable(f"-{option}") in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800-\udfff]", html)


@settings(max_examples=25, deadline=None)
@given(ANY, ANY)
def test_any_text_is_text_in_the_charts(name, option):
    """Plotly takes tags in labels for markup."""
    data = told_with(name, option)
    labels = list(texts(front_figure(data).to_dict()))
    assert sum(len(Page(f"<p>{label}</p>").text) for label in labels)
    for label in labels:
        parts = re.split("<br>|</?b>", label)
        assert not any("<" in part or re.search("[\x00-\x1f\u202e\ud800-\udfff]", part) for part in parts), label


def texts(tree: object) -> Iterator[str]:
    """The texts in a figure, templates of what is under the pointer aside."""
    if isinstance(tree, dict):
        for key, each in tree.items():
            if key != "hovertemplate":
                yield from texts(each)
    elif isinstance(tree, list | tuple):
        for each in tree:
            yield from texts(each)
    elif isinstance(tree, str):
        yield tree


def test_the_figures_of_an_exported_network_stand_side_by_side():
    told = story(records(40), roles=["most accurate"])
    words = Page(render(told)).words
    for text in ("search", "file, validation", "file, test", "97.25", "± 0.50 %"):
        assert text in words
    assert "model.onnx" in words and "23.5 kB" in words


def test_an_exported_network_need_not_be_on_the_front():
    told = story(found := records(40))
    other = next(r for r in found if r.status == "ok" and r not in list(told.front))
    assert other.id in Page(render(replace(told, networks=(network(other, "chosen by hand"),)))).words
    lost = replace(network(other, "chosen by hand"), failed="accuracy is <10 %")
    assert "The file fails: accuracy is <10 %" in Page(render(replace(told, networks=(lost,)))).words


def test_an_empty_front_names_the_nearest_network():
    words = Page(render(TOLD["only infeasible"])).words
    assert re.search(r"The nearest is \w{10}: latency is .* ms, the limit is latency <= 0.9 ms", words)


def test_many_reasons_are_summed_up():
    failed = [replace(r, status="failed", reason=f"reason {i}") for i, r in enumerate(records(30))]
    assert "18 more reasons" in Page(render(story(failed))).words


def test_the_page_holds_plotly_once_and_offers_no_upload(tmp_path, monkeypatch):
    monkeypatch.undo()
    path = tmp_path / "report.html"
    write_page(story(records(12)), path)
    html = path.read_text("utf-8")
    assert html.count("plotly.js v") == 1
    assert "<script src" not in html and "default-src 'none'" in html
    assert '"showSendToCloud": false' in html and "cdn.plot.ly/plotly" not in html


def test_a_page_is_replaced_at_once(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_page(story(records(5)), path)
    new = path.read_text("utf-8")
    assert new.startswith("<!DOCTYPE html>")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("netwright.core.files.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_page(story(records(6)), path)
    assert path.read_text("utf-8") == new
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_limits_are_told():
    assert "keeps latency ≤ 0.9 ms" in Page(render(story(records(40), limits=LIMITS))).words


def test_text_that_is_no_unicode_does_not_stop_the_page(tmp_path):
    failed = Record(records(1)[0].candidate, status="failed", reason="killed: \udcff")
    write_page(story([failed]), tmp_path / "report.html")
    assert "killed: \\udcff" in (tmp_path / "report.html").read_text("utf-8")


@dataclass(frozen=True)
class Loud(Section):
    """A section of one's own."""

    word: str = "hello"
    heading = "The <search>"

    def html(self, data: ReportData) -> str:
        if self.word == "number":
            return 3  # type: ignore[return-value]
        return f"<p>{1 / (self.word != 'raise')} {self.word}</p>" if self.word else ""


def test_sections_are_chosen_ordered_and_added():
    loud = f"{__name__}:Loud"
    page = render(
        story(records(30)), ["reasons,most=1", f"{loud},word=one", f"{loud},word=two", "front_table", Loud("")]
    )
    body = page.partition("<main>")[2]
    assert body.count("<h2>The &lt;search&gt;</h2>") == 1, "sections of one heading stand below it together"
    words = ("<h2>The search</h2>", "1.0 one", "1.0 two", "<h2>The front</h2>")
    assert sorted(words, key=body.index) == list(words)
    assert 'class="chart"' not in body and "How this was made" not in body and "more reasons" in body


def test_every_section_says_what_it_is_and_shows_nothing_of_nothing():
    for name in SECTIONS.names():
        assert (SECTIONS.cls(name).__doc__ or "")[0].isupper()
        if name not in ("summary", "predictability", "conditions"):
            assert SECTIONS.make(name).html(story([])) == ""


@pytest.mark.parametrize("word, told", [("raise", "raised ZeroDivisionError"), ("number", "as a text, not a int")])
def test_a_section_that_cannot_be_drawn_is_named(word: str, told: str):
    with pytest.raises(NetwrightError, match=f"the report section .*:Loud,word={word} .*{told}"):
        render(story([]), [f"{__name__}:Loud,word={word}"])


def test_the_search_section_says_how_even_the_front_is_and_how_well_metrics_are_predicted():
    page = render(story(records(30)))
    assert "Neighbours on the front are" in page and "the widest gap is" in page
    assert "<td>accuracy</td><td>0.81</td><td>0.93</td><td>0.42 %</td><td>88\u00a0%</td>" in page


def test_the_given_model_is_the_first_row_of_the_front_and_the_first_column_of_each_network():
    data = story(records(30), roles=["most accurate"], given={"accuracy": Measurement(98.5, "%", 0.5)})
    page = render(data).partition("<main>")[2]
    row = page.index('<tr><td>given model</td><td></td><td>98.50<span class="pm"> ± 0.50 %</span></td><td>&ndash;</td>')
    assert row < page.index(f"<code>{data.front[0].id}</code>", page.index("<th>network</th>"))
    assert "<th></th><th>given model</th><th>search</th>" in page
    assert "given model" not in render(story(records(30), roles=["most accurate"])).partition("<main>")[2]


def test_plain_cuts_stand_beside_the_front_and_say_where_they_beat_it():
    told = story(records(40))
    behind = next(r for r in told.records if r.status == "ok" and r not in list(told.front))
    beyond = next(r for r in told.records if r.status == "infeasible")
    best = told.front[0]
    page = render(replace(told, plain={best.id: "depth alone", behind.id: "width alone", beyond.id: "width alone"}))
    words = " ".join(Page(page).words.split())
    assert "beats what the search has found: 1 of 3" in words
    assert "on it: no other network is better in all" in words and beyond.reason in words
    dominating = words.partition("Plain cuts")[2].partition("behind ")[2][:10]
    assert dominating in {r.id for r in told.front}
    assert "None of them is on the front" in render(replace(told, plain={behind.id: "width alone"}))
    assert "Plain cuts" not in render(told).partition("<main>")[2]
