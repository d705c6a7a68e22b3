"""Published files for tests: a small sound folder, single rows, and the commands of FAR-Trans/ as modules."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import ModuleType

from shared.far_trans.clean_rows import BLOCK_BYTES, CleanRows, Reject
from shared.far_trans.schema import TABLES, TRANSACTIONS, TableSchema

REPOSITORY = Path(__file__).resolve().parent.parent
# One sound row for each table.
SOUND_ROWS = {
    "customer_information": "C1,Mass,Income,CAP_LT30K,2018-01-02,2018-01-02",
    "asset_information": "GRS1,Name A.E.,ΑΛΦΑ,Stock,,XATH,Technology,,2018-01-02",
    "markets": 'ATHEX,XATH,Athens,"The market, described",Greece,"Mon,Tue",08:15-15:20,Public Securities',
    "limit_prices": "GRS1,2018-01-02,2022-11-29,3.33,4.165,-0.25",
    "close_prices": "GRS1,2018-01-02,3.669999999999999",
    "transactions": "C1,GRS1,7754066,Buy,2020-07-02,12840.0,1000,Internet Banking,XATH",
}
# A sound row of each table, told apart from others by one number.
NUMBERED_ROWS = {
    "customer_information": "C{0},Mass,Income,CAP_LT30K,2018-01-02,2018-01-02",
    "asset_information": "A{0},Name,Short,Stock,,XATH,Technology,,2018-01-02",
    "markets": "ATHEX,M{0},Athens,,Greece,,,",
    "limit_prices": "A{0},2018-01-02,2022-11-29,1.5,2.5,0.5",
    "close_prices": "A{0},2018-01-02,3.5",
    "transactions": "C{0},A{0},T{0},Buy,2020-07-02,1.5,2.5,,",
}


def load_command(name: str) -> ModuleType:
    """Return FAR-Trans/<name>.py as a module; the folder's name is no package name."""
    spec = importlib.util.spec_from_file_location(f"far_trans_{name}", REPOSITORY / "FAR-Trans" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def header_of(schema: TableSchema) -> str:
    """Return the first line as published."""
    return schema.header + "\n"


def write_folder(folder: Path, rows: Mapping[str, str] = SOUND_ROWS) -> Path:
    """Write the six files, each with these lines (by table); a table that is left out has no file."""
    folder.mkdir(parents=True, exist_ok=True)
    for schema in TABLES:
        if schema.table in rows:
            text = header_of(schema) + rows[schema.table] + "\n"
            (folder / schema.file_name).write_text(text, encoding="utf-8", newline="")
    return folder


def clean(
    body: bytes,
    schema: TableSchema = TRANSACTIONS,
    *,
    block_bytes: int = BLOCK_BYTES,
    header: bytes | None = None,
    latest: date | None = None,
) -> tuple[bytes, list[Reject], CleanRows]:
    """Return what COPY gets of a file with this body, its rejects, and the counters."""
    rejects: list[Reject] = []
    stream = io.BytesIO((header_of(schema).encode() if header is None else header) + body)
    rows = CleanRows(stream, schema, on_reject=rejects.append, latest=latest, block_bytes=block_bytes)
    return b"".join(block.text for block in rows), rejects, rows


def real_data_folder() -> Path | None:
    """Return the folder with real published files: FAR_TRANS_DATA, else the one beside the repository, else None."""
    named = os.environ.get("FAR_TRANS_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "FAR-Trans"
    return folder if (folder / "customer_information.csv").exists() else None
