"""Downloads, against a server on this machine that misbehaves on request. Nothing here leaves the machine."""

import http.server
import socket
import threading

import pytest
from typer.testing import CliRunner

from jlsm.errors import InputError
from mdpl.cli import app
from mdpl.data import fetch
from mdpl.data.climate import FIVE_CROPS
from mdpl.data.download import CHUNK
from mdpl.data.fetch import BASE_URL, CHECKSUMS, fetch_sites, plumber2_sites

MET = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 4000
FLUX = b"\x89HDF\r\n\x1a\n" + b"flux" * 50000
NAMES = ("DE-Geb_2001-2014_FLUXNET2015_Met.nc", "DE-Geb_2001-2014_FLUXNET2015_Flux.nc")


class Server:
    """Files by path, a list of faults used up one per request, and a record of what was asked."""

    def __init__(self):
        self.files = {f"/Met/{NAMES[0]}": MET, f"/Flux/{NAMES[1]}": FLUX}
        self.faults, self.asked, self.ranges, self.mark = [], [], True, '"v1"'
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request):
        self.asked.append((request.path, request.headers.get("Range")))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            request.send_error(fault)
            return
        if request.path not in self.files:
            request.send_error(404)
            return
        body, start = self.files[request.path], 0
        wanted = request.headers.get("Range")
        if wanted and self.ranges and request.headers.get("If-Range") in (None, self.mark):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(body) - start))
        if self.mark:
            request.send_header("ETag", self.mark)
        request.end_headers()
        end = start + (len(body) - start) // 2 if fault == "truncate" else len(body)
        request.wfile.write(body[start:end])
        if fault == "truncate":
            request.close_connection = True


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def get(server, folder, **options):
    return fetch_sites(["DE-Geb"], folder, url=server.url, pause=0.0, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def continues(wanted):
    """Whether a Range begins where the connection broke, or the lost piece before."""
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    return len(MET) // 2 - CHUNK < start <= len(MET) // 2


COMPLETE = sorted([*NAMES, CHECKSUMS])


def test_both_files_come_whole_with_their_checksums_and_are_not_fetched_again(server, tmp_path):
    heard = []
    paths = get(server, tmp_path, progress=lambda *what: heard.append(what))
    assert [path.name for path in paths] == list(NAMES)
    assert (paths[0].read_bytes(), paths[1].read_bytes()) == (MET, FLUX)
    assert names(tmp_path) == COMPLETE
    assert heard[-1] == (NAMES[1], len(FLUX), len(FLUX))
    lines = (tmp_path / CHECKSUMS).read_text().splitlines()
    assert [line.split()[0] for line in lines] == sorted(NAMES)
    before = len(server.asked)
    assert get(server, tmp_path) == paths
    assert len(server.asked) == before, "what is there is not asked for"


def test_a_truncated_body_is_continued_where_it_broke(server, tmp_path):
    server.faults = ["truncate"]
    paths = get(server, tmp_path)
    assert paths[0].read_bytes() == MET
    asked = [wanted for path, wanted in server.asked if path.endswith("Met.nc")]
    assert len(asked) == 2 and asked[0] is None and continues(asked[1])
    assert names(tmp_path) == COMPLETE


def test_a_later_run_continues_what_an_earlier_one_left(server, tmp_path):
    server.faults = ["truncate"]
    with pytest.raises(InputError, match="given up after 1 attempts.*kept"):
        get(server, tmp_path, attempts=1)
    assert not (tmp_path / NAMES[0]).exists(), "no half-written file under the final name"
    assert get(server, tmp_path)[0].read_bytes() == MET
    assert continues(server.asked[1][1])
    assert names(tmp_path) == COMPLETE


def test_a_file_that_changed_in_between_starts_over(server, tmp_path):
    server.faults = ["truncate"]
    with pytest.raises(InputError):
        get(server, tmp_path, attempts=1)
    server.mark, server.files[f"/Met/{NAMES[0]}"] = '"v2"', b"CDF\x01" + MET[::-1]
    assert get(server, tmp_path)[0].read_bytes() == b"CDF\x01" + MET[::-1]


@pytest.mark.parametrize(("ranges", "mark"), [(False, '"v1"'), (True, None), (True, 'W/"weak"')])
def test_without_ranges_or_a_sure_version_it_starts_over(server, tmp_path, ranges, mark):
    server.ranges, server.mark, server.faults = ranges, mark, ["truncate"]
    assert get(server, tmp_path)[0].read_bytes() == MET
    assert names(tmp_path) == COMPLETE


def test_a_server_that_is_busy_is_asked_again(server, tmp_path):
    server.faults = [503, 429]
    assert get(server, tmp_path)[0].read_bytes() == MET


def test_pauses_grow(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr("mdpl.data.download.time.sleep", pauses.append)
    server.faults = [503] * 4
    fetch_sites(["DE-Geb"], tmp_path, url=server.url, pause=1.5)
    assert pauses == [1.5, 3.0, 6.0, 12.0]


def test_a_server_that_stays_busy_is_given_up(server, tmp_path):
    server.faults = [503] * 3
    with pytest.raises(InputError, match="answers 503; given up after 3 attempts"):
        get(server, tmp_path, attempts=3)
    assert names(tmp_path) == []


def test_a_forbidden_file_is_not_asked_for_twice(server, tmp_path):
    server.faults = [403]
    with pytest.raises(InputError, match="answers 403"):
        get(server, tmp_path)
    assert len(server.asked) == 1


def test_the_origin_in_the_name_is_found(server, tmp_path):
    server.files = {
        "/Met/DE-Wet_2002-2006_LaThuile_Met.nc": MET,
        "/Flux/DE-Wet_2002-2006_LaThuile_Flux.nc": FLUX,
        "/Met/AU-Tum_2002-2017_OzFlux_Met.nc": MET,
        "/Flux/AU-Tum_2002-2017_OzFlux_Flux.nc": FLUX,
    }
    paths = fetch_sites(["DE-Wet", "AU-Tum"], tmp_path, url=server.url, pause=0.0)
    assert [path.name.split("_")[2] for path in paths] == ["LaThuile", "LaThuile", "OzFlux", "OzFlux"]


def test_a_site_the_server_lacks_is_one_line(server, tmp_path):
    server.files = {}
    with pytest.raises(InputError, match="not on the server.*DE-Geb_2001-2014_LaThuile_Met.nc") as caught:
        get(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_missing_flux_file_is_named(server, tmp_path):
    del server.files[f"/Flux/{NAMES[1]}"]
    with pytest.raises(InputError, match="FLUXNET2015_Flux.nc: not on the server"):
        get(server, tmp_path)


def test_another_file_than_the_recorded_one_is_refused(server, tmp_path):
    paths = get(server, tmp_path)
    paths[0].unlink()
    server.files[f"/Met/{NAMES[0]}"] = MET + b"more"
    with pytest.raises(InputError, match=f"differs from the checksum.*{CHECKSUMS}"):
        get(server, tmp_path)
    assert names(tmp_path) == sorted([NAMES[1], CHECKSUMS]), "what was refused is not kept"


def test_a_damaged_file_is_noticed(server, tmp_path):
    paths = get(server, tmp_path)
    paths[1].write_bytes(FLUX[:-1])
    with pytest.raises(InputError, match="Flux.nc: differs from its checksum.*delete"):
        get(server, tmp_path)


def test_a_page_instead_of_data_is_refused(server, tmp_path):
    server.files[f"/Met/{NAMES[0]}"] = b"<html>please log in</html>"
    with pytest.raises(InputError, match="no NetCDF file"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_without_network_it_says_so_at_once(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match="cannot reach 127.0.0.1.*needs internet") as caught:
        fetch_sites(["DE-Geb"], tmp_path, url=f"http://127.0.0.1:{port}")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_unknown_sites_and_broken_checksum_files_are_named(server, tmp_path):
    with pytest.raises(InputError, match="unknown PLUMBER2 site 'DE-Gab'.*DE-Geb"):
        fetch_sites(["DE-Gab"], tmp_path, url=server.url)
    with pytest.raises(InputError, match="no site named"):
        fetch_sites([], tmp_path, url=server.url)
    (tmp_path / CHECKSUMS).write_text("only-a-name\n")
    with pytest.raises(InputError, match="checksums.txt: line 'only-a-name'"):
        get(server, tmp_path)
    assert server.asked == []


def test_the_site_table_holds_the_release():
    sites = plumber2_sites()
    assert len(sites) == 170 and set(FIVE_CROPS) <= set(sites)
    geb = sites["DE-Geb"]
    assert (geb.igbp, geb.first_year, geb.last_year) == ("CRO", 2001, 2014)
    assert all(-90 < s.latitude < 90 and -180 < s.longitude < 180 for s in sites.values())
    assert all(1990 <= s.first_year <= s.last_year <= 2018 for s in sites.values())
    assert BASE_URL.startswith("https://thredds.nci.org.au/thredds/fileServer/")
    assert fetch.GROUPS["five_crops"] == FIVE_CROPS


def test_the_commands(server, tmp_path, monkeypatch):
    run = CliRunner().invoke
    monkeypatch.setenv("MDPL_CACHE", str(tmp_path))
    monkeypatch.setenv("MDPL_PLUMBER2_URL", server.url)
    fetched = run(app, ["data", "fetch", "DE-Geb"])
    assert fetched.exit_code == 0, fetched.output
    assert str(tmp_path / "plumber2" / NAMES[0]) in fetched.output
    listed = run(app, ["data", "list", "--igbp", "cro"])
    assert listed.exit_code == 0
    marked = [line for line in listed.output.splitlines() if line.startswith("*")]
    assert len(marked) == 1 and "DE-Geb" in marked[0]
    assert len(listed.output.splitlines()) == 18
    for arguments, word in ((["data", "fetch", "XX-Nix"], "XX-Nix"), (["data", "list", "--igbp", "XYZ"], "XYZ")):
        wrong = run(app, arguments)
        assert wrong.exit_code == 2 and word in wrong.output
        assert len(wrong.output.strip().splitlines()) == 1
