"""Generated values: our reader and the real age and sops over the same files. The age
store's vars are encrypted for the machine, so that age runs twice, as in Clan; its
machine key is kept for many."""

import os
import subprocess

from measure.table import Row
from measure.timing import median_pairs, whole

# Bytes of a value, before they are written as text.
SECRET = 400


def variables(bench):
    place = bench.place()
    many = 100 if bench.short else 1000
    files = Stores(place, many)
    flake = lambda store: [place.binary, "--flake", place.path(store)]
    age_key = ["age", "-d", "-i", files.identity, "-o", place.path("opened"), files.machine_key]
    age_var = lambda at: ["age", "-d", "-i", place.path("opened"), files.age(at)]
    of = {
        "age": lambda numbers: [age_key, *map(age_var, numbers)],
        "sops": lambda numbers: [["sops", "decrypt", files.sops(at)] for at in numbers],
    }
    for store in ["age", "sops"]:
        check(place, flake(store), of[store]([1]), store, many)
        for work, command, numbers, count in [
            ("one var", ["vars", "get", "m", "g/v1"], [1], bench.pairs),
            (f"{many:,} vars", ["vars", "list", "m"], range(1, many + 1), bench.few),
        ]:
            ours = lambda: whole([*flake(store), *command], place.env)
            theirs = lambda: sum(forgetting(place, args) for args in of[store](numbers))
            yield Row.ratio(f"{work}, {store}", *median_pairs(count, ours, theirs), peer=store)


def forgetting(place, args):
    """age(1) does not write over a file."""
    if "-o" in args and os.path.exists(place.path("opened")):
        os.remove(place.path("opened"))
    return whole(args, place.env)


class Stores:
    """A machine `m` with the vars `g/v1` and following, in a store of either kind."""

    def __init__(self, place, many):
        self.place = place
        run = lambda *args, **more: subprocess.run(args, env=place.env, check=True, capture_output=True, **more).stdout
        os.makedirs(f"{place.home}/.config/sops/age")
        self.identity = f"{place.home}/.config/sops/age/keys.txt"
        run("age-keygen", "-o", self.identity)
        run("age-keygen", "-o", place.path("machine"))
        admin, machine = (run("age-keygen", "-y", of).decode().strip() for of in (self.identity, place.path("machine")))
        self.machine_key = self.folder("age/secrets/age-keys/machines/m") + "/key.age"
        run("age", "-r", admin, "-o", self.machine_key, place.path("machine"))
        sops = ["sops", "--config", "/dev/null", "encrypt", "--input-type", "binary", "--output-type", "json"]
        os.makedirs(place.path("age/vars"))
        for at in range(1, many + 1):
            with open(place.path("plain"), "wb") as plain:
                plain.write(os.urandom(SECRET).hex().encode())
            self.folder(f"age/secrets/clan-vars/per-machine/m/g/v{at}")
            self.folder(f"sops/vars/per-machine/m/g/v{at}")
            run("age", "-r", machine, "-o", self.age(at), place.path("plain"))
            with open(self.sops(at), "wb") as file:
                file.write(run(*sops, "--age", f"{admin},{machine}", place.path("plain")))

    def folder(self, name):
        os.makedirs(self.place.path(name), exist_ok=True)
        return self.place.path(name)

    def age(self, at):
        return self.place.path(f"age/secrets/clan-vars/per-machine/m/g/v{at}/v{at}.age")

    def sops(self, at):
        return self.place.path(f"sops/vars/per-machine/m/g/v{at}/secret")


def check(place, ours, theirs, store, many):
    """Both print the same; and all are listed with their value."""
    output = lambda args: subprocess.run(args, env=place.env, check=True, capture_output=True).stdout
    if os.path.exists(place.path("opened")):
        os.remove(place.path("opened"))
    *before, last = theirs
    for args in before:
        output(args)
    assert output([*ours, "vars", "get", "m", "g/v1"]) == output(last), store
    assert output([*ours, "vars", "list", "m"]).decode().count(f"secret: {store}>") == many, store
