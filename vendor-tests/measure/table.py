"""The one table: a row for each kind of work, with what it has to show."""

# What is missed by more than this is no matter of a busy machine.
WIDE = 1.2


def seconds(value):
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def mebibytes(value):
    return f"{value:.1f} MiB"


class Row:
    def __init__(self, work, ours, theirs, figure, shown, must=None, must_shown="–"):
        self.work, self.ours, self.theirs = work, ours, theirs
        self.figure, self.shown, self.must, self.must_shown = figure, shown, must, must_shown

    @classmethod
    def ratio(cls, work, ours, theirs, must=None, peer="OpenSSH", unit=seconds):
        """Ours and theirs; what counts is how they compare."""
        figure = ours / theirs
        must_shown = "–" if must is None else f"≤ {must:.2f}"
        return cls(work, unit(ours), f"{peer} {unit(theirs)}", figure, f"{figure:.2f}", must, must_shown)

    @classmethod
    def bound(cls, work, ours, theirs, must, peer="OpenSSH", unit=seconds):
        """Ours and theirs; what counts is ours alone."""
        shown = f"{ours / theirs:.2f}" if theirs else "–"
        theirs = f"{peer} {unit(theirs)}" if theirs else "–"
        return cls(work, unit(ours), theirs, ours, shown, must, f"≤ {unit(must)}")

    def verdict(self):
        if self.must is None:
            return ""
        if self.figure <= self.must:
            return "yes"
        return "**no**" if self.missed_widely() else "nearly"

    def missed_widely(self):
        return self.must is not None and self.figure > self.must * WIDE

    def cells(self):
        return [self.work, self.ours, self.theirs, self.shown, self.must_shown, self.verdict()]


HEAD = ["work", "ours", "beside", "ratio", "must", "met"]


def line(cells):
    return "| " + " | ".join(cells) + " |"


def markdown(rows):
    return "\n".join([line(HEAD), line(["---"] * len(HEAD)), *(line(row.cells()) for row in rows)])
