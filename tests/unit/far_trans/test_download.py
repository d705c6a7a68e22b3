"""Fetching the archive from a local server that is honest, broken, hostile, slow to stay up, or not there at all."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from shared.far_trans.schema import TABLES
from tests.far_trans_files import SOUND_ROWS, header_of, load_command

DOWNLOAD = load_command("download")
ROWS = {schema.file_name: 1 for schema in TABLES}
PAGE = '<a href="/other.pdf">x</a><a>y</a><a href="files/notes.zip">n</a><a class="a" href="files/FAR-Trans.zip">z</a>'
SOUND_FILES = {
    f"FAR-Trans/{schema.file_name}": header_of(schema) + SOUND_ROWS[schema.table] + "\n" for schema in TABLES
}


def build_archive(files: Mapping[str, str | bytes]) -> bytes:
    """Return a zip with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


class Site:
    """A repository's page and its archive; `cut_after` breaks the first answers off."""

    def __init__(self) -> None:
        self.page = PAGE
        self.archive = build_archive(SOUND_FILES)
        self.cut_after: list[int] = []
        self.knows_ranges = True
        self.ranges: list[str | None] = []
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Serve the DOI (a redirect), the page, or the archive."""
        if request.path == "/doi":
            request.send_response(302)
            request.send_header("Location", "/1658/")
            request.end_headers()
        elif request.path == "/1658/":
            self._send(request, self.page.encode(), status=200)
        elif request.path == "/1658/files/FAR-Trans.zip":
            self._send_archive(request)
        else:
            request.send_error(404)

    def _send_archive(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.knows_ranges else 0
        if start >= len(self.archive):
            request.send_error(416)
            return
        self._send(request, self.archive[start:], status=206 if start else 200)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, *, status: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.path.endswith(".zip") and self.cut_after:
            body = body[: self.cut_after.pop(0)]
        request.wfile.write(body)
        request.close_connection = True


@pytest.fixture
def site() -> Iterator[Site]:
    """A site on a free loopback port."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def download(site: Site, output: Path, *, rows: Mapping[str, int] = ROWS) -> int:
    return int(DOWNLOAD.main(["--page", f"{site.url}/doi", "--output", str(output)], published_rows=rows))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_archive_behind_the_redirect_is_unpacked_and_counted(site: Site, tmp_path: Path) -> None:
    assert download(site, tmp_path / "new") == 0
    assert names_in(tmp_path / "new") == set(ROWS)
    for schema in TABLES:
        text = (tmp_path / "new" / schema.file_name).read_text(encoding="utf-8")
        assert text == SOUND_FILES[f"FAR-Trans/{schema.file_name}"]


def test_only_known_files_are_unpacked(site: Site, tmp_path: Path) -> None:
    extra = {
        "FAR-Trans/run.sh": "x",
        "FAR-Trans/README.txt": "read",
        "__MACOSX/markets.csv": "x",
        "questionnaires.csv": "",
    }
    site.archive = build_archive({**SOUND_FILES, **extra})
    assert download(site, tmp_path) == 0
    assert names_in(tmp_path) == {*ROWS, "README.txt", "questionnaires.csv"}


def test_published_counts_are_what_it_asks_for_by_default(site: Site, tmp_path: Path) -> None:
    assert DOWNLOAD.main(["--page", f"{site.url}/doi", "--output", str(tmp_path)]) == 1
    assert DOWNLOAD.PUBLISHED_ROWS == {
        "customer_information.csv": 32_468,
        "asset_information.csv": 836,
        "markets.csv": 38,
        "limit_prices.csv": 807,
        "close_prices.csv": 703_303,
        "transactions.csv": 388_049,
    }


def _without_a_file(site: Site) -> None:
    site.archive = build_archive({name: text for name, text in SOUND_FILES.items() if "markets" not in name})


def _with_another_header(site: Site) -> None:
    site.archive = build_archive({**SOUND_FILES, "FAR-Trans/markets.csv": "marketID\nx\n"})


def _twice(site: Site) -> None:
    site.archive = build_archive({**SOUND_FILES, "old/markets.csv": "x"})


def _no_zip(site: Site) -> None:
    site.archive = b"<html>Please log in</html>"


def _damaged(site: Site) -> None:
    middle = len(site.archive) // 3
    site.archive = site.archive[:middle] + bytes(40) + site.archive[middle + 40 :]


def _cut_short(site: Site) -> None:
    site.archive = site.archive[:-30]


def _climbing(site: Site) -> None:
    site.archive = build_archive({**SOUND_FILES, "../../markets.csv": "x"})


def _climbing_with_backslashes(site: Site) -> None:
    site.archive = build_archive({**SOUND_FILES, "a\\..\\..\\markets.csv": "x"})


