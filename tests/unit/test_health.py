from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from usbupdate.core.receipt import DETAIL_MAX, Check, CheckResult
from usbupdate.device.health import CHECKS_MAX, DETAILS_MAX, Gate, ask_gates, run_checks

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, name: str, script: str, mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "health.d"
    made.mkdir(mode=0o755)
    return made


def test_no_folder_means_no_checks_and_open_gates(tmp_path: Path) -> None:
    for none in (None, tmp_path / "none"):
        assert run_checks(none, limit_s=20) == ()
        assert ask_gates(none, limit_s=20).gate is Gate.GO


def test_a_folder_of_which_the_storage_says_nothing_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(tmp_path).stat

    def failing(self: Path, **keywords: bool) -> os.stat_result:
        if self.name == "none" and keywords.get("follow_symlinks", True):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, **keywords)

    monkeypatch.setattr(type(tmp_path), "stat", failing)
    (check,) = run_checks(tmp_path / "none", limit_s=20)
    assert (check.result, check.reason) == (CheckResult.FAILED, "folder-unreadable")
    assert ask_gates(tmp_path / "none", limit_s=20).gate is Gate.REFUSE


def test_checks_run_in_name_order_and_all_of_them(folder: Path, tmp_path: Path) -> None:
    for name, code in (("20-b", 3), ("10-a", 0), ("30-c", 0)):
        put(folder, name, f"echo {name} >> {tmp_path}/ran; echo said {name}; exit {code}")
    assert run_checks(folder, limit_s=20) == (
        Check("10-a", CheckResult.PASSED),
        Check("20-b", CheckResult.FAILED, "exit-3", "said 20-b"),
        Check("30-c", CheckResult.PASSED),
    )
    assert (tmp_path / "ran").read_text().split() == ["10-a", "20-b", "30-c"]


def test_hidden_backup_and_plain_files_are_skipped(folder: Path) -> None:
    for name in (".hidden", "10-a~", "10-a.bak", "10-a.dpkg-old", "10-a.rpmsave", "10-a.disabled"):
        put(folder, name, "exit 1")
    put(folder, "README", "exit 1", mode=0o644)
    (folder / "sub").mkdir()
    assert run_checks(folder, limit_s=20) == ()


def test_a_check_whose_name_would_be_skipped_in_silence_fails_instead(folder: Path) -> None:
    put(folder, "10 with blanks", "exit 0")
    (check,) = run_checks(folder, limit_s=20)
    assert (check.name, check.result, check.reason) == ("health.d", CheckResult.FAILED, "name-unusable")


def test_a_hanging_check_leaves_no_time_for_the_next(folder: Path) -> None:
    put(folder, "10-hangs", "echo still here; sleep 600 & wait")
    put(folder, "20-late", "exit 0")
    hanging, late = run_checks(folder, limit_s=0.5)
    assert (hanging.result, hanging.reason, hanging.detail) == (CheckResult.TIMED_OUT, "no-answer-in-time", "still here")
    assert (late.result, late.reason) == (CheckResult.TIMED_OUT, "not-run")


def test_a_broken_script_and_a_killed_one_fail_with_their_reasons(folder: Path) -> None:
    (folder / "10-broken").write_bytes(b"\x00\x01")
    (folder / "10-broken").chmod(0o755)
    put(folder, "20-killed", "kill -SEGV $$")
    assert [check.reason for check in run_checks(folder, limit_s=20)] == ["not-started", "signal-11"]


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_may_change_is_not_run(folder: Path, tmp_path: Path, mode: int) -> None:
    put(folder, "10-a", f"touch {tmp_path}/ran")
    folder.chmod(mode)
    (check,) = run_checks(folder, limit_s=20)
    assert check.reason == "writable-by-others"
    assert ask_gates(folder, limit_s=20).gate is Gate.REFUSE
    assert not (tmp_path / "ran").exists()


def test_a_check_that_others_may_change_keeps_all_from_running(folder: Path, tmp_path: Path) -> None:
    put(folder, "10-a", f"touch {tmp_path}/ran")
    put(folder, "20-b", "exit 0", mode=0o757)
    assert [check.result for check in run_checks(folder, limit_s=20)] == [CheckResult.FAILED]
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_check_of_another_user_is_not_run(folder: Path) -> None:
    os.chown(put(folder, "10-a", "exit 0"), 1234, 1234)
    assert [check.reason for check in run_checks(folder, limit_s=20)] == ["owner-unsafe"]


def test_output_that_steers_a_terminal_is_made_harmless_and_cut_to_its_end(folder: Path) -> None:
    put(folder, "10-a", f"head -c {3 * DETAIL_MAX} /dev/zero | tr '\\0' x; printf '\\033[2Jred\\377\\r\\nend\\000'; exit 1")
    (check,) = run_checks(folder, limit_s=20)
    assert len(check.detail) == DETAIL_MAX
    assert check.detail.endswith("\ufffd[2Jred\ufffd\nend\ufffd")


def test_many_loud_failures_still_fit_into_one_receipt(folder: Path) -> None:
    for number in range(6):
        put(folder, f"{number}0-loud", "head -c 4000 /dev/zero | tr '\\0' x; exit 1")
    checks = run_checks(folder, limit_s=30)
    assert sum(len(check.detail) for check in checks) == DETAILS_MAX
    assert all(check.result is CheckResult.FAILED for check in checks)


def test_more_checks_than_a_receipt_holds_are_not_run(folder: Path) -> None:
    for number in range(CHECKS_MAX + 1):
        put(folder, f"{number}", "exit 0")
    assert [check.reason for check in run_checks(folder, limit_s=20)] == ["too-many"]


@pytest.mark.parametrize(
    ("codes", "gate", "reasons"),
    [
        ((), Gate.GO, []),
        ((0, 0), Gate.GO, ["", ""]),
        ((0, 75, 1), Gate.LATER, ["", "later"]),
        ((0, 1, 75), Gate.REFUSE, ["", "exit-1"]),
        ((255,), Gate.REFUSE, ["exit-255"]),
    ],
)
def test_the_first_gate_that_does_not_say_go_decides(
    folder: Path, codes: tuple[int, ...], gate: Gate, reasons: list[str]
) -> None:
    for number, code in enumerate(codes):
        put(folder, f"{number}0-gate", f"exit {code}")
    verdict = ask_gates(folder, limit_s=20)
    assert verdict.gate is gate
    assert [check.reason for check in verdict.asked] == reasons


def test_a_gate_that_gives_no_answer_refuses(folder: Path) -> None:
    put(folder, "10-hangs", "sleep 600")
    assert ask_gates(folder, limit_s=0.3).gate is Gate.REFUSE
