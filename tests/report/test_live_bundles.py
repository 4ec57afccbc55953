"""Bundles of the live page: what was exported, as an archive, and nothing of what lies elsewhere."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from fuzz import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st

from netwright.study.stores.memory import MemoryStore

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from netwright.report.live.app import make_app
from netwright.report.live.bundles import Bundles
from netwright.report.live.feed import Feed

ID, OTHER = "0123456789", "abcdef0123"
FILES = {
    "manifest.json": json.dumps({"role": "most accurate"}).encode(),
    "model.onnx": os.urandom(3 << 20),
    "empty": b"",
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output directory with an exported network, one that is not whole yet, and things that are none."""
    for name, content in {**FILES, "sub/config.json": b"{}"}.items():
        path = tmp_path / "out" / "networks" / ID / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "out" / "networks" / OTHER).mkdir()
    (tmp_path / "out" / "networks" / "notes").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "manifest.json").write_text('{"role": "secret"}')
    return tmp_path / "out"


def client(out: Path) -> TestClient:
    return TestClient(make_app([Feed("a", MemoryStore(), bundles=Bundles(out))]), base_url="http://localhost")


def test_a_bundle_is_downloaded_as_it_is(out: Path) -> None:
    asks = client(out)
    about = asks.get("/api/studies/0").json()
    assert about["bundles"] == {ID: "most accurate"} and about["export"] == f"netwright export {out} --network"
    answer = asks.get(f"/api/studies/0/bundles/{ID}.zip")
    assert answer.status_code == 200 and answer.headers["content-disposition"] == f'attachment; filename="{ID}.zip"'
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {f"{ID}/{name}": content for name, content in {**FILES, "sub/config.json": b"{}"}.items()}
    assert asks.get(f"/api/studies/0/bundles/{ID}.zip").content == answer.content, "it is the same whenever it is made"


def test_a_network_is_news_once_it_is_whole(out: Path) -> None:
    feed = Feed("a", MemoryStore(), bundles=Bundles(out))
    before = feed.look()
    assert feed.look() == before
    (out / "networks" / OTHER / "manifest.json").write_text('{"role": "knee"}')
    assert feed.look() != before and feed.about()["bundles"] == {ID: "most accurate", OTHER: "knee"}


@pytest.mark.parametrize(
    "name",
    [OTHER, "notes", "..", "%2e%2e", "..%2f..%2fsecret", "../secret", "secret", "ABCDEF0123", f"{ID}%00", "", "x" * 99],
)
def test_nothing_else_is_sent(out: Path, name: str) -> None:
    answer = client(out).get(f"/api/studies/0/bundles/{name}.zip")
    assert answer.status_code == 404 and b"secret" not in answer.content


def test_links_lead_nowhere(out: Path) -> None:
    networks, secret = out / "networks", out.parent / "secret"
    (networks / "aaaaaaaaaa").symlink_to(secret)
    (networks / ID / "link").symlink_to(secret / "manifest.json")
    (networks / ID / "folder").symlink_to(secret)
    os.mkfifo(networks / ID / "pipe")
    asks = client(out)
    assert asks.get("/api/studies/0").json()["bundles"] == {ID: "most accurate"}
    assert asks.get("/api/studies/0/bundles/aaaaaaaaaa.zip").status_code == 404
    names = zipfile.ZipFile(io.BytesIO(asks.get(f"/api/studies/0/bundles/{ID}.zip").content)).namelist()
    assert sorted(names) == sorted(f"{ID}/{name}" for name in (*FILES, "sub/config.json"))
    networks.rename(out / "moved")
    networks.symlink_to(out / "moved")
    assert Bundles(out).ids == [] and Bundles(out).archive(ID) is None


def test_a_study_without_a_directory_has_none() -> None:
    asks = TestClient(make_app([Feed("a", MemoryStore())]), base_url="http://localhost")
    about = asks.get("/api/studies/0").json()
    assert about["bundles"] == {} and about["export"] == ""
    assert asks.get(f"/api/studies/0/bundles/{ID}.zip").status_code == 404


@given(content=st.binary(max_size=60) | st.sampled_from(HOSTILE).map(lambda text: f'{{"role": {text}}}'.encode()))
@settings(max_examples=60, deadline=None)
def test_whatever_a_manifest_holds_the_page_goes_on(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    (out / "networks" / ID).mkdir(parents=True)
    (out / "networks" / ID / "manifest.json").write_bytes(content)
    answer = client(out).get("/api/studies/0")
    assert answer.status_code == 200 and all(isinstance(role, str) for role in answer.json()["bundles"].values())
