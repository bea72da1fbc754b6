"""What is reached without Tor: over loopback, over slow links, past dead networks."""

import json
import os
import statistics
import subprocess

from measure import links
from measure.links import PORT
from measure.place import free_port
from measure.table import Row, mebibytes, seconds
from measure.timing import Failed, median_pairs, memory, to_output, whole


def start(bench):
    """What the program costs before it does anything."""
    place = bench.place()
    ours, theirs = [place.binary, "--version"], ["ssh", "-V"]
    took = median_pairs(5 * bench.pairs, lambda: whole(ours, place.env), lambda: whole(theirs, place.env))
    yield Row.bound("`--version`, time", *took, must=0.005, peer="`ssh -V`")
    yield memory_row(bench, place, "`--version`, memory", ours, theirs, must=6, peer="`ssh -V`")
    size = os.path.getsize(place.binary) / (1 << 20)
    yield Row.bound("the executable", size, None, must=40, unit=mebibytes)


def memory_row(bench, place, work, ours, theirs, must, peer="OpenSSH"):
    of = lambda args: lambda: memory(args, place.env, place.path("memory"))
    used = median_pairs(bench.few, of(ours), of(theirs))
    return Row.bound(work, *used, must=must, peer=peer, unit=mebibytes)


def loopback(bench):
    """One command and its memory."""
    place = bench.place()
    port = place.sshd("127.0.0.1", free_port())
    ours, theirs = clients(place, f"127.0.0.1:{port}", "true")
    took = median_pairs(bench.pairs, lambda: whole(ours, place.env), lambda: whole(theirs, place.env))
    yield Row.ratio("one exec, loopback", *took, must=0.40)
    yield memory_row(bench, place, "a direct session, memory", ours, theirs, must=12)


def clients(place, address, *command):
    """The same command by both clients."""
    host, port = address.split(":")
    return place.ours(address, *command), place.theirs("-p", port, host, *command)


def bulk(bench):
    """Much data, each way."""
    place = bench.place()
    port = place.sshd("127.0.0.1", free_port())
    size = (64 if bench.short else 1024) << 20
    # A hole in a file: reading it costs no disk.
    data = place.write("data", "")
    os.truncate(data, size)
    name = "64 MiB" if bench.short else "1 GiB"
    for work, source, command in [
        (f"{name} to the machine, loopback", data, ["cat > /dev/null"]),
        (f"{name} from the machine, loopback", os.devnull, [f"head -c {size} /dev/zero"]),
    ]:
        ours, theirs = clients(place, f"127.0.0.1:{port}", "sh", "-c", *command)
        # Words are joined by OpenSSH's client, and quoted by ours.
        theirs = theirs[:-3] + command
        took = median_pairs(bench.few, lambda: whole(ours, place.env, source), lambda: whole(theirs, place.env, source))
        yield Row.ratio(work, *took)


def slow(bench):
    """One command at a server that was never met, and at one that was."""
    for round_trip in (100, 300):
        yield from slow_link(bench, round_trip, bench.place(), f"one exec, {round_trip} ms", False, 0.50)
        if bench.newer_sshd:
            version = subprocess.run([bench.newer_sshd, "-V"], capture_output=True, text=True)
            version = (version.stderr or version.stdout).split(",")[0].strip().replace("_", " ")
            work = f"one exec, {round_trip} ms, {version} met before"
            yield from slow_link(bench, round_trip, bench.place(), work, True, 0.40, bench.newer_sshd)


def slow_link(bench, round_trip, place, work, was_met, must, program=None):
    client, (address,) = links.chain(place, 1, round_trip, program)
    ours, theirs = clients(place, f"{address}:{PORT}", "echo", "hi")

    def run(args):
        if not was_met:
            place.forget()
        return to_output([*client.enter, *args], place.env)

    took = median_pairs(bench.few * 2, lambda: run(ours), lambda: run(theirs))
    yield Row.ratio(f"{work}, to the output", *took, must=must)
    place.end()


def jump(bench):
    """Three logins behind each other."""
    place = bench.place()
    client, (*jumps, last) = links.chain(place, 3, 100)
    args = ["-J", ",".join(f"{jump}:{PORT}" for jump in jumps), "-p", str(PORT), last, "true"]

    def run(client_args):
        place.forget()
        return whole([*client.enter, *client_args], place.env)

    took = median_pairs(bench.few, lambda: run(place.ours_as_ssh(*args)), lambda: run(place.theirs(*args)))
    yield Row.ratio("`-J a,b host true`, 100 ms a hop", *took, must=0.50)


