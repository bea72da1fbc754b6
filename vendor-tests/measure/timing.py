"""How long a program takes, and how much memory: of two in turn, so that whatever
else the machine does slows both alike."""

import os
import statistics
import subprocess
import tempfile
import time


class Failed(Exception):
    """What was to be measured did not do its work."""


class Run:
    """A process. Its errors go into a file: who stays behind may hold it open."""

    def __init__(self, args, env, **more):
        self.args, self.errors = args, tempfile.TemporaryFile()
        self.child = subprocess.Popen(args, env=env, stderr=self.errors, **more)

    def end(self):
        status = self.child.wait()
        self.errors.seek(0)
        errors = self.errors.read().decode(errors="replace")
        self.errors.close()
        if status != 0:
            raise Failed(f"{' '.join(self.args)} ended with {status}: {errors}")


def whole(args, env, stdin=os.devnull):
    """Seconds from the start of a process to its end."""
    with open(stdin, "rb") as data:
        begin = time.perf_counter()
        run = Run(args, env, stdin=data, stdout=subprocess.DEVNULL)
        run.child.wait()
        took = time.perf_counter() - begin
    run.end()
    return took


def to_output(args, env):
    """Seconds from the start of a process to the first byte of its output."""
    begin = time.perf_counter()
    run = Run(args, env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    first = os.read(run.child.stdout.fileno(), 1)
    took = time.perf_counter() - begin
    run.child.stdout.read()
    run.child.stdout.close()
    run.end()
    if not first:
        raise Failed(f"{' '.join(args)} had no output")
    return took


def memory(args, env, file):
    """MiB that a process had at most; time(1) is asked, because what wait4(2) says of a
    child counts what the parent had when it started it."""
    whole(["/usr/bin/time", "-f", "%M", "-o", file, *args], env)
    with open(file) as said:
        return int(said.read().split()[-1]) / 1024


def pairs(count, ours, theirs, warm_up=True):
    """The figures of both, each asked in turn; whoever is first takes turns, too."""
    if warm_up:
        ours(), theirs()
    figures = ([], [])
    for at in range(count):
        order = ((0, ours), (1, theirs))
        for which, run in order if at % 2 == 0 else reversed(order):
            figures[which].append(run())
    return figures


def median_pairs(count, ours, theirs, warm_up=True):
    return tuple(map(statistics.median, pairs(count, ours, theirs, warm_up)))


def busy(seconds=1.0):
    """The share of the processors' time that somebody uses, while we use none."""

    def times():
        with open("/proc/stat") as stat:
            fields = list(map(int, stat.readline().split()[1:9]))
        return sum(fields), fields[3] + fields[4]

    all_before, idle_before = times()
    time.sleep(seconds)
    all_after, idle_after = times()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)
