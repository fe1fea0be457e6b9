from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from jobs.driver_lock import driver_is_gone, only_driver

HOLD = """
import sys, time
from pathlib import Path
from jobs.driver_lock import only_driver
with only_driver(Path(sys.argv[1]), "k3f9xa"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_driver_that_was_killed_is_known_to_be_gone(tmp_path: Path) -> None:
    assert driver_is_gone(tmp_path / "never begun")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert not driver_is_gone(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert driver_is_gone(tmp_path)


def test_the_lock_is_given_back(tmp_path: Path) -> None:
    with only_driver(tmp_path, "k3f9xa"):
        assert not driver_is_gone(tmp_path)
    assert driver_is_gone(tmp_path)
