"""Which point of the model a data point is compared to.

`nearest` finds the nearest place on the exact curve in the whitened (RA, Dec, v) space. `stretch` is STING 0.2.3's rule, kept to
reproduce published fits.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.constants import TWO_PI
from sting.core.orbit import w_of_radius
from sting.core.sky import Path, observe
from sting.core.transforms import wrap

Points = Float[Array, "n 3"]

#: Samples of the curve among which the search starts; Newton's method then finds the place itself.
N_SAMPLES = 64
N_NEWTON = 5

#: Samples that are looked at together: the arrays of more would be given to threads, which costs more than it gains.
PIECE = 64


def nearest(path: Path, points: Points, weight: Points) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Coordinate u in [0, 1] (0 the start, 1 the inner end) of the place on the curve nearest to each point.

    ``weight`` is 1 / sigma^2. With it comes the curvature there, the second derivative of half the squared distance by u.
    """

    def place(k):
        # closer together towards the inner end, where the velocity changes fast
        return 1 - (1 - k / (N_SAMPLES - 1)) ** 2

    def look(piece, found):
        k = jnp.minimum(piece * PIECE + jnp.arange(PIECE), N_SAMPLES - 1)
        samples, *_ = observe(path, place(k) * path["w_end"])
        squared = jnp.sum((samples[None] - points[:, None]) ** 2 * weight[:, None], axis=-1)
        least = jnp.min(squared, axis=1)
        return jnp.minimum(least, found[0]), jnp.where(least < found[0], k[jnp.argmin(squared, axis=1)], found[1])

    nothing = jnp.full(len(points), jnp.inf), jnp.zeros(len(points), int)
    _, closest = jax.lax.fori_loop(0, -(-N_SAMPLES // PIECE), look, nothing)
    start, low, high = place(closest), place(jnp.maximum(closest - 1, 0)), place(jnp.minimum(closest + 1, N_SAMPLES - 1))

    def newton(_, carry):
        u, _ = carry
        model, tangent, second = observe(path, u * path["w_end"])
        slope = path["w_end"] * jnp.sum((model - points) * tangent * weight, axis=-1)
        curvature = path["w_end"] ** 2 * jnp.sum((tangent**2 + (model - points) * second) * weight, axis=-1)
        # away from the minimum the curvature can be negative: then walk downhill to the edge of the bracket
        change = jnp.where(curvature > 0, -slope / curvature, -jnp.sign(slope) * (high - low) / 2)
        return jnp.clip(u + change, low, high), curvature

    return jax.lax.fori_loop(0, N_NEWTON, newton, (start, jnp.ones_like(start)))


def match_nearest(path: Path, points: Points, sigma: Points) -> Points:
    """RA offset, Dec offset (arcsec) and velocity (km/s) of the model at the place nearest to each point.

    The search is not differentiated. A last Newton step is, with the curvature as a constant: it moves the place by nothing, and
    its derivative is that of the implicit function theorem, so that the gradient of the loss is exact.
    """
    weight = 1 / sigma**2
    # of what goes in, not only of what comes out, lest the derivatives of the search are traced and compiled
    u, curvature = nearest(*jax.lax.stop_gradient((path, points, weight)))
    model, tangent, _ = observe(path, u * path["w_end"])
    slope = path["w_end"] * jnp.sum((model - points) * tangent * weight, axis=-1)
    moves = (u > 0) & (u < 1) & (curvature > 0)
    step = -jnp.where(moves, slope / jnp.where(moves, curvature, 1.0), 0.0)
    return model + tangent * (path["w_end"] * step)[:, None]


def polar(ra, dec):
    """Projected radius and polar angle (rad), with finite derivatives at the star itself."""
    at_star = (ra == 0) & (dec == 0)
    ra, dec = jnp.where(at_star, 1e-12, ra), jnp.where(at_star, 0.0, dec)
    return jnp.hypot(ra, dec), jnp.arctan2(dec, ra)


def reference_angle(ra, dec, n_elements, valid):
    """The circular median of the polar angles of the ``valid`` points in the innermost ``1/n_elements``."""
    r, theta = polar(ra, dec)
    count = jnp.sum(valid)
    rank = jnp.clip(jnp.floor(count / n_elements).astype(int), 0, jnp.maximum(count - 1, 0))
    inner = (r <= jnp.sort(jnp.where(valid, r, jnp.inf))[rank]) & valid
    anchor = jnp.arctan2(jnp.sum(jnp.where(inner, jnp.sin(theta), 0.0)), jnp.sum(jnp.where(inner, jnp.cos(theta), 0.0)))
    offsets = jnp.sort(jnp.where(inner, wrap(theta - anchor, TWO_PI), jnp.inf))
    return anchor + offsets[(jnp.sum(inner) - 1) // 2]


def distance_metric(ra, dec, n_elements, valid=None):
    """STING's measure of the way along a streamer, d = r sqrt(1 + dtheta^2), with dtheta counted from `reference_angle`.

    Points that are not ``valid`` get infinity.
    """
    r, theta = polar(ra, dec)
    valid = jnp.ones(r.shape, bool) if valid is None else valid
    dtheta = wrap(theta - reference_angle(ra, dec, n_elements, valid), TWO_PI)
    return jnp.where(valid, r * jnp.sqrt(1 + dtheta**2), jnp.inf)


def match_stretch(path: Path, points: Points, deltar, n_radii: int) -> Points:
    """Model values for each point by STING's rule: the data's range of d is mapped linearly onto the model's.

    The model is sampled at the radii r0 - k deltar, k < ``n_radii``, that lie above the inner end; its points with a d below the
    data's smallest are dropped.
    """
    radii = path["r0"] - jnp.arange(n_radii) * deltar
    inside = radii > path["r_end"]
    model, *_ = observe(path, w_of_radius(path, jnp.where(inside, radii, path["r0"])))
    d_data = distance_metric(points[:, 0], points[:, 1], 10)
    d_model = distance_metric(model[:, 0], model[:, 1], 10, inside)
    kept = inside & (d_model >= jnp.min(d_data))
    d_model = jnp.where(kept, d_model, jnp.inf)
    order = jnp.argsort(d_model)
    low, high = jnp.min(d_model), jnp.max(jnp.where(kept, d_model, -jnp.inf))
    # a model that lies wholly inside the data's inner edge has no kept point: compare with its outer end
    any_kept = jnp.any(kept)
    fraction = (d_data - jnp.min(d_data)) / (jnp.max(d_data) - jnp.min(d_data))
    goal = jnp.where(any_kept, low, 0.0) + fraction * jnp.where(any_kept & (high > low), high - low, 1.0)
    known = jnp.where(jnp.isfinite(d_model[order]), d_model[order], 1e30)
    columns = [jnp.interp(goal, known, model[order, i]) for i in range(3)]
    return jnp.where(any_kept, jnp.stack(columns, axis=-1), model[0])
