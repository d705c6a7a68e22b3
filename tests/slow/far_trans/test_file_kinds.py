"""Each accepted variation of valid files gives the same rows, in any combination; each refused kind touches nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ReferenceDataInvalid
from shared.far_trans.clean_rows import Reject
from shared.far_trans.limits import LoadLimits
from shared.far_trans.loading import FileAccess, load_folder
from shared.far_trans.source_files import check_files
from tests.fakes_reference import FakeReferenceStore
from tests.far_trans_files import write_folder
from tests.file_kinds import (
    EACH_VARIATION,
    REFUSED,
    SCHEMAS,
    VARIATIONS,
    Variation,
    rows_of_table,
    write_refused,
    write_variation,
)

STRICT = LoadLimits(max_rejects=0, max_shrink=0)


def load(folder: Path, store: FakeReferenceStore, limits: LoadLimits = STRICT, block_bytes: int = 1 << 18) -> None:
    access = FileAccess(lambda reject: None, block_bytes=block_bytes)
    load_folder(check_files(folder), store=store, limits=limits, access=access)


def load_as(variations: dict[str, Variation], block_bytes: int = 1 << 18) -> dict[str, bytes]:
    store = FakeReferenceStore()
    with tempfile.TemporaryDirectory() as folder:
        for table, variation in variations.items():
            write_variation(Path(folder), table, rows_of_table(table), variation)
        load(Path(folder), store, block_bytes=block_bytes)
    return store.tables


PUBLISHED = load_as(dict.fromkeys(SCHEMAS, Variation()))


@pytest.mark.parametrize("name", EACH_VARIATION)
def test_each_variation_gives_the_same_rows(name: str) -> None:
    assert load_as(dict.fromkeys(SCHEMAS, EACH_VARIATION[name])) == PUBLISHED


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SCHEMAS, VARIATIONS)), st.sampled_from([7, 64, 1 << 18]))
def test_any_variations_together_give_the_same_rows(variations: dict[str, Variation], block_bytes: int) -> None:
    assert load_as(variations, block_bytes) == PUBLISHED


@pytest.mark.parametrize("kind", REFUSED)
def test_each_refused_kind_is_named_and_leaves_the_tables_as_they_were(kind: str, tmp_path: Path) -> None:
    store = FakeReferenceStore()
    load(write_folder(tmp_path), store)
    before = dict(store.tables)
    message = write_refused(tmp_path, kind)
    with pytest.raises(ReferenceDataInvalid) as caught:
        load(tmp_path, store, LoadLimits(max_rejects=0.01, max_shrink=0.2))
    assert message in str(caught.value)
    assert store.tables == before


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(REFUSED)), st.fixed_dictionaries(dict.fromkeys(SCHEMAS, VARIATIONS)))
def test_refused_kind_is_refused_beside_any_accepted_files(kind: str, variations: dict[str, Variation]) -> None:
    store, rejects = FakeReferenceStore(), list[Reject]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for table, variation in variations.items():
            if table != REFUSED[kind][0]:
                write_variation(folder, table, rows_of_table(table), variation)
        message = write_refused(folder, kind)
        with pytest.raises(ReferenceDataInvalid) as caught:
            load_folder(
                check_files(folder),
                store=store,
                limits=LoadLimits(max_rejects=0.01, max_shrink=0.2),
                access=FileAccess(rejects.append),
            )
    assert message in str(caught.value)
    assert set(store.tables.values()) == {b""}


def test_one_row_of_another_format_among_many_refuses_the_file(tmp_path: Path) -> None:
    rows = ["GRS1,2018-01-02,3.5"] * 999 + ["GRS1,02/01/2018,3.5"]
    folder = write_folder(tmp_path)
    write_variation(folder, "close_prices", rows, Variation())
    with pytest.raises(ReferenceDataInvalid, match="line 1,001 has dates with the day or the month first"):
        load(folder, FakeReferenceStore(), LoadLimits(max_rejects=0.01, max_shrink=0.2))
    store = FakeReferenceStore()
    load(folder, store, LoadLimits(max_rejects=0.02, max_shrink=0.2))
    assert store.tables["close_prices"].count(b"\n") == 999
