"""Fetch the published FAR-Trans archive (CC-BY 4.0) from its DOI and unpack its files: python FAR-Trans/download.py

Exit codes: 0 the files are there, with the published row counts; 1 what came is not the published data set, and
nothing was replaced; 2 it could not be fetched, and how to do it by hand is printed.
"""

from __future__ import annotations

import argparse
import csv
import os
import runpy
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO
from urllib.parse import urljoin, urlsplit

if __name__ == "__main__":  # before the imports that need the packages of the project
    _enter = runpy.run_path(str(Path(__file__).resolve().parents[1] / "script/project_environment.py"))["enter"]
    _enter("httpx", "rich")

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from shared.errors import ReferenceDataInvalid
from shared.far_trans.source_files import check_files

DOI_PAGE = "https://doi.org/10.5525/gla.researchdata.1658"
PUBLISHED_ROWS = {
    "customer_information.csv": 32_468,
    "asset_information.csv": 836,
    "markets.csv": 38,
    "limit_prices.csv": 807,
    "close_prices.csv": 703_303,
    "transactions.csv": 388_049,
}
OTHER_FILES = ("questionnaires.csv", "README.txt")
PARTIAL_NAME = "far-trans.zip.part"
MAX_ARCHIVE_BYTES = 1 << 30
MAX_FILE_BYTES = 1 << 30
DONE, NOT_AS_PUBLISHED, NOT_FETCHED = range(3)
_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 18
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_CITATION = (
    "Data: J. Sanz-Cruzado, N. Droukas, R. McCreadie, FAR-Trans: An Investment Dataset for Financial Asset "
    "Recommendation, Fin-RecSys 2024; CC-BY 4.0."
)


class NotFetched(Exception):
    """The archive could not be fetched."""


def main(arguments: Sequence[str] | None = None, *, published_rows: Mapping[str, int] = PUBLISHED_ROWS) -> int:
    """Fetch, check and unpack; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent, help="default: this folder")
    parser.add_argument("--page", default=DOI_PAGE, help=f"page with a link to the archive (default: {DOI_PAGE})")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    archive = options.output / PARTIAL_NAME
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        fetch_archive(options.page, archive, console=console)
        unpack(archive, options.output, published_rows=published_rows)
    except (NotFetched, OSError) as error:
        console.print(f"failed: {error}\n{explain_by_hand(options.output)}")
        return NOT_FETCHED
    except ReferenceDataInvalid as error:
        archive.unlink(missing_ok=True)
        console.print(f"failed: {error}\nNothing was replaced in {options.output}.")
        return NOT_AS_PUBLISHED
    archive.unlink()
    console.print(f"The published files lie in {options.output}. Load them: python FAR-Trans/script.py\n{_CITATION}")
    return DONE


def explain_by_hand(output: Path) -> str:
    """Return what to do without this program."""
    names = "\n".join(f"  {name}" for name in PUBLISHED_ROWS)
    return (
        f"By hand: open {DOI_PAGE} in a browser, download the archive, and put these files of it into {output}:\n"
        f"{names}\nWithout them, python FAR-Trans/synthesize.py --output DIR makes an invented data set."
    )


def fetch_archive(page: str, archive: Path, *, console: Console) -> None:
    """Download the archive that the page links to; continue an interrupted download. Raises NotFetched."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT) as client:
        try:
            answer = client.get(page).raise_for_status()
            link = find_archive_link(answer.text, page=str(answer.url))
            console.print(f"Downloading {link}")
            with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
                _download(client, link, archive, progress=progress)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotFetched(f"{page}: {error or type(error).__name__}") from error


def find_archive_link(html: str, *, page: str) -> str:
    """Return the address of the first .zip that the page links to, one named FAR-Trans before others."""
    parser = _LinkParser()
    parser.feed(html)
    links = [urlsplit(urljoin(page, link)) for link in parser.links]
    archives = [link for link in links if link.scheme in {"http", "https"} and link.path.endswith(".zip")]
    if not archives:
        raise NotFetched(f"{page} links to no .zip archive")
    return min(archives, key=lambda link: "far" not in PurePosixPath(link.path).name.lower()).geturl()


class _LinkParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