def warm(bench):
    """A second command, where the first one's connection is still there."""
    # Two round trips are two round trips for both.
    for where, make, must in [("loopback", near, 0.9), ("100 ms", far, None)]:
        place = bench.place()
        prefix, address = make(place)
        host, port = address.split(":")
        masters = {}
        for name, client in [("ours", place.ours_as_ssh), ("theirs", place.theirs)]:
            masters[name] = client("-S", place.path(f"master-{name}"), "-p", port, host)
            subprocess.run([*prefix, *masters[name], "-f", "-M", "-N"], env=place.env, check=True)
        run = lambda name: lambda: whole([*prefix, *masters[name], "true"], place.env)
        took = median_pairs(bench.pairs, run("ours"), run("theirs"))
        yield Row.ratio(f"second command, {where}, a master of each", *took, must=must)
        for args in masters.values():
            subprocess.run([*prefix, *args, "-O", "exit"], env=place.env, stderr=subprocess.DEVNULL)
        if bench.keeps_sessions:
            yield kept_session(bench, place, prefix, address, where, must)
        place.end()


def near(place):
    return [], f"127.0.0.1:{place.sshd('127.0.0.1', free_port())}"


def far(place):
    client, (address,) = links.chain(place, 1, 100)
    return client.enter, f"{address}:{PORT}"


def kept_session(bench, place, prefix, address, where, must):
    """`clan-connect ssh` twice, beside OpenSSH as Clan calls it."""
    host, port = address.split(":")
    exports = clan(place, "kept", [host], int(port))
    ours = [place.binary, "-q", "--exports", exports, "ssh", "m", "-l", "root", *bench.persist, "-c", "true"]
    auto = ["-oControlMaster=auto", "-oControlPersist=1m", f"-oControlPath={place.path('auto')}"]
    theirs = place.theirs(*auto, "-p", port, host)
    run = lambda args: lambda: whole([*prefix, *args], place.env)
    took = median_pairs(bench.pairs, run(ours), run([*theirs, "true"]))
    subprocess.run([*prefix, *theirs, "-O", "exit"], env=place.env, stderr=subprocess.DEVNULL)
    subprocess.run([*prefix, place.binary, "close", "--all"], env=place.env, capture_output=True)
    return Row.ratio(f"second `clan-connect ssh`, {where}, warm by itself", *took, must=must)


def clan(place, name, hosts, port=PORT):
    """Exports of a clan whose machine `m` has these addresses, the best first."""
    peers = lambda host: {"m": {"host": {"plain": host}, "port": port}}
    networks = {f"net{at}": {"priority": 100 - at, "peers": peers(host)} for at, host in enumerate(hosts)}
    return place.write(name, json.dumps(networks))


def race(bench):
    """Two dead networks above one that works, and a slow one above a fast one."""
    place = bench.place()
    client, machine = links.three_networks(place)
    links.join(place, client, machine, "91.4", 300)

    def ssh(exports, *more):
        # What worked last would start at once.
        place.forget()
        args = [place.binary, "--exports", exports, *more, "ssh", "m", "-l", "root"]
        return [*client.enter, *args, "-c", "echo", "hi"]

    alone, dead = clan(place, "alone", ["10.91.3.2"]), clan(place, "dead", ["10.91.1.9", "10.91.2.9", "10.91.3.2"])
    run = lambda exports: lambda: to_output(ssh(exports, "-q"), place.env)
    after_dead, by_itself = median_pairs(bench.few * 2, run(dead), run(alone))
    more = after_dead - by_itself
    shown = f"+ {seconds(more)}"
    yield Row(
        "race: two black holes above a working network", seconds(after_dead),
        f"without them {seconds(by_itself)}", more, shown, 0.5, "≤ + 0.50 s",
    )
    both, tries, won = clan(place, "both", ["10.91.4.2", "10.91.1.2"]), bench.few * 2, 0
    for _ in range(tries):
        done = subprocess.run(ssh(both, "-v"), env=place.env, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(done.stderr)
        won += "over network net0" in done.stderr
    yield Row("race: 300 ms of round trip, preferred to a fast network", f"{won} of {tries}", "–", tries - won, "–", 0, "all")
