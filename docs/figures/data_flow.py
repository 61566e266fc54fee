"""The flow of the data, from cube to paper: ``python docs/figures/data_flow.py``."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from style import main

DATA, STEP, EDGE, TEXT = "#fff3dc", "#dcebfa", "#7d8794", "#14202e"
HEIGHT = 0.62

#: Name: x, y, width, title, second line, kind. Data are things that users hold, steps are functions that they call.
BOXES = {
    "cube": (0, 2, 1.7, "FITS cube", "RA, Dec, velocity", DATA),
    "cut": (2.15, 2, 2.35, "extract_streamer_subcube", "range, region, noise", STEP),
    "reduce": (4.95, 2, 1.75, "reduce_to_1D", "middle line, errors", STEP),
    "streamer": (7.15, 2, 1.75, "Streamer", "10 points in PPV", DATA),
    "fit": (7.15, 1, 1.75, "fit_streamline", '"auto" or a start', STEP),
    "known": (7.15, 0, 1.75, "what is known", "axis, mass, distance", DATA),
    "result": (4.95, 1, 1.75, "FitResult", "orbit, covariance", DATA),
    "outputs": (4.95, 0, 1.75, "outputs", "figures, films, tables", STEP),
    "errors": (2.15, 1, 2.35, "intervals, derived, compare", "profiles, times, rates", STEP),
    "posterior": (2.15, 0, 2.35, "posterior.sample", "No-U-Turn Sampler", STEP),
    "explorer": (0, 0.5, 1.7, "StreamerExplorer", "all of it, by hand", STEP),
}
#: From box and side to box and side.
ARROWS = [
    ("cube", "right", "cut", "left"),
    ("cut", "right", "reduce", "left"),
    ("reduce", "right", "streamer", "left"),
    ("streamer", "bottom", "fit", "top"),
    ("known", "top", "fit", "bottom"),
    ("fit", "left", "result", "right"),
    ("result", "left", "errors", "right"),
    ("result", "left", "posterior", "right"),
    ("result", "bottom", "outputs", "top"),
]


def place(name, side):
    x, y, width, *_ = BOXES[name]
    return {
        "left": (x, y + HEIGHT / 2),
        "right": (x + width, y + HEIGHT / 2),
        "top": (x + width / 2, y + HEIGHT),
        "bottom": (x + width / 2, y),
    }[side]


def draw():
    figure = Figure(figsize=(9.2, 2.9))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-0.1, 9.0), ylim=(-0.12, 2.74))
    ax.axis("off")
    for x, y, width, title, words, colour in BOXES.values():
        ax.add_patch(FancyBboxPatch((x, y), width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1", fc=colour, ec=EDGE, lw=1.2))
        middle = x + width / 2
        weight = "bold" if colour == DATA else "normal"
        ax.text(middle, y + 0.41, title, ha="center", va="center", color=TEXT, weight=weight, size=9.5)
        ax.text(middle, y + 0.18, words, ha="center", va="center", color=TEXT, size=8)
    for start, out, end, into in ARROWS:
        a, b = place(start, out), place(end, into)
        ax.annotate("", b, a, arrowprops={"arrowstyle": "-|>", "color": EDGE, "lw": 1.4, "shrinkA": 1, "shrinkB": 1})
    return figure


if __name__ == "__main__":
    main(draw, "data_flow")
