"""Random sequences of loads against a model: the tables always hold the last accepted load, all six of them."""

from __future__ import annotations

import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.errors import ReferenceDataInvalid
from shared.far_trans.limits import LoadLimits
from shared.far_trans.loading import FileAccess, ReferenceStore, load_folder
from shared.far_trans.schema import TABLES
from shared.far_trans.source_files import check_files
from tests.far_trans_files import NUMBERED_ROWS, write_folder

OPTIONAL = {schema.table for schema in TABLES if schema.optional}


@dataclass(frozen=True)
class File:
    """One file of a load: how many rows are valid, how many are not, whether it is there."""

    valid: int
    invalid: int = 0
    is_there: bool = True


@dataclass(frozen=True)
class Options:
    """How the loader is started, and at which step of which table it is killed."""

    max_rejects: float = 0.0
    max_shrink: float = 0.2
    allow_empty: frozenset[str] = frozenset()
    killed_at: tuple[str, str] | None = None


class Killed(BaseException):
    """The loader is gone in the middle of its work."""


FILES = st.builds(
    File,
    st.sampled_from([0, 1, 5, 8, 9, 10, 20]),
    st.sampled_from([0, 0, 0, 1, 5]),
    st.sampled_from([True] * 7 + [False]),
)
SOUND_FILES = st.builds(File, st.sampled_from([8, 9, 10]))
SHARES = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])


OPTIONS = st.builds(
    Options,
    SHARES,
    SHARES,
    st.sampled_from([frozenset(), frozenset(NUMBERED_ROWS), frozenset({"transactions"})]),
    st.sampled_from([None] * 12 + [*((step, table) for step in ("check", "load") for table in NUMBERED_ROWS)]),
)


class LoadHistory(RuleBasedStateMachine):
    """A store is given by a subclass; `expected` is the model: how many rows each table has, and of which load."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="loads-"))
        self.number = 0
        self.expected: dict[str, bytes] = dict.fromkeys(NUMBERED_ROWS, b"")

    @abstractmethod
    def store(self) -> AbstractContextManager[ReferenceStore]:
        """Return the store that is tried, for one load."""

    @abstractmethod
    def read_tables(self) -> Mapping[str, bytes]:
        """Return the rows of each table as they were sent to COPY, in their order."""

    @rule(files=st.fixed_dictionaries(dict.fromkeys(NUMBERED_ROWS, SOUND_FILES)))
    def load_sound_files(self, files: dict[str, File]) -> None:
        self._load(files, Options())

    @rule(files=st.fixed_dictionaries(dict.fromkeys(NUMBERED_ROWS, FILES)), options=OPTIONS)
    def load_any_files(self, files: dict[str, File], options: Options) -> None:
        self._load(files, options)

    def _load(self, files: dict[str, File], options: Options) -> None:
        self.number += 1
        shutil.rmtree(self.folder)
        write_folder(self.folder, {table: self._text(table, file) for table, file in files.items() if file.is_there})

        def open_file(path: Path, step: str) -> BinaryIO:
            if (step, path.stem) == options.killed_at:
                raise Killed
            return path.open("rb")

        access = FileAccess(lambda reject: None, open_file, block_bytes=64)
        limits = LoadLimits(options.max_rejects, options.max_shrink, options.allow_empty)
        is_killed = options.killed_at is not None and files[options.killed_at[1]].is_there
        is_expected = self._is_accepted(files, options) and not is_killed
        try:
            with self.store() as store:
                load_folder(check_files(self.folder), store=store, limits=limits, access=access)
        except (ReferenceDataInvalid, Killed):
            assert not is_expected
        else:
            assert is_expected
            self.expected = {table: self._valid_rows(table, file) for table, file in files.items()}

    def _is_accepted(self, files: dict[str, File], options: Options) -> bool:
        """Say the same as the limits do, in other words."""
        for table, file in files.items():
            now = self.expected[table].count(b"\n")
            new, invalid = (file.valid, file.invalid) if file.is_there else (0, 0)
            if not file.is_there and table not in OPTIONAL:
                return False
            if invalid and invalid / (invalid + new) > options.max_rejects:
                return False
            if now and not new and table not in options.allow_empty:
                return False
            if now and new and (now - new) / now > options.max_shrink:
                return False
        return True

    def _valid_rows(self, table: str, file: File) -> bytes:
        numbers = range(self.number * 1000, self.number * 1000 + (file.valid if file.is_there else 0))
        return "".join(NUMBERED_ROWS[table].format(number) + "\n" for number in numbers).encode()

    def _text(self, table: str, file: File) -> str:
        rows = self._valid_rows(table, file).decode().splitlines()
        return "\n".join([*rows[:1], *["bad row"] * file.invalid, *rows[1:]])

    @invariant()
    def tables_hold_the_last_accepted_load(self) -> None:
        assert self.read_tables() == self.expected

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
