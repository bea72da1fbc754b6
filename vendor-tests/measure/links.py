"""Machines in network namespaces of their own, with slow links and dead ones."""

import os
import subprocess

from measure.place import HERE, wait_for

# Where sshd listens there.
PORT = 2222


def namespace_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except FileNotFoundError:
        return None


class Machine:
    """A namespace that exists as long as the process in it."""

    def __init__(self, place):
        self.child = place.start(["unshare", "--net", "sleep", "infinity"])
        self.pid = str(self.child.pid)
        wait_for(lambda: namespace_of(self.pid) not in (None, namespace_of("self")), "a namespace")
        self.enter = ["nsenter", f"--net=/proc/{self.pid}/ns/net"]
        self.ip("link set lo up")

    def ip(self, words):
        subprocess.run([*self.enter, "ip", *words.split()], check=True)


def join(place, one, other, net, round_trip):
    """A link on which 10.NET.1 is one machine and 10.NET.2 the other."""
    device = "slow" + net.replace(".", "-")
    args = [one.pid, f"10.{net}.1", other.pid, f"10.{net}.2", str(round_trip // 2), device]
    link = place.start([f"{HERE}/slow-link", *args], stdout=subprocess.PIPE)
    if link.stdout.readline() != b"up\n":
        raise RuntimeError("there is no slow link: it takes root and /dev/net/tun")


def chain(place, hops, round_trip, program=None):
    """A client and machines behind each other, every one with an sshd: the client and
    the addresses on the way."""
    machines = [Machine(place) for _ in range(hops + 1)]
    addresses = []
    for at, (near, far) in enumerate(zip(machines, machines[1:])):
        net = f"92.{at + 1}"
        join(place, near, far, net, round_trip)
        place.sshd("0.0.0.0", PORT, prefix=far.enter, program=program)
        addresses.append(f"10.{net}.2")
    return machines[0], addresses


def three_networks(place):
    """A client, and a machine that answers at 10.91.N.2; whoever was at 10.91.N.9 is
    gone, and nothing says so."""
    client, machine = Machine(place), Machine(place)
    for link in range(1, 4):
        there = f"netns /proc/{machine.pid}/ns/net"
        client.ip(f"link add n{link} type veth peer name n{link} {there}")
        for end, host in [(client, 1), (machine, 2)]:
            end.ip(f"addr add 10.91.{link}.{host}/24 dev n{link}")
            end.ip(f"link set n{link} up")
        client.ip(f"neigh add 10.91.{link}.9 lladdr 02:00:00:00:00:09 dev n{link}")
    place.sshd("0.0.0.0", PORT, prefix=machine.enter)
    return client, machine
