"""The frame of rotation, the side view, and the sky for both signs of inc: ``python docs/figures/frames.py``."""

import numpy as np
from astropy import units as u
from matplotlib.figure import Figure
from style import main

import sting

INC, PA = 30, 25  # deg: the axis points away from the observer, and a little to the east
PARAMS = {
    "r0": 1000 * u.au,
    "theta0": 50 * u.deg,
    "phi0": 55 * u.deg,
    "v_r0": 0.3 * u.km / u.s,
    "rc": 300 * u.au,
    "mass": 1 * u.Msun,
}
INK, PALE, AXIS, PATH, RED, BLUE = "#222222", "#6d6d6d", "#7a3fa0", "#e07b00", "#c22f2f", "#2457b5"


def path(inc, pa):
    """The streamline in units of r0: west, away from the observer, north."""
    line = sting.streamline(PARAMS | {"inc": inc * u.deg, "pa": pa * u.deg}, distance=100 * u.pc)
    return (line.position / PARAMS["r0"]).value


def arrow(ax, start, end, colour, text="", offset=(0, 0), width=1.6, **style):
    ax.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0} | style
    )
    if text:
        ax.text(end[0] + offset[0], end[1] + offset[1], text, color=colour, ha="center", va="center")


def arc(ax, points, colour, text, outwards=1.15):
    """A curve of an angle, with an arrow at its end and its name at its middle."""
    ax.plot(*points.T, color=colour, lw=1.2)
    arrow(ax, points[-2], points[-1], colour, width=1.2)
    ax.text(*(points[len(points) // 2] * outwards), text, color=colour, ha="center", va="center")


def empty(ax, title, half, centre=(0, 0)):
    ax.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - 0.9 * half, centre[1] + 0.9 * half), aspect="equal")
    ax.set_title(title, fontsize=10.5, weight="bold")
    ax.axis("off")


def rotation_frame(ax):
    """Seen from a little above the midplane."""
    azimuth, height = np.radians([-62, 20])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    up = np.array([-np.sin(height) * np.cos(azimuth), -np.sin(height) * np.sin(azimuth), np.cos(height)])
    view = np.stack([right, up]).T
    turn = np.linspace(0, 2 * np.pi, 100)
    ax.fill(*(0.75 * np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1) @ view).T, color="#b9c4d0", alpha=0.45, lw=0)
    for axis, text, offset in ((np.eye(3)[0], "$x$", (0.06, 0.03)), (np.eye(3)[1], "$y$", (0.07, 0.02))):
        arrow(ax, (0, 0), 1.0 * axis @ view, PALE, text, offset, width=1.1)
    arrow(ax, (0, 0), np.array([0, 0, 1.15]) @ view, AXIS, "$z$, rotation axis", (0, 0.06))
    # counterclockwise as seen from the tip of the axis
    sense = np.stack([0.13 * np.cos(turn[20:90]), 0.13 * np.sin(turn[20:90]), 0.98 + 0 * turn[20:90]], 1) @ view
    ax.plot(*sense.T, color=AXIS, lw=1.2)
    arrow(ax, sense[-2], sense[-1], AXIS, width=1.2)

    theta, phi = PARAMS["theta0"].to_value(u.rad), PARAMS["phi0"].to_value(u.rad)
    outwards = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    along = np.array([-np.sin(phi), np.cos(phi), 0])
    start = outwards @ view
    # inc = pa = 0 leaves the frame as it is: x to the west, y away from the observer, z to the north
    ax.plot(*(path(0, 0) @ view).T, color=PATH, lw=2.4)
    ax.plot([0, start[0]], [0, start[1]], color=INK, lw=1, ls="--")
    ax.text(*(0.74 * start + (0.1, -0.04)), "$r_0$", color=INK, ha="center")
    foot = outwards * (1, 1, 0)
    for a, b in ((0 * foot, foot), (foot, outwards)):
        ax.plot(*(np.stack([a, b]) @ view).T, color=PALE, lw=0.9, ls=":")
    ax.plot(*start, "o", color=INK, ms=5, zorder=5)
    ax.plot(0, 0, "*", color=INK, ms=11, zorder=5)
    angles = np.linspace(0, 1, 40)[:, None]
    polar = np.hstack([np.sin(angles * theta) * np.cos(phi), np.sin(angles * theta) * np.sin(phi), np.cos(angles * theta)])
    arc(ax, 0.42 * polar @ view, INK, r"$\theta_0$", 1.22)
    arc(ax, 0.38 * np.hstack([np.cos(angles * phi), np.sin(angles * phi), 0 * angles]) @ view, INK, r"$\phi_0$", 1.25)
    arrow(ax, start, (0.74 * outwards) @ view + (0.0, 0.035), BLUE, "$v_{r0}$", (-0.03, 0.12))
    arrow(ax, start, (outwards + 0.34 * along) @ view, BLUE, r"$\omega r_0 \sin\theta_0$", (-0.02, 0.07))
    empty(ax, "frame of rotation", 1.05, (0.1, 0.34))


def axes_on_sky(inc):
    """Unit vectors of the frame of rotation on the axes west, away, north: columns of the matrix of the conventions page."""
    inc, pa = np.radians([inc, PA])
    return np.array(
        [
            [np.cos(pa), np.sin(pa) * np.sin(inc), -np.sin(pa) * np.cos(inc)],
            [0, np.cos(inc), np.sin(inc)],
            [np.sin(pa), -np.cos(pa) * np.sin(inc), np.cos(pa) * np.cos(inc)],
        ]
    )


