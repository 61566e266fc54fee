"""Where a descent ended and how well that agrees with the data: what every result of a fit says of itself."""

import math

import numpy as np

from sting.core.descent import Stop
from sting.errors import MINIMUM_GAIN

__all__ = ["Outcome"]

_REASONS = {
    Stop.N_EPOCHS: "all epochs were run (n_epochs)",
    Stop.LOSS_THRESHOLD: "the loss stayed below loss_threshold",
    Stop.GRADIENT_TOL: "the gradient stayed below gradient_tol",
    Stop.PATIENCE: "the loss improved no more (early_stopping_patience)",
    Stop.NOT_FINITE: "the loss became infinite or NaN; try another start or tighter bounds",
    Stop.BY_CALLER: "it was stopped by the caller",
}

#: Gains below this part of the loss are rounding.
ROUNDING = 1e-12


class Outcome:
    """What `~sting.fit_result.FitResult` and `~sting.joint_result.JointResult` have in common.

    They bring ``history`` (a row for each epoch, the loss first), ``stop``, ``uncertainties``, ``chi2``, ``n_data``, ``n_free``.
    """

    @property
    def loss_history(self):
        """Loss at each epoch, the start being epoch 0."""
        return self.history[:, 0]

    @property
    def best_epoch(self):
        """Epoch of the smallest loss."""
        return int(np.nanargmin(self.loss_history))

    @property
    def loss(self):
        """Smallest loss (chi2 plus priors)."""
        return float(np.nanmin(self.loss_history))

    @property
    def dof(self):
        """Number of degrees of freedom, to which `loss` may be compared."""
        return self.n_data - self.n_free

    @property
    def aicc(self):
        """Information criterion of Akaike, corrected for few data (Hurvich & Tsai 1989, doi:10.1093/biomet/76.2.297).

        Infinite where there are hardly more measurements than parameters.
        """
        k, left = self.n_free, self.n_data - self.n_free - 1
        return self.loss + 2 * k + 2 * k * (k + 1) / left if left > 0 else math.inf

    @property
    def bic(self):
        """Information criterion of Schwarz, the Bayesian one (1978, doi:10.1214/aos/1176344136)."""
        return self.loss + self.n_free * math.log(self.n_data)

    @property
    def converged(self):
        """Whether the descent ended in a minimum."""
        return self.uncertainties.gain < MINIMUM_GAIN and self.uncertainties.positive

    @property
    def success(self):
        """Whether the descent ended in a minimum whose every direction is constrained and no parameter at a bound."""
        return self.converged and not self.uncertainties.flat and not self.uncertainties.at_bound

    @property
    def status(self):
        """Why the descent ended and whether it ended in a minimum, in a sentence."""
        gain = self.uncertainties.gain
        place = "in a minimum" if self.converged else "not in a minimum"
        more = "nothing" if abs(gain) < ROUNDING * max(1.0, self.loss) else f"{gain:.2g}"
        return (
            f"Stopped after {len(self.history) - 1} epochs because {_REASONS[self.stop]}; smallest loss {self.loss:.6g} at epoch "
            f"{self.best_epoch}, {place} (a Newton step would gain {more})."
        )

    def goodness(self):
        """Return in a sentence how well the fit agrees with the data.

        Returns
        -------
        str
        """
        return (
            f"chi2 {self.chi2:.5g}; {self.n_data} independent residuals, those of priors included, for {self.n_free} parameters, "
            f"that is {self.dof} degrees of freedom; AICc {self.aicc:.5g}, BIC {self.bic:.5g}."
        )
