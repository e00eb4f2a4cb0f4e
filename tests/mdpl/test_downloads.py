"""What a server may not do: send elsewhere, pack, announce nonsense, send without end. All on this machine."""

from __future__ import annotations

import gzip
import http.server
import threading
from pathlib import Path

import pytest
import requests

from jlsm.errors import InputError
from mdpl.data.download import ResumingDownloader
from mdpl.data.fetch import CHECKSUMS, fetch_sites

BODY = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 1000


class Server:
    """Answers by path: (state, headers, body)."""

    def __init__(self):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                state, headers, body = outer.answers[self.path]
                self.send_response(state)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                self.close_connection = True

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def get(server, folder: Path, url: str = "", **options) -> bytes:
    ResumingDownloader(pause=0.0, **options)(url or f"{server.url}/a.nc", str(folder / "a.nc"), None)
    return (folder / "a.nc").read_bytes()


def refused(server, folder: Path, words: str, **options) -> None:
    with pytest.raises(InputError, match=words) as error:
        get(server, folder, **options)
    assert "\n" not in str(error.value) and list(folder.iterdir()) == []


def whole(body: bytes = BODY, **headers) -> tuple:
    return 200, {"Content-Length": str(len(body)), **headers}, body


def test_redirects_on_the_same_host_are_followed(server, tmp_path):
    server.answers = {"/a.nc": (302, {"Location": "/b/a.nc"}, b""), "/b/a.nc": whole()}
    assert get(server, tmp_path) == BODY


@pytest.mark.parametrize("target", ["http://localhost:{port}/b.nc", "https://example.org/b.nc", "ftp://127.0.0.1/b.nc"])
def test_redirects_elsewhere_are_not(server, tmp_path, target):
    server.answers = {"/a.nc": (302, {"Location": target.format(port=server.port)}, b""), "/b.nc": whole()}
    refused(server, tmp_path, "the server sends us on to .*, not followed")
    assert server.asked == ["/a.nc"]


def test_https_does_not_become_http(server, tmp_path, monkeypatch):
    """Without a certificate to serve: the first answer is put in place of the network's."""
    answer = requests.Response()
    answer.status_code, answer.headers["Location"], answer.raw = 301, "http://127.0.0.1/a.nc", None
    monkeypatch.setattr(answer, "close", lambda: None)
    monkeypatch.setattr(requests, "get", lambda *args, **options: answer)
    refused(server, tmp_path, "sends us on to http://127.0.0.1, not followed", url="https://127.0.0.1/a.nc")


def test_circles_end(server, tmp_path):
    server.answers = {"/a.nc": (302, {"Location": "/a.nc"}, b"")}
    refused(server, tmp_path, "more than 5 redirects")
    assert len(server.asked) == 6


def test_what_is_packed_is_refused(server, tmp_path):
    """A small file that would unpack to a large one."""
    server.answers = {"/a.nc": whole(gzip.compress(b"\x89HDF" + bytes(10**7)), **{"Content-Encoding": "gzip"})}
    refused(server, tmp_path, r"sends the file packed \(gzip\), which was not asked for")


def test_too_large_by_its_own_word(server, tmp_path):
    server.answers = {"/a.nc": (200, {"Content-Length": str(10**12)}, BODY)}
    refused(server, tmp_path, "announces 1000000000000 bytes, more than the ")


def test_too_large_without_a_word(server, tmp_path):
    server.answers = {"/a.nc": (200, {}, BODY)}
    refused(server, tmp_path, "more than 100000 bytes came", largest=100000)


@pytest.mark.parametrize("length", ["many", "-5", "1e3", "١٢"])
def test_a_length_that_is_no_number(server, tmp_path, length):
    headers = {"Content-Length": length.encode().decode("latin-1")}
    server.answers = {"/a.nc": (200, headers, BODY)}
    refused(server, tmp_path, r"announces .* bytes \(Content-Length\), no number|Content-Length")


def test_a_wrong_length_is_told_as_such(server, tmp_path):
    server.answers = {"/a.nc": (200, {"Content-Length": str(len(BODY) + 7)}, BODY)}
    refused(server, tmp_path, rf"announces {len(BODY) + 7} bytes \(Content-Length\) and sends {len(BODY)}, twice")
    assert len(server.asked) == 2


def test_checksums_that_are_no_text(server, tmp_path):
    (tmp_path / CHECKSUMS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="checksums.txt: cannot be read as UTF-8 text .*correct or delete it") as error:
        fetch_sites(["DE-Geb"], tmp_path, url=server.url)
    assert "\n" not in str(error.value)


def test_a_mark_of_the_version_that_is_no_text(server, tmp_path):
    (tmp_path / ".a.nc.part").write_bytes(BODY[:50])
    (tmp_path / ".a.nc.part.version").write_bytes(b"\xff")
    server.answers = {"/a.nc": whole()}
    assert get(server, tmp_path) == BODY