def _absolute(site: Site) -> None:
    site.archive = build_archive({**SOUND_FILES, "/etc/evil.csv": "x"})


def _field_without_end(site: Site) -> None:
    text = SOUND_FILES["FAR-Trans/markets.csv"] + 'a,"' + "x" * 200_000 + '"\n'
    site.archive = build_archive({**SOUND_FILES, "FAR-Trans/markets.csv": text})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_a_file, "the archive has no markets.csv"),
        (_with_another_header, "markets.csv: the header is not as published"),
        (_twice, "the archive has markets.csv twice"),
        (_no_zip, "no sound zip archive"),
        (_damaged, "no sound zip archive"),
        (_cut_short, "no sound zip archive"),
        (_climbing, "unsafe path: '../../markets.csv'"),
        (_climbing_with_backslashes, "unsafe path"),
        (_absolute, "unsafe path: '/etc/evil.csv'"),
        (_field_without_end, "markets.csv is no CSV file"),
    ],
)
def test_what_is_not_the_published_set_replaces_nothing(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Site], None], message: str
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "markets.csv").write_text("mine")
    spoil(site)
    assert download(site, folder) == 1
    assert message in capsys.readouterr().err
    assert {path: path.read_text() for path in tmp_path.rglob("*.csv")} == {folder / "markets.csv": "mine"}
    assert names_in(folder) == {"markets.csv"}


def test_wrong_counts_are_named_and_replace_nothing(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert download(site, tmp_path, rows={**ROWS, "transactions.csv": 388_049}) == 1
    assert "transactions.csv has 1 rows, published are 388,049" in capsys.readouterr().err
    assert names_in(tmp_path) == set()


def test_file_that_unpacks_to_more_than_the_limit_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DOWNLOAD, "MAX_FILE_BYTES", 100_000)
    site.archive = build_archive({**SOUND_FILES, "FAR-Trans/markets.csv": "x" * 1_000_000})
    assert download(site, tmp_path) == 1
    assert "markets.csv is larger than" in capsys.readouterr().err
    assert names_in(tmp_path) == set()


def test_archive_larger_than_the_limit_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DOWNLOAD, "MAX_ARCHIVE_BYTES", 500)
    assert download(site, tmp_path) == 1
    assert "the archive is larger than" in capsys.readouterr().err


def test_broken_connection_is_continued_where_it_broke(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300, 200]
    assert download(site, tmp_path) == 0
    assert site.ranges == [None, "bytes=300-", "bytes=500-"]
    assert names_in(tmp_path) == set(ROWS)


def test_broken_connection_starts_again_where_the_server_cannot_continue(site: Site, tmp_path: Path) -> None:
    site.knows_ranges = False
    site.cut_after = [300]
    DOWNLOAD.fetch_archive(f"{site.url}/doi", tmp_path / "archive", console=Console(quiet=True))
    assert (tmp_path / "archive").read_bytes() == site.archive


def test_run_that_gave_up_is_continued_by_the_next(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.cut_after = [100, 100, 100]
    assert download(site, tmp_path) == 2
    assert "By hand" in capsys.readouterr().err
    assert names_in(tmp_path) == {DOWNLOAD.PARTIAL_NAME}
    assert download(site, tmp_path) == 0
    assert site.ranges[-1] == "bytes=300-"
    assert names_in(tmp_path) == set(ROWS)


def test_archive_that_was_fetched_already_is_only_unpacked(site: Site, tmp_path: Path) -> None:
    (tmp_path / DOWNLOAD.PARTIAL_NAME).write_bytes(site.archive)
    assert download(site, tmp_path) == 0
    assert names_in(tmp_path) == set(ROWS)


@pytest.mark.parametrize("page", ["", '<a href="x.pdf">', '<a href="ftp://x/a.zip">', '<a href="file:///a.zip">'])
def test_page_without_an_archive_says_what_to_do_by_hand(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], page: str
) -> None:
    site.page = page
    assert download(site, tmp_path) == 2
    error = capsys.readouterr().err
    assert "links to no .zip archive" in error
    assert "By hand" in error


def test_offline_says_what_to_do_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert DOWNLOAD.main(["--page", "http://127.0.0.1:1/doi", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "https://doi.org/10.5525/gla.researchdata.1658" in error
    for name in ROWS:
        assert name in error
    assert str(tmp_path) in error
    assert names_in(tmp_path) == set()


def test_page_that_is_gone_says_what_to_do_by_hand(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert DOWNLOAD.main(["--page", f"{site.url}/gone", "--output", str(tmp_path)]) == 2
    assert "By hand" in capsys.readouterr().err
