"""What a command says while it says nothing."""

import sys
import time

import pytest

from keras_mtl.commands.heartbeat import heartbeat

pytestmark = pytest.mark.once("torch", "a command line knows no backend")


def test_silence_is_broken_and_speech_is_not(capsys):
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyError), heartbeat(every=0.2):
        print("compiling")
        time.sleep(0.5)
        print("compiled")
        for _ in range(6):
            time.sleep(0.08)
            print(".", end="", file=sys.stderr)  # a progress bar
        assert sys.stdout.isatty() is before[0].isatty()
        raise KeyError
    assert (sys.stdout, sys.stderr) == before
    said, shown = capsys.readouterr()
    first, *beats, last = said.splitlines()
    assert (first, last, shown) == ("compiling", "compiled", "......")
    assert 1 <= len(beats) <= 2 and set(beats) <= {"  ... 0 s", "  ... 1 s"}
