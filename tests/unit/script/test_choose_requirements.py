"""What is installed where nothing can compile LightFM."""

from __future__ import annotations

from pathlib import Path

import pytest

from script import choose_requirements

SPARK = ("pyspark==", "py4j==", "pyarrow==")
LOCK = Path(__file__).parents[3] / "requirements.lock"


def test_without_a_compiler_only_the_source_package_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    choose_requirements.main(LOCK)

    printed, told = capsys.readouterr()
    whole = {line for line in LOCK.read_text().splitlines() if "==" in line}
    assert whole - {line for line in printed.splitlines() if "==" in line} == {
        line for line in whole if line.startswith(("rectools-lightfm==", *SPARK))
    }
    assert len(whole) > 50
    assert "left out" in told


def test_an_entry_goes_with_its_hashes_and_its_comment() -> None:
    text = "a==1 \\\n    --hash=sha256:aa\n    # via x\nb==2 \\\n    --hash=sha256:bb\nc==3\n"

    assert choose_requirements.without(text, "b") == "a==1 \\\n    --hash=sha256:aa\n    # via x\nc==3\n"


def test_with_a_compiler_the_lock_is_printed_without_spark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choose_requirements, "can_compile", lambda: True)

    choose_requirements.main(LOCK)

    printed = capsys.readouterr().out
    left_out = [line for line in LOCK.read_text().splitlines() if line not in printed.splitlines() and "==" in line]
    assert [name for name in SPARK if any(line.startswith(name) for line in left_out)] == list(SPARK)
    assert len(left_out) == len(SPARK)