def sky(ax, inc):
    """North up, east to the left."""
    matrix = axes_on_sky(inc)
    turn = np.linspace(0, 2 * np.pi, 200)
    ring = 0.6 * (np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1) @ matrix.T)
    velocity = np.stack([-np.sin(turn), np.cos(turn), 0 * turn], 1) @ matrix.T[:, 1]
    ax.fill(ring[:, 0], ring[:, 2], color="#b9c4d0", alpha=0.45, lw=0)
    for mask, colour in ((velocity > 0, RED), (velocity <= 0, BLUE)):
        ax.plot(np.where(mask, ring[:, 0], np.nan), np.where(mask, ring[:, 2], np.nan), color=colour, lw=2)
        turning = 15 if colour == RED else 115  # the sense of the rotation
        arrow(ax, ring[turning, ::2], ring[turning + 3, ::2], colour)
    near = ring[np.argmin(ring[:, 1]), ::2]
    label = (-0.75, 0.5) if inc > 0 else (0.55, -0.55)
    ax.annotate("nearer side", near, label, color=INK, ha="center", size=9, arrowprops={"arrowstyle": "-", "color": PALE})
    arrow(ax, (0, 0), (0, 1.0), PALE, "north ($z'$)\nDec offset > 0", (0.36, 0.0), width=1.1)
    arrow(ax, (0, 0), (-0.98, 0), PALE, "east\nRA offset > 0", (0.05, -0.19), width=1.1)
    arrow(ax, (0, 0), (0.98, 0), PALE, "west ($x'$)", (0, -0.1), width=1.1)
    tip = 1.12 * matrix[::2, 2] / np.hypot(*matrix[::2, 2])
    arrow(ax, (0, 0), tip, AXIS, "rotation axis", (-0.12, 0.08))
    angle = np.linspace(0, np.radians(PA), 30)
    arc(ax, 0.76 * np.stack([-np.sin(angle), np.cos(angle)], 1), AXIS, "pa", 1.12)
    ax.text(0.64, 0.42, "redshifted\nat pa $-$ 90°", color=RED, ha="left", va="center", size=9)
    ax.text(-0.5, -0.42, "blueshifted", color=BLUE, ha="right", va="center", size=9)
    line = path(inc, PA)
    ax.plot(line[:, 0], line[:, 2], color=PATH, lw=2.4)
    ax.plot(line[0, 0], line[0, 2], "o", color=INK, ms=5, zorder=5)
    ax.plot(0, 0, "*", color=INK, ms=11, zorder=5)
    ax.text(0, -0.72, "$\\otimes$ $y'$ points away from the observer; so does $v > v_{\\rm LSR}$", color=PALE, ha="center")
    where = "away from" if inc > 0 else "towards"
    empty(ax, f"on the sky, inc = {inc:+d}°: axis {where} observer", 1.12, (0, 0.2))


def side(ax):
    """The plane of the line of sight and of the rotation axis: away to the right, the direction of pa upwards."""
    inc = np.radians(INC)
    axis, disk = np.array([np.sin(inc), np.cos(inc)]), np.array([np.cos(inc), -np.sin(inc)])
    arrow(ax, (0, 0), (1.1, 0), PALE, "$y'$, away", (-0.13, -0.09), width=1.1)
    arrow(ax, (0, 0), (0, 1.0), PALE, "direction\nof pa", (-0.24, 0), width=1.1)
    ax.plot(*(np.array([-0.6, 0.6])[:, None] * disk).T, color="#8796a5", lw=5, alpha=0.7, solid_capstyle="butt")
    ax.text(*(0.66 * disk + (0.03, -0.07)), "disk", color="#5d6b79", ha="left")
    ax.text(*(-0.6 * disk + (-0.02, -0.03)), "nearer side", color=INK, ha="right", va="center", size=9)
    arrow(ax, (0, 0), 1.1 * axis, AXIS, "rotation axis", (0.1, 0.07))
    angle = np.linspace(0, inc, 30)
    arc(ax, 0.75 * np.stack([np.sin(angle), np.cos(angle)], 1), AXIS, "inc > 0", 1.22)
    angle = np.linspace(-np.pi / 2, inc, 40)
    arc(ax, 0.3 * np.stack([np.sin(angle), np.cos(angle)], 1), INK, "", 1.0)
    ax.text(-0.08, 0.36, "$i$ = 90° + inc", color=INK, ha="right")
    ax.plot([-1.1, 0], [0, 0], color=PALE, lw=1, ls=":")
    ax.text(-1.08, -0.05, "observer", color=INK, ha="left", va="top")
    ax.plot(-1.1, 0, marker=">", color=INK, ms=8)
    ax.plot(0, 0, "*", color=INK, ms=11, zorder=5)
    ax.text(0, -0.72, "inc = 0: disk edge-on; $i$: literature, 0 = face-on", color=PALE, ha="center")
    empty(ax, "from the side, inc = +30°", 1.12, (0, 0.2))


def draw():
    figure = Figure(figsize=(9.6, 7.9))
    panels = (rotation_frame, side, lambda ax: sky(ax, INC), lambda ax: sky(ax, -INC))
    for number, panel in enumerate(panels):
        panel(figure.add_axes((0.5 * (number % 2) + 0.01, 0.5 * (1 - number // 2), 0.48, 0.46)))
    return figure


if __name__ == "__main__":
    main(draw, "frames")
