"""A supervised process: started again where it lost something, and otherwise as if it were the command itself."""

import pytest

from tests import supervised
from youtube8m_mod import processes
from youtube8m_mod.errors import UserError


def test_lost_twice_and_then_done(tmp_path, capsys):
    path = str(tmp_path / "done")
    assert processes.supervise(supervised.ends, path, 2, 0, max_restarts=3) == 0
    assert open(path).read() == "2\n"
    said = capsys.readouterr().err
    assert "warning: Worker 0 died; going on from the last checkpoint (restart 1 of 3)." in said
    assert "warning: Worker 1 died; going on from the last checkpoint (restart 2 of 3)." in said


def test_no_restart_is_left(tmp_path):
    with pytest.raises(UserError, match="^Worker 0 died; --max_restarts=0 are used up, and the same command goes on"):
        processes.supervise(supervised.ends, str(tmp_path / "done"), 1, 0, max_restarts=0)


def test_killed_and_started_again(capsys):
    assert processes.supervise(supervised.is_killed_once, max_restarts=1) == 0
    assert "warning: The training process was ended by SIGKILL; going on" in capsys.readouterr().err


def test_errors_end_it_with_their_exit_code(tmp_path, capfd):
    assert processes.supervise(supervised.fails, max_restarts=3) == 1
    assert capfd.readouterr().err == "error: a file is missing.\n"


def test_signals_are_passed_on(tmp_path):
    path = str(tmp_path / "signal")
    assert processes.supervise(supervised.waits, path, max_restarts=3) == 143
    assert open(path).read() == "SIGTERM"
