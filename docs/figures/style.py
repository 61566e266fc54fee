"""What the drawn figures of the documentation share: where they go, and that two runs give the same file."""

import sys
from pathlib import Path

from matplotlib import rc_context

STATIC = Path(__file__).resolve().parents[1] / "_static"
#: Nothing in the file depends on the moment or the machine.
RC = {"svg.hashsalt": "sting", "svg.fonttype": "path", "font.size": 10, "mathtext.fontset": "dejavusans"}


def save(draw, name, folder=None):
    """Draw, and save as SVG on a transparent ground."""
    with rc_context(RC):
        path = Path(folder or STATIC) / f"{name}.svg"
        draw().savefig(path, transparent=True, metadata={"Date": None})
    # matplotlib leaves blanks at the ends of lines
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path


def main(draw, name):
    print(save(draw, name, *sys.argv[1:2]))
