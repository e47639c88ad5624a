"""An upload against a local server that answers as the hub does."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants

from gluelamp.errors import InputError
from gluelamp.exporting.push import check_token, push


class Hub(BaseHTTPRequestHandler):
    """Accepts every file as a regular one, and keeps the requests of the server."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        answer: dict[str, Any] = {}
        if self.path == "/api/repos/create":
            answer = {"url": f"{self.server.address}/org/name"}
        elif "/preupload/" in self.path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            answer = {"files": [{"path": path, **modes} for path in files]}
        elif "/commit/" in self.path:
            answer = {
                "commitUrl": f"{self.server.address}/org/name/commit/1",
                "commitOid": "1",
                "success": True,
            }
        self._answer(answer)

    def do_GET(self) -> None:
        self._answer({"id": "org/name", "sha": "0", "siblings": []})

    def _answer(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requests = []
    server.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_files_reach_a_private_repository(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"values")
    check_token("org/name")
    assert push(tmp_path, "org/name") == f"{hub.address}/org/name"
    by_path = {path: body for path, _, body in hub.requests}
    assert {token for _, token, _ in hub.requests} == {"Bearer hf_test"}
    created = json.loads(by_path["/api/repos/create"])
    assert (created["name"], created["organization"], created["visibility"]) == ("name", "org", "private")
    lines = [json.loads(line) for line in by_path["/api/models/org/name/commit/main"].splitlines()]
    files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
    assert base64.b64decode(files["adapter_model.safetensors"]) == b"values"
    assert files.keys() == {"adapter_config.json", "adapter_model.safetensors"}


def test_an_upload_without_a_network_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"org/name could not be uploaded .* Upload them with: hf upload"):
        push(tmp_path, "org/name")


def test_an_upload_without_a_token_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"push=org/name needs a token .* or set HF_TOKEN\.$"):
        check_token("org/name")


def test_a_name_that_is_no_repository_is_refused() -> None:
    with pytest.raises(InputError, match="push='a/b/c' is not allowed: give ORG/NAME"):
        check_token("a/b/c")
