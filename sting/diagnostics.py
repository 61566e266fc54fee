"""Whether chains of draws have converged."""

import numpy as np

__all__ = ["convergence", "unwind"]


def _normal_scores(draws):
    from scipy.special import ndtri
    from scipy.stats import rankdata  # which takes long to load, and figures need `unwind` alone

    ranks = rankdata(draws).reshape(draws.shape)
    return ndtri((ranks - 0.375) / (draws.size + 0.25))


def convergence(draws):
    """Compute r-hat and effective sample size of chains, both of their ranks, so that long tails do no harm.

    The distances from the median count as well for r-hat, so that chains of different widths are seen.

    Parameters
    ----------
    draws : `~numpy.ndarray`
        Shape (n_chains, n).

    Returns
    -------
    r_hat, ess : float
        NaN for draws that are all the same, or fewer than four in a chain.

    References
    ----------
    Vehtari et al. 2021, Bayesian Analysis 16, 667, doi:10.1214/20-BA1221

    Examples
    --------
    >>> r_hat, ess = convergence(np.random.default_rng(0).normal(size=(4, 500)))
    >>> r_hat < 1.01, ess > 1000
    (True, True)
    """
    from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

    if np.ptp(draws) == 0 or draws.shape[1] < 4:
        return np.nan, np.nan
    scores, folded = _normal_scores(draws), _normal_scores(np.abs(draws - np.median(draws)))
    r_hat = max(split_gelman_rubin(scores), split_gelman_rubin(folded))
    return float(r_hat), float(effective_sample_size(scores))


def unwind(draws, period):
    """Count angles on from their mean direction, where they go round.

    Parameters
    ----------
    draws : `~numpy.ndarray`
        The angles, of any shape.
    period : float
        A full turn.

    Returns
    -------
    `~numpy.ndarray`
        Each within half a turn of the mean direction.

    Examples
    --------
    >>> unwind(np.array([350.0, 0.0, 20.0]), 360)
    array([-10.,   0.,  20.])
    """
    phase = draws * 2 * np.pi / period
    middle = np.arctan2(np.sin(phase).mean(), np.cos(phase).mean()) * period / (2 * np.pi) % period
    return middle + (draws - middle + period / 2) % period - period / 2
