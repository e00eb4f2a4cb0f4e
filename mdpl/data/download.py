"""One file over HTTP, for pooch: resumed where the connection broke, tried again with growing pauses.

Redirects are followed on the host that was asked alone, and never from https to http. Bytes are taken as they come:
whoever asks for a file as it is (``Accept-Encoding: identity``) unpacks nothing.

What has arrived stays beside the target as ``.<name>.part`` with the server's mark of the version (``ETag`` or
``Last-Modified``) and is completed by the next attempt, in this process or a later one, if the server still has
that version and can send ranges; otherwise the download starts over.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from jlsm.errors import InputError
from mdpl.files import ProgressReport

CHUNK = 1 << 16
"""bytes written at a time; what a broken connection leaves of the last piece is lost"""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP states that may be gone at the next attempt"""
LONGEST_PAUSE = 60.0
LARGEST_FILE = 2 << 30
"""bytes; the largest file of the release has about 0.1 GiB"""
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
NETCDF = (b"\x89HDF", b"CDF\x01", b"CDF\x02", b"CDF\x05")
"""how a NetCDF file begins; a login or error page sent with state 200 does not"""


class NotOnServer(Exception):
    """The server answers, and has no such file."""


class _Again(Exception):
    """This attempt failed in a way that another may not."""


class ResumingDownloader:
    """A downloader in pooch's sense: called with ``(url, output_file, pooch)``.

    Args:
        attempts: how often a failing file is tried.
        pause: seconds before the second attempt; doubled each time.
        timeout: seconds without an answer or a byte.
        progress: told of every piece.
        largest: bytes that are taken at most.
    """

    def __init__(
        self,
        attempts: int = 5,
        pause: float = 1.0,
        timeout: float = 30.0,
        progress: ProgressReport | None = None,
        largest: int = LARGEST_FILE,
    ):
        self.attempts, self.pause, self.timeout, self.largest = attempts, pause, timeout, largest
        self.progress = progress or (lambda name, done, total: None)

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch ``url`` into ``output_file``.

        Raises:
            NotOnServer: state 404.
            InputError: no network, refused, given up, not a NetCDF file, too large, another length than announced.
        """
        self._short: set[tuple[int, int]] = set()
        name = url.rsplit("/", 1)[1]
        part = Path(output_file).parent / f".{name}.part"
        for attempt in range(1, self.attempts + 1):
            try:
                self._attempt(url, name, part)
                break
            except _Again as error:
                if attempt == self.attempts:
                    raise InputError(
                        f"{url}: {error}; given up after {attempt} attempts: run the command again later (what arrived "
                        f"is kept)"
                    ) from error
                time.sleep(min(self.pause * 2.0 ** (attempt - 1), LONGEST_PAUSE))
        with part.open("rb") as stream:
            start = stream.read(4)
        if start not in NETCDF:
            _forget(part)
            raise InputError(f"{url}: the answer is no NetCDF file (starts with {start!r}): check URL and proxy")
        os.replace(part, output_file)
        _forget(part)

    def _attempt(self, url: str, name: str, part: Path) -> None:
        import requests

        broken = requests.exceptions.BaseHTTPError  # pyright: ignore[reportPrivateImportUsage] (urllib3's, for raw)
        version, total = _mark(part), None
        have = part.stat().st_size if part.exists() and _version(part) else 0
        headers = {"Accept-Encoding": "identity"}  # a length in bytes of the file itself
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": _version(part)}
        try:
            with self._get(url, headers) as answer:
                self._accept(url, answer, part, version, have)
                done = have if answer.status_code == 206 else 0
                total = self._length(url, answer, done)
                with part.open("ab" if done else "wb") as stream:
                    while piece := answer.raw.read(CHUNK, decode_content=False):
                        done += len(piece)
                        if done > self.largest:
                            _forget(part)
                            raise InputError(f"{url}: more than {self.largest} bytes came: not a file of the release")
                        stream.write(piece)
                        self.progress(name, done, total)
        except broken as error:  # the body ended before the announced length
            done = part.stat().st_size if part.exists() else 0
            if total is not None and done < total:
                self._note_short(url, done, total, part)
            raise _Again("the connection broke") from error
        except requests.exceptions.ReadTimeout as error:
            raise _Again("the connection broke") from error
        except requests.exceptions.ConnectionError as error:
            if part.exists():  # it worked before
                raise _Again("the connection broke") from error
            host = url.split("/")[2]
            raise InputError(f"{url}: cannot reach {host}: check the network; this command needs internet") from error
        except requests.exceptions.RequestException as error:
            raise InputError(f"{url}: {error}: check the URL") from error
        if total is not None and done < total:
            self._note_short(url, done, total, part)
            raise _Again(f"only {done} of {total} bytes came")

    def _note_short(self, url: str, done: int, total: int, part: Path) -> None:
        """Raise InputError where the file has ended at the same byte before, short of its announced length."""
        if (done, total) in self._short:
            _forget(part)
            raise InputError(
                f"{url}: the server announces {total} bytes (Content-Length) and sends {done}, twice: its length or "
                "the file there is wrong, or a proxy cuts it: nothing was kept"
            )
        self._short.add((done, total))

    def _get(self, url: str, headers: dict[str, str]):
        """The answer, after redirects on the same host. Raises InputError: they lead elsewhere, or in circles."""
        import requests

        start, here = urlsplit(url), url
        for _ in range(MOST_REDIRECTS + 1):
            answer = requests.get(here, headers=headers, stream=True, timeout=self.timeout, allow_redirects=False)
            if answer.status_code not in REDIRECTS or "Location" not in answer.headers:
                return answer
            answer.close()
            here = urljoin(here, answer.headers["Location"])
            there = urlsplit(here)
            if there.hostname != start.hostname or there.scheme not in ("https", start.scheme):
                raise InputError(
                    f"{url}: the server sends us on to {there.scheme}://{there.hostname}, not followed: give the right "
                    "server with --url"
                )
        raise InputError(f"{url}: more than {MOST_REDIRECTS} redirects: check the URL")

    def _length(self, url: str, answer, before: int) -> int | None:
        """Bytes of the whole file as announced. Raises InputError: no number, or too large."""
        text = answer.headers.get("Content-Length")
        if text is None:
            return None
        if not text.isascii() or not text.isdigit():
            raise InputError(f"{url}: the server announces {text!r} bytes (Content-Length), no number: check the URL")
        total = before + int(text)
        if total > self.largest:
            raise InputError(
                f"{url}: the server announces {total} bytes, more than the {self.largest} that a file of the release "
                "can have: check the URL"
            )
        return total

    def _accept(self, url: str, answer, part: Path, version: Path, have: int) -> None:
        """Judge the state of an answer, and note which version of the file it brings."""
        state = answer.status_code
        if state == 404:
            raise NotOnServer(url)
        if state in PASSING:
            raise _Again(f"the server answers {state}")
        if state == 416 or (state == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            _forget(part)
            raise _Again("the server cannot continue the file")
        if state not in (200, 206):
            raise InputError(f"{url}: the server answers {state} {answer.reason}: check the URL")
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            raise InputError(
                f"{url}: the server sends the file packed ({encoding}), which was not asked for: check URL and proxy"
            )
        if state == 200:
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if mark and mark.isascii() and not mark.startswith("W/"):  # a weak mark does not promise the same bytes
                version.write_text(mark, encoding="utf-8")
            else:
                version.unlink(missing_ok=True)


def _mark(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _version(part: Path) -> str:
    """The server's mark of the version of which a part has come; empty where there is none that can be read."""
    try:
        return _mark(part).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)
