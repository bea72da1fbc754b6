"""Where it is measured: a home with a key, sshds, both clients."""

import os
import shutil
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVERS = ["/usr/sbin", "/sbin", os.path.join(HERE, "..", "target", "vendor-programs")]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, what, within=60):
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what} did not happen")
        time.sleep(0.01)


class Place:
    """A folder of its own, what runs in it, and how both clients are called."""

    def __init__(self, top, binary):
        self.top, self.binary = top, binary
        self.children = []
        self.home = self.path("home")
        os.makedirs(f"{self.home}/.ssh", mode=0o700)
        os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *SERVERS])
        # Where connections are kept for the next command.
        os.mkdir(self.path("run"), mode=0o700)
        self.env = {"HOME": self.home, "PATH": os.environ["PATH"], "USER": "root"}
        self.env["XDG_RUNTIME_DIR"] = self.path("run")
        self.key = f"{self.home}/.ssh/id_ed25519"
        for key in [self.path("host_key"), self.key]:
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        # OpenSSH looks into the home that is in /etc/passwd, so that all is said here.
        self.config = self.write(
            "ssh_config",
            f"Host *\nUser root\nIdentityFile {self.key}\nIdentitiesOnly yes\n"
            f"StrictHostKeyChecking accept-new\nUserKnownHostsFile {self.home}/.ssh/known_hosts\n",
        )

    def path(self, name):
        return os.path.join(self.top, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def start(self, args, **more):
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen(args, env=self.env, **{**quiet, **more})
        self.children.append(child)
        return child

    def stop(self, child):
        child.terminate()
        child.wait()
        self.children.remove(child)

    def sshd(self, address, port, prefix=(), program=None):
        """A server there; it is up when this returns."""
        os.makedirs("/run/sshd", exist_ok=True)
        program = program or shutil.which("sshd") or sys.exit("no sshd: apt install openssh-server")
        name = f"sshd-{len(self.children)}"
        # Commands of bash(1) read ~/.bashrc over ssh, unless it is a shell in a shell.
        config = self.write(
            f"{name}.config",
            f"ListenAddress {address}:{port}\nHostKey {self.path('host_key')}\n"
            f"AuthorizedKeysFile {self.key}.pub\nStrictModes no\nPermitRootLogin yes\n"
            f"PidFile none\nMaxStartups 100\nSetEnv SHLVL=1\n",
        )
        log = self.path(f"{name}.log")
        self.start([*prefix, program, "-D", "-f", config, "-E", log])
        wait_for(lambda: os.path.exists(log) and "Server listening" in open(log).read(), "sshd")
        return port

    def forget(self):
        """No server was ever met."""
        for name in [".ssh/known_hosts", ".ssh/known_hosts.old"]:
            if os.path.exists(f"{self.home}/{name}"):
                os.remove(f"{self.home}/{name}")
        for name in [".cache", ".local"]:
            shutil.rmtree(f"{self.home}/{name}", ignore_errors=True)

    def ours(self, address, *command, options=()):
        """`clan-connect ssh`."""
        args = [self.binary, "-q", "ssh", "m", "--target-host", f"root@{address}", *options]
        return args + ["-c", *command]

    def ours_as_ssh(self, *args):
        return [self.binary, "openssh", "-q", "-F", self.config, *args]

    def theirs(self, *args):
        return ["ssh", "-q", "-F", self.config, *args]

    def end(self):
        for child in reversed(self.children):
            child.kill()
            child.wait()
        self.children.clear()
