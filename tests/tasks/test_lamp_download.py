"""The download of official files: complete or not at all, and never a web page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data, prepare
from gluelamp.tasks.lamp.source import SITE, download_lamp
from gluelamp.tasks.lamp.tasks import LAMP
from lamp_files import news

PROFILE = {f"article {number}": "women" for number in range(8)}
NAMES = (
    *("train/train_questions.json", "train/train_outputs.json", "dev/dev_questions.json"),
    *("dev/dev_outputs.json", "test/test_questions.json"),
)


class Site(ThreadingHTTPServer):
    """A copy of the official site. It answers a wrong address with a page and the status 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.withheld: dict[str, int] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        self.server.asked.append(name)
        body = self.server.files.get(name, b"<!DOCTYPE html><html>not here</html>")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - self.server.withheld.get(name, 0)])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    assert SITE == "https://ciir.cs.umass.edu/downloads/LaMP"
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr("gluelamp.tasks.lamp.source.SITE", server.address)
        yield server
        server.shutdown()
        thread.join()


def publish(site: Site, folder: str) -> None:
    for digit, split in enumerate(("train", "dev", "test")):
        name = f"1{digit}5"
        golds = {"task": "LaMP_2", "golds": [{"id": name, "output": "women"}]}
        site.files[f"{folder}/{split}/{split}_questions.json"] = json.dumps(
            [news(name, split, PROFILE)]
        ).encode()
        if split != "test":
            site.files[f"{folder}/{split}/{split}_outputs.json"] = json.dumps(golds).encode()


@pytest.mark.parametrize(
    ("task", "folder"),
    [
        ("lamp1", "LaMP_1"),
        ("lamp2n", "LaMP_2"),
        ("lamp3_score", "LaMP_3"),
        ("lamp2m_time", "time/LaMP_2/new"),
    ],
)
def test_the_official_files_are_copied_byte_for_byte(
    tmp_path: Path, site: Site, task: str, folder: str
) -> None:
    publish(site, folder)
    assert download_lamp(LAMP[task], tmp_path) == tmp_path / folder
    copied = {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()
    }
    assert copied == site.files
    assert site.asked == [f"{folder}/{name}" for name in NAMES]


def test_a_web_page_is_refused(tmp_path: Path, site: Site) -> None:
    with pytest.raises(InputError, match=r"LaMP_2/train/train_questions\.json did not answer with JSON"):
        download_lamp(LAMP["lamp2n"], tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_truncated_answer_leaves_no_file_and_the_next_call_resumes(tmp_path: Path, site: Site) -> None:
    publish(site, "LaMP_2")
    broken = "LaMP_2/dev/dev_questions.json"
    site.withheld[broken] = 5
    size = len(site.files[broken])
    with pytest.raises(
        InputError, match=rf"dev_questions\.json announced {size:,} bytes and sent {size - 5:,}"
    ):
        download_lamp(LAMP["lamp2n"], tmp_path)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"train_questions.json", "train_outputs.json"}
    site.withheld.clear()
    site.asked.clear()
    download_lamp(LAMP["lamp2n"], tmp_path)
    assert site.asked == [f"LaMP_2/{name}" for name in NAMES[2:]]


def test_a_site_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gluelamp.tasks.lamp.source.SITE", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/LaMP_1/.* could not be downloaded"):
        download_lamp(LAMP["lamp1"], tmp_path)


def test_movielens_has_no_official_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not part of LaMP and has no official files"):
        download_lamp(LAMP["movielens_rating"], tmp_path)


def test_prepare_fetches_from_the_site_and_training_reads_it(tmp_path: Path, site: Site) -> None:
    publish(site, "LaMP_2")
    manifest = prepare([LAMP["lamp2n"]], DataConfig(source="hub"), tmp_path)
    assert manifest.tasks == {}
    data = load_task_data(LAMP["lamp2n"], DataConfig(source="auto", root=str(tmp_path)))
    assert data.source == "local"
    assert sum(map(len, data.splits.values())) == len(PROFILE) + 2
