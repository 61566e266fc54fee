"""One streamer of a joint fit, as if it were a fit of its own."""

from dataclasses import dataclass, field
from functools import cached_property

from sting.errors import Uncertainties
from sting.fit_result import FitResult
from sting.messages import refuse
from sting.profiler import Plain

__all__ = ["StreamerFit"]


@dataclass(frozen=True, eq=False, repr=False)
class StreamerFit(FitResult):
    """One streamer of a joint fit: a `~sting.fit_result.FitResult` whose uncertainties are those of the joint fit.

    Its `loss` is that of its own points and of all priors on its parameters, where the joint fit ended. Degrees of freedom and
    information criteria are the joint fit's.

    Attributes
    ----------
    joint : `~sting.joint_result.JointResult`
        The joint fit.
    streamer : str
        Name of the streamer.
    """

    joint: "JointResult" = field(kw_only=True)  # noqa: F821, the module above
    streamer: str = field(kw_only=True)

    @cached_property
    def uncertainties(self) -> Uncertainties:
        """What the joint fit says of the parameters of this streamer, see `~sting.errors.Uncertainties`."""
        return self.joint.uncertainties_of(self.streamer)

    @cached_property
    def profiler(self):
        """The plain uncertainties: a joint fit has no profiles."""
        return Plain(self)

    @cached_property
    def near_gaussian(self):
        """None for each free parameter: of a joint fit it is not known whether the plain uncertainties will do."""
        return dict.fromkeys(self.names)

    def profile(self, name, *args, **keywords):
        """Refuse: a joint fit has no profiles.

        Parameters
        ----------
        name : str
            Whatever is asked for.
        *args, **keywords
            Those of `FitResult.profile`.
        """
        self._refuse_profiles("profile")

    def intervals(self, *args, **keywords):
        """Refuse: a joint fit has no profiles.

        Parameters
        ----------
        *args, **keywords
            Those of `FitResult.intervals`.
        """
        self._refuse_profiles("intervals")

    def _refuse_profiles(self, what):
        got = f"the streamer {self.streamer!r} of a joint fit"
        refuse(what, "be asked of the fit of one streamer", got, "Fit it alone with fit_streamline, or use param_errors.")

    @property
    def best_epoch(self):
        """Epoch of the smallest loss of the joint fit."""
        return self.joint.best_epoch

    @property
    def loss(self):
        """Loss of this streamer at the best epoch of the joint fit."""
        return float(self.loss_history[self.best_epoch])

    @property
    def dof(self):
        """Refused: only the joint fit has degrees of freedom."""
        self._refuse("dof")

    @property
    def aicc(self):
        """Refused: only the joint fit has information criteria."""
        self._refuse("aicc")

    @property
    def bic(self):
        """Refused: only the joint fit has information criteria."""
        self._refuse("bic")

    def _refuse(self, what):
        refuse(what, "be asked of the joint fit", f"the streamer {self.streamer!r} of it", f"Use result.joint.{what}.")

    @property
    def status(self):
        """That this is a part of a joint fit, and why its descent ended, in sentences."""
        n = len(self.joint.streamers)
        return f"{self.streamer!r}, one of {n} in a joint fit, with a loss of {self.loss:.6g} of its own. {self.joint.status}"

    def goodness(self):
        """Return in a sentence how well the streamer is fitted, and how well the joint fit agrees with all data.

        Returns
        -------
        str
        """
        return f"chi2 {self.chi2:.5g} of {len(self.problem['points'])} points. In the joint fit: {self.joint.goodness()}"

    def notes_of_the_model(self):
        """Return what the user should know of this streamer's model, without what concerns the joint fit.

        Returns
        -------
        list of str
        """
        return self.notes[len(self.uncertainties.notes()) :]

    def _draw(self, n, seed):
        return self.joint.draw_coordinates(n, seed)[:, self.joint.index_of(self.streamer)]

    def to_text(self):
        """Refused: a part of a joint fit is kept with the whole."""
        self._refuse("write")
