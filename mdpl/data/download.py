"""One file over HTTP, for pooch: resumed where the connection broke, tried again with growing pauses.

What has arrived stays beside the target as ``.<name>.part`` with the server's mark of the version (``ETag`` or
``Last-Modified``) and is completed by the next attempt, in this process or a later one, if the server still has
that version and can send ranges; otherwise the download starts over.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from jlsm.errors import InputError
from mdpl.files import ProgressReport

CHUNK = 1 << 16
"""bytes written at a time; what a broken connection leaves of the last piece is lost"""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP states that may be gone at the next attempt"""
LONGEST_PAUSE = 60.0
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
    """

    def __init__(
        self, attempts: int = 5, pause: float = 1.0, timeout: float = 30.0, progress: ProgressReport | None = None
    ):
        self.attempts, self.pause, self.timeout = attempts, pause, timeout
        self.progress = progress or (lambda name, done, total: None)

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fetch ``url`` into ``output_file``.

        Raises:
            NotOnServer: state 404.
            InputError: no network, refused, given up, not a NetCDF file.
        """
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

        version = _mark(part)
        have = part.stat().st_size if version.exists() and part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # a length in bytes of the file itself
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": version.read_text(encoding="utf-8")}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
                self._accept(url, answer, part, version, have)
                resumed = answer.status_code == 206
                total = _length(answer, have if resumed else 0)
                done = have if resumed else 0
                with part.open("ab" if resumed else "wb") as stream:
                    for piece in answer.iter_content(CHUNK):
                        stream.write(piece)
                        done += len(piece)
                        self.progress(name, done, total)
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ReadTimeout) as error:
            raise _Again("the connection broke") from error
        except requests.exceptions.ConnectionError as error:
            if part.exists():  # it worked before
                raise _Again("the connection broke") from error
            host = url.split("/")[2]
            raise InputError(f"{url}: cannot reach {host}: check the network; this command needs internet") from error
        except requests.exceptions.RequestException as error:
            raise InputError(f"{url}: {error}: check the URL") from error
        if total is not None and done < total:
            raise _Again(f"only {done} of {total} bytes came")

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
        if state == 200:
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if mark and not mark.startswith("W/"):  # a weak mark does not promise the same bytes
                version.write_text(mark, encoding="utf-8")
            else:
                version.unlink(missing_ok=True)


def _length(answer, before: int) -> int | None:
    length = answer.headers.get("Content-Length")
    return before + int(length) if length is not None else None


def _mark(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)
