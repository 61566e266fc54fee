"""From optimiser coordinates to residuals, loss and their derivatives.

A *problem* is a dict of arrays (data, supports, which parameters are free, priors); a `Settings` says which program is compiled.
A second fit with other numbers in the same shapes therefore compiles nothing.

The problem of a joint fit holds those of its ``members`` and, for each, the ``index`` of its coordinates among all and which of
its priors are ``counted``; with it go `JointSettings`.
"""

import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sting.core.constants import TWO_PI
from sting.core.matching import match_nearest, match_stretch, polar
from sting.core.sky import make_path
from sting.core.transforms import LARGEST_MU, mu_from, omega_from, to_parameters, wrap
from sting.programs import program

#: The parameters of the model in the order of every vector of the core; "mu" stands for whichever rotation parameter is used.
MODEL_PARAMETERS = tuple(name for name in inspect.signature(make_path).parameters if name != "distance")

#: The parameters that priors and results may speak of: those above and the two other ways to state the rotation.
NAMED_PARAMETERS = (*MODEL_PARAMETERS, "rc", "omega")

Problem = dict[str, Float[Array, "..."] | dict[str, Float[Array, "..."]] | tuple]


class Settings(NamedTuple):
    """What is compiled into the program of a fit (hashable)."""

    rotation: str = "mu"  # the rotation parameter that is optimised: "mu", "rc" or "omega"
    matching: str = "nearest"
    loss_method: int = 1
    optimizer: str = "adam"
    n_radii: int = 0  # samples of the stretch matching


class JointSettings(NamedTuple):
    """What is compiled into the program of a joint fit (hashable)."""

    members: tuple[Settings, ...]

    @property
    def optimizer(self) -> str:
        """The same for all members."""
        return self.members[0].optimizer


#: Parts of the loss of one member: chi2 of the three observables and the priors' penalty.
N_PARTS = 4


def n_parts(settings: Settings | JointSettings) -> int:
    """Number of parts that `loss_and_parts` returns."""
    return N_PARTS * (len(settings.members) if isinstance(settings, JointSettings) else 1)


def parameters(x: Float[Array, " n"], problem: Problem, settings: Settings) -> dict[str, Float[Array, ""]]:
    """Values of all `NAMED_PARAMETERS` at the coordinates ``x``, mu as it is (it may exceed 1 where omega or rc is optimised)."""
    values = jnp.where(problem["free"] > 0, to_parameters(x, problem["support"]), problem["fixed"])
    named = {name: values[i] for i, name in enumerate(MODEL_PARAMETERS)}
    named["mu"] = mu_from(settings.rotation, named["mu"], named["r0"], named["mass"])
    named["rc"] = named["mu"] * named["r0"]
    named["omega"] = omega_from(named["mu"], named["r0"], named["mass"])
    return named


def _vector(named):
    return jnp.stack([named[name] for name in NAMED_PARAMETERS])


def named_vector(x: Float[Array, " n"], problem: Problem, settings: Settings) -> Float[Array, " m"]:
    """`parameters` as a vector in the order of `NAMED_PARAMETERS`."""
    return _vector(parameters(x, problem, settings))


def path_of(named: dict[str, Float[Array, ""]], distance) -> dict[str, Float[Array, "..."]]:
    """Path of a set of named parameters, with mu kept below 1."""
    arguments = {name: named[name] for name in MODEL_PARAMETERS}
    return make_path(**arguments | {"mu": jnp.minimum(named["mu"], LARGEST_MU)}, distance=distance)


def match(path, problem: Problem, settings: Settings) -> Float[Array, "n 3"]:
    """Model values (arcsec, arcsec, km/s) to which the data points are compared."""
    if settings.matching == "nearest":
        return match_nearest(path, problem["points"], problem["sigma"])
    return match_stretch(path, problem["points"], problem["deltar"], settings.n_radii)


def polar_sigma(ra, dec, s_ra, s_dec, matching: str):
    """Uncertainties of projected radius and polar angle (rad). ``"stretch"`` keeps STING's larger one of the radius."""
    r = polar(ra, dec)[0]
    s_r = jnp.hypot(s_ra, s_dec) if matching == "stretch" else jnp.hypot(ra * s_ra, dec * s_dec) / r
    return s_r, jnp.hypot(dec * s_ra, ra * s_dec) / r**2