@retry(retry=retry_if_exception_type(httpx.TransportError), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
def _download(client: httpx.Client, link: str, archive: Path, *, progress: Progress) -> None:
    """Append what is missing of the archive, or start again where the server cannot continue."""
    task = progress.task_ids[0] if progress.task_ids else progress.add_task("archive", total=None)
    size = archive.stat().st_size if archive.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={size}-"} if size else {})
    with client.stream("GET", link, headers=headers) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checks decide
        answer.raise_for_status()
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            size = 0
        length = answer.headers.get("Content-Length")
        total = size + int(length) if length else None
        with archive.open("ab" if size else "wb") as stream:
            for chunk in answer.iter_raw():
                size += len(chunk)
                if size > MAX_ARCHIVE_BYTES:
                    raise ReferenceDataInvalid(f"the archive is larger than {MAX_ARCHIVE_BYTES:,} bytes")
                stream.write(chunk)
                progress.update(task, completed=size, total=total)


def unpack(archive: Path, output: Path, *, published_rows: Mapping[str, int]) -> None:
    """Put the files of the archive into `output`, all of them or none. Raises ReferenceDataInvalid."""
    with tempfile.TemporaryDirectory(dir=output, prefix=".unpacked-") as folder:
        try:
            with zipfile.ZipFile(archive) as opened:
                members = choose_members(opened, published_rows)
                for name, member in members.items():
                    with opened.open(member) as source, (Path(folder) / name).open("wb") as target:
                        _copy(source, target, name=name)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise ReferenceDataInvalid(f"what came is no sound zip archive: {error}") from error
        check_rows(Path(folder), published_rows)
        for name in members:
            (Path(folder) / name).replace(output / name)


def choose_members(opened: zipfile.ZipFile, published_rows: Mapping[str, int]) -> dict[str, zipfile.ZipInfo]:
    """Return the known files of the archive by name, in whatever folder of it they lie; the others are left out."""
    chosen: dict[str, zipfile.ZipInfo] = {}
    for member in opened.infolist():
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise ReferenceDataInvalid(f"the archive has an unsafe path: {member.filename!r}")
        if member.is_dir() or path.name not in {*published_rows, *OTHER_FILES} or "__MACOSX" in path.parts:
            continue
        if path.name in chosen:
            raise ReferenceDataInvalid(f"the archive has {path.name} twice")
        chosen[path.name] = member
    if missing := [name for name in published_rows if name not in chosen]:
        raise ReferenceDataInvalid(f"the archive has no {', '.join(missing)}")
    return chosen


def _copy(source: IO[bytes], target: BinaryIO, *, name: str) -> None:
    size = 0
    while chunk := source.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > MAX_FILE_BYTES:  # counted here: what the archive says about sizes may be wrong
            raise ReferenceDataInvalid(f"{name} is larger than {MAX_FILE_BYTES:,} bytes")
        target.write(chunk)


def check_rows(folder: Path, published_rows: Mapping[str, int]) -> None:
    """Raise ReferenceDataInvalid unless each file has its published header and number of rows."""
    faults = []
    for source in check_files(folder):
        assert source.path is not None  # choose_members requires every file
        name, published = source.schema.file_name, published_rows[source.schema.file_name]
        if not _has_published_form(source.path, source.schema.header):
            raise ReferenceDataInvalid(f"{name} has another first line, or its last line has no end: it is truncated")
        with source.path.open(encoding="utf-8", errors="replace", newline="") as text:
            try:
                count = sum(1 for row in csv.reader(text) if row) - 1
            except csv.Error as error:
                raise ReferenceDataInvalid(f"{name} is no CSV file: {error}") from error
        if count != published:
            faults.append(f"{name} has {count:,} rows, published are {published:,}")
    if faults:
        raise ReferenceDataInvalid("; ".join(faults))


def _has_published_form(path: Path, header: str) -> bool:
    """Return whether the first line is the published one and the last line has an end, stricter than the loader."""
    with path.open("rb") as stream:
        first = stream.readline(len(header) + 2)
        stream.seek(-1, os.SEEK_END)
        return first.rstrip(b"\r\n") == header.encode() and stream.read(1) == b"\n"


if __name__ == "__main__":
    sys.exit(main())
