"""The path in space."""

import numpy as np
from astropy import units as u
from matplotlib.ticker import MaxNLocator

from sting.messages import named_keywords
from sting.outputs.style import MODEL, SAMPLES, STAR, model_of, new_axes, titled

__all__ = ["plot_orbit_3d"]


def disk_of(inc, pa):
    """Rotation axis (3,) and unit circle of the disk (n, 3) in the axes west, away, north."""  # numpydoc ignore=PR01
    axis = np.array([-np.sin(pa) * np.cos(inc), np.sin(inc), np.cos(pa) * np.cos(inc)])
    first = np.array([np.cos(pa), 0.0, np.sin(pa)])
    angle = np.linspace(0, 2 * np.pi, 73)[:, None]
    return axis, np.cos(angle) * first + np.sin(angle) * np.cross(axis, first)


def _rc(result):
    """Centrifugal radius (au) of what `streamline` gives."""
    if hasattr(result, "internal_value"):
        return result.internal_value("rc")
    return result.chains("rc").flat[np.argmin(result.losses)]


@named_keywords
def plot_orbit_3d(result, *, disk_radius=None, elev=18, azim=-62, ax=None, title=None):
    """Draw the path in space, with the disk, its axis, and the shadow of the path on the sky.

    Parameters
    ----------
    result : `~sting.fit_result.FitResult` or `~sting.posterior.Posterior`
        The fit, or draws, whose middle is drawn.
    disk_radius : `~astropy.units.Quantity`, optional
        Radius of the disk that is drawn in the midplane; by default a quarter of the path's extent, so that it can be seen. The
        dark ring in it is the centrifugal radius.
    elev, azim : float, optional
        Place of the camera in degrees, as in `mpl_toolkits.mplot3d.axes3d.Axes3D.view_init`. The observer is at
        ``elev=0, azim=-90``.
    ax : `~mpl_toolkits.mplot3d.axes3d.Axes3D`, optional
        Axes to draw into; by default a new figure.
    title : str, optional
        Title.

    Returns
    -------
    `~matplotlib.figure.Figure`

    Examples
    --------
    >>> figure = plot_orbit_3d(result)
    >>> figure.axes[0].get_zlabel()
    'north (au)'
    """
    figure, ax = new_axes(ax, (5.6, 5.4), projection="3d", computed_zorder=False)
    path = result.streamline().position.to_value(u.au)
    params = result.best_opt_params | result.fixed_params
    axis, ring = disk_of(*(params[name].to_value(u.rad) for name in ("inc", "pa")))
    reach = 1.05 * np.abs(path).max()
    radius = 0.25 * reach if disk_radius is None else u.Quantity(disk_radius, u.au).value
    rc = _rc(result)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    ax.plot(path[:, 0], np.full(len(path), reach), path[:, 2], color="0.6", lw=1.2, label="on the sky", zorder=1)
    ax.plot([0], [reach], [0], "*", color="0.8", mec="0.5", ms=9, zorder=1)
    ax.plot_surface(*np.einsum("k,nd->dkn", np.array([0, radius]), ring), color=SAMPLES, alpha=0.35, shade=False, zorder=2)
    ax.plot(*(radius * ring).T, color=SAMPLES, lw=1.2, label="disk", zorder=3)
    ax.plot(*(rc * ring).T, color="0.2", lw=1, label="$r_\\mathrm{c}$", zorder=3)
    ax.quiver(0, 0, 0, *(0.55 * reach * axis), color="0.3", lw=1.2, arrow_length_ratio=0.12, zorder=3)
    ax.text(*(0.6 * reach * axis), "rotation", fontsize=8, color="0.3")
    ax.quiver(0, 0, 0, 0, -0.8 * reach, 0, color="0.6", lw=1, ls=":", arrow_length_ratio=0.08, zorder=2)
    ax.text(0, -0.85 * reach, 0, "observer", fontsize=8, color="0.4", ha="right")
    ax.plot(*path.T, color=MODEL, lw=2.2, label=model_of(result), zorder=5)
    ax.plot(*path[:1].T, "o", color=MODEL, ms=5, zorder=5)
    ax.plot([0], [0], [0], "*", color=STAR, mec="k", ms=13, label="star", zorder=6)
    ax.set(xlabel="west (au)", ylabel="away (au)", zlabel="north (au)", box_aspect=(1, 1, 1), **titled(title))
    for one in (ax.xaxis, ax.yaxis, ax.zaxis):
        one.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize=8)
    ax.view_init(elev=elev, azim=azim)
    ax.legend(loc="upper left", fontsize="small")
    return figure
