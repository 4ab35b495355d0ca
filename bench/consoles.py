"""Programs whose standard output is the console of guests: starting them, waiting for what guests say, and what they cost."""
import os
import pathlib
import select
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
SCRIPT = pathlib.Path(sys.argv[0]).name


def cpu_seconds(*processes):
    """User and system time of the processes up to now."""
    total = 0
    for process in processes:
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def spawn(command, stdin=subprocess.DEVNULL):
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Console:
    def __init__(self, process):
        self.process, self.text = process, b""

    def wait(self, mark, seconds, count=1):
        """Reads until the mark has come `count` times in all; ends the script when it does not."""
        end = time.monotonic() + seconds
        while self.text.count(mark) < count:
            left = end - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            piece = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not piece or b"@@FAIL" in self.text:
                why = "ended" if ready else f"{seconds:.0f} s are over"
                sys.exit(f"{SCRIPT}: {why} with {self.text.count(mark)} of {count} {mark.decode()}: {' '.join(map(str, self.process.args))}\n"
                         f"{(self.text + piece)[-2000:].decode(errors='replace')}")
            self.text += piece
