"""Our client with Arti inside, beside C tor with OpenSSH, through one private Tor
network and one onion service in front of one sshd.

C tor is asked as soon as its SOCKS port is open, and keeps its directory for warm
starts, as ours does.
"""

import json
import os
import shutil
import statistics
import subprocess
import threading
import time

from measure.place import HERE, free_port, is_open, wait_for
from measure.table import Row, mebibytes
from measure.timing import Failed, median_pairs, memory, whole

BULK = 16 << 20
AT_ONCE = 4
PEER = "C tor and OpenSSH"


def tor(bench):
    place = bench.place()
    with Network(place) as network:
        yield from measured(bench, place, network)


def measured(bench, place, network):
    ours = lambda state, *command, data=os.devnull: whole(network.ours(state, *command), place.env, data)
    theirs = lambda state, *command, data=os.devnull: network.theirs(state, command, data)[0]
    numbers = iter(range(10**6))
    fresh = lambda: f"state-{next(numbers)}"
    took = median_pairs(bench.few, lambda: ours(fresh(), "true"), lambda: theirs(fresh(), "true"), warm_up=False)
    yield Row.ratio("Tor, cold", *took, peer=PEER)
    both = lambda *command, **more: median_pairs(
        bench.few, lambda: ours("used-ours", *command, **more), lambda: theirs("used-theirs", *command, **more))
    yield Row.ratio("Tor, warm", *both("true"), must=0.45, peer=PEER)
    data = place.path("data")
    with open(data, "wb") as file:
        file.write(os.urandom(BULK))
    yield Row.ratio("Tor, warm, 16 MiB to the machine", *both("wc", "-c", data=data), peer=PEER)
    from_machine = both("head", "-c", str(BULK), "/dev/zero")
    yield Row.ratio("Tor, warm, 16 MiB from the machine", *from_machine, must=0.9, peer=PEER)
    yield four(bench, place, network, fresh, ours)
    used = memory(network.ours("used-ours", "true"), place.env, place.path("memory"))
    their_tor = network.theirs("used-theirs", ["true"], os.devnull)[1]
    yield Row.bound("a Tor session, memory", used, their_tor, must=45, peer="C tor alone", unit=mebibytes)
    if bench.keeps_sessions:
        yield kept_session(bench, place, network)


def four(bench, place, network, fresh, ours):
    """Four cold starts that share one state, beside one alone."""

    def together():
        state, took, failed = fresh(), [], []

        def one():
            try:
                took.append(ours(state, "true"))
            except Failed as error:
                failed.append(error)

        threads = [threading.Thread(target=one) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return max(took)

    took = median_pairs(bench.few, together, lambda: ours(fresh(), "true"), warm_up=False)
    return Row.ratio("Tor, four cold at once", *took, must=1.5, peer="one alone")


def kept_session(bench, place, network):
    """The second of two, beside OpenSSH's master over a C tor that runs."""
    ours = network.ours("used-ours", "true", options=bench.persist)
    with network.running_tor("used-theirs") as socks:
        auto = ["-oControlMaster=auto", "-oControlPersist=1m", f"-oControlPath={place.path('auto')}"]
        theirs = network.by_socks(socks, *auto)
        took = median_pairs(
            bench.pairs, lambda: whole(ours, place.env), lambda: whole([*theirs, "true"], place.env))
        subprocess.run([*theirs, "-O", "exit"], env=place.env, stderr=subprocess.DEVNULL)
    subprocess.run([place.binary, "close", "--all"], env=place.env, capture_output=True)
    return Row.ratio("second `clan-connect ssh` over Tor, warm by itself", *took, must=0.9, peer=PEER)


class Tor:
    """A C tor that is a client for as long as it is needed."""

    def __init__(self, network, state):
        self.network, self.state = network, network.place.path(state)

    def __enter__(self):
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        socks = free_port()
        self.process = self.network.tor(self.state, f"SocksPort 127.0.0.1:{socks}\n")
        wait_for(lambda: is_open(socks), "the SOCKS port")
        return socks

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(next(line.split()[1] for line in status if line.startswith("VmHWM"))) / 1024

    def __exit__(self, *_):
        self.network.place.stop(self.process)


class Network:
    """The private network, and an onion service in it."""

    def __init__(self, place):
        self.place = place

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([f"{HERE}/tor-network", self.place.path("network")], **pipes)
        self.info = json.loads(self.process.stdout.readline())
        self.config = self.place.write("arti.toml", self.info["arti"])
        self.port = self.place.sshd("127.0.0.1", free_port())
        self.onion = self.service()
        network = {"tor": {"priority": 10, "peers": {"m": {"host": {"plain": self.onion}}}}}
        self.exports = self.place.write("exports.json", json.dumps(network))
        return self

    def __exit__(self, *_):
        # It outlives its network otherwise, and complains.
        self.place.end()
        self.process.stdin.close()
        self.process.wait()

    def tor(self, folder, options):
        name = "torrc." + os.path.basename(folder)
        torrc = self.place.write(name, self.info["torrc"] + f"DataDirectory {folder}\n" + options)
        return self.place.start(["tor", "-f", torrc, "--defaults-torrc", "/dev/null", "--hush"])

    def service(self):
        folder = self.place.path("service")
        os.makedirs(folder, mode=0o700)
        for file in self.info["seed"]:
            shutil.copy(file, folder)
        log = f"{folder}/info.log"
        service = f"HiddenServiceDir {folder}/onion\nHiddenServicePort 22 127.0.0.1:{self.port}\n"
        self.tor(folder, f"SocksPort 0\nLog info file {log}\n{service}")
        hostname = f"{folder}/onion/hostname"
        wait_for(lambda: os.path.exists(hostname), "the onion service")
        said = lambda: open(log).read()
        uploaded = lambda: "Uploaded hidden service descriptor" in said() or said().count("upload") > 3
        wait_for(uploaded, "its descriptor")
        time.sleep(3)
        return open(hostname).read().strip()

    def ours(self, state, *command, options=()):
        args = [self.place.binary, "-q", "--exports", self.exports, "--tor", "embedded"]
        args += ["--tor-config", self.config, "--tor-state", self.place.path(state)]
        return args + ["ssh", "m", "-l", "root", *options, "-c", *command]

    def running_tor(self, state):
        return Tor(self, state)

    def by_socks(self, socks, *options):
        proxy = f"ProxyCommand=nc -X 5 -x 127.0.0.1:{socks} %h %p"
        return self.place.theirs("-o", "ConnectionAttempts=1", "-o", proxy, *options, self.onion)

    def theirs(self, state, command, data):
        """Seconds with the start of C tor, and the MiB that this one used."""
        begin = time.perf_counter()
        tor = self.running_tor(state)
        with tor as socks:
            while True:
                try:
                    whole([*self.by_socks(socks), *command], self.place.env, data)
                    break
                except Failed:
                    # It has no circuit yet.
                    if time.perf_counter() > begin + 60:
                        raise
            return time.perf_counter() - begin, tor.memory()