def data_residuals(model: Float[Array, "n 3"], problem: Problem, settings: Settings) -> Float[Array, "n 3"]:
    """Normalised differences between data and matched model: (RA, Dec, v) or (r, theta, v)."""
    points, sigma = problem["points"], problem["sigma"]
    velocity = (points[:, 2] - model[:, 2]) / sigma[:, 2]
    if settings.loss_method == 0:
        sky = (points[:, :2] - model[:, :2]) / sigma[:, :2]
        return jnp.concatenate([sky, velocity[:, None]], axis=1)
    s_r, s_theta = polar_sigma(*points[:, :2].T, *sigma[:, :2].T, settings.matching)
    r_data, theta_data = polar(*points[:, :2].T)
    r_model, theta_model = polar(*model[:, :2].T)
    return jnp.stack([(r_data - r_model) / s_r, wrap(theta_data - theta_model, TWO_PI) / s_theta, velocity], axis=1)


def _terms(x, problem, settings, counted=None):
    named = parameters(x, problem, settings)
    model = match(path_of(named, problem["distance"]), problem, settings)
    prior = problem["prior"]
    prior_residuals = wrap(_vector(named) - prior["mean"], prior["period"]) * prior["inverse_sigma"]
    return {
        "matched": model,
        "data": data_residuals(model, problem, settings),
        "prior": prior_residuals,
        # those that count in the loss: in a joint fit a prior on a shared parameter counts once
        "counted": prior_residuals if counted is None else counted * prior_residuals,
        "barrier": 100 * jax.nn.relu(named["mu"] / LARGEST_MU - 1),
        "named": _vector(named),
    }


def residuals(x: Float[Array, " n"], problem: Problem, settings: Settings):
    """Data residuals (n, 3), prior residuals (one for each named parameter) and the residual that keeps mu below 1."""
    found = _terms(x, problem, settings)
    return found["data"], found["prior"], found["barrier"]


def _terms_of_all(x, problem, settings):
    """Residuals and named parameters of each member in turn; of the only one, if the fit is not a joint one."""
    if not isinstance(settings, JointSettings):
        return [_terms(x, problem, settings)]
    each = zip(problem["index"], problem["members"], settings.members, problem["counted"], strict=True)
    return [_terms(x[index], member, one, counted) for index, member, one, counted in each]


def _add_up(terms):
    total, parts = 0.0, []
    for found in terms:
        chi2 = jnp.sum(found["data"] ** 2, axis=0)
        total += jnp.sum(chi2) + jnp.sum(found["counted"] ** 2) + found["barrier"] ** 2
        parts += [chi2, jnp.sum(found["prior"] ** 2)[None]]
    return total, jnp.concatenate(parts)


def loss_and_parts(x: Float[Array, " n"], problem: Problem, settings: Settings | JointSettings):
    """Loss (chi2 + priors) and its parts: chi2 of the three observables and the priors' penalty.

    The parts of a joint problem are those of its members in turn, each with all priors on its parameters; in the loss a prior on
    a shared parameter counts once.
    """
    return _add_up(_terms_of_all(x, problem, settings))


def loss(x: Float[Array, " n"], problem: Problem, settings: Settings | JointSettings) -> Float[Array, ""]:
    """Loss alone."""
    return loss_and_parts(x, problem, settings)[0]


@program
def linearise(x: Float[Array, " n"], problem: Problem, settings: Settings | JointSettings):
    """All residuals at ``x`` and the named parameters, each with its Jacobian; the loss, its parts and what is matched.

    The loss is r.r and its gradient 2 J^T r. Those of a joint problem stand one member after the other.
    """

    def outputs(x):
        terms = _terms_of_all(x, problem, settings)
        total, parts = _add_up(terms)
        found = {
            "residuals": jnp.concatenate(
                [part for one in terms for part in (one["data"].ravel(), one["counted"], one["barrier"][None])]
            ),
            "named": jnp.concatenate([one["named"] for one in terms]),
        }
        return found, found | {"loss": total, "parts": parts, "matched": jnp.concatenate([one["matched"] for one in terms])}

    jacobian, value = jax.jacfwd(outputs, has_aux=True)(x)
    return value | {"d_" + name: matrix for name, matrix in jacobian.items()}
