"""Files as they lie in a folder: compressed ones within bounds of memory and size, and what headers may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import ReferenceDataInvalid
from shared.far_trans.schema import CLOSE_PRICES
from shared.far_trans.source_files import check_files, check_source, open_text
from tests.far_trans_files import SOUND_ROWS, header_of, write_folder
from tests.file_kinds import memory_limit, write_gzip

HEADER = header_of(CLOSE_PRICES).encode()
PRICE = b"GRS1,2018-01-02,3.5\n"


def test_compressed_file_is_read_like_the_plain_one(tmp_path: Path) -> None:
    path = write_gzip(tmp_path / "close_prices.csv.gz", HEADER, PRICE * 100, repeated=3)
    assert check_source(path, CLOSE_PRICES).size_bytes == path.stat().st_size
    with path.open("rb") as stream, open_text(stream, path) as text:
        assert text.read() == HEADER + PRICE * 300


def test_ten_gigabytes_of_zeros_are_refused_at_once(tmp_path: Path) -> None:
    path = write_gzip(tmp_path / "close_prices.csv.gz", HEADER, bytes(10_000_000), repeated=1000)
    assert path.stat().st_size < 11_000_000
    with memory_limit(2_000_000), pytest.raises(ReferenceDataInvalid, match="is binary"):
        check_source(path, CLOSE_PRICES)


@pytest.mark.parametrize("cut", [5, 30, -4, -20])
def test_damaged_compressed_file_is_a_message(tmp_path: Path, cut: int) -> None:
    path = write_gzip(tmp_path / "close_prices.csv.gz", HEADER + PRICE * 10)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ReferenceDataInvalid, match=r"close_prices\.csv\.gz is no whole gzip file"):
        check_source(path, CLOSE_PRICES)


@pytest.mark.parametrize("content", [HEADER + PRICE, b"PK\x03\x04", b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 40])
def test_other_content_by_the_name_of_a_compressed_file_is_a_message(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "close_prices.csv.gz"
    path.write_bytes(content)
    with pytest.raises(ReferenceDataInvalid, match="is no whole gzip file"):
        check_source(path, CLOSE_PRICES)


def test_plain_and_compressed_file_of_one_table_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_gzip(tmp_path / "close_prices.csv.gz", HEADER + PRICE)
    with pytest.raises(ReferenceDataInvalid, match=r"close_prices\.csv and close_prices\.csv\.gz are both"):
        check_files(tmp_path)


def test_other_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "close_prices.csv"
    path.write_text('currency,closeprice,isin,"a, b",TIMESTAMP\n')
    assert check_source(path, CLOSE_PRICES).ignored_columns == ("currency", "a, b")


@pytest.mark.parametrize("spoilt", [b"\x1b[2J", b"\0", b"\x07"])
def test_bytes_of_a_binary_file_are_in_no_message(tmp_path: Path, spoilt: bytes) -> None:
    path = tmp_path / "close_prices.csv"
    path.write_bytes(spoilt + SOUND_ROWS["close_prices"].encode() + b"\n")
    with pytest.raises(ReferenceDataInvalid, match="is binary") as caught:
        check_source(path, CLOSE_PRICES)
    assert "GRS1" not in str(caught.value)
