"""The one form of refusals and warnings, and the precision that is kept to ourselves."""

import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import units as u
from astropy.utils.exceptions import AstropyUserWarning

from sting.messages import StingWarning, check_choice, in_float64, is_number, named_keywords, refuse, suggest, warn


class TestRefuse:
    def test_form(self):
        with pytest.raises(ValueError, match=r"^'rms' must be positive; got -1\. Correct it\.$"):
            refuse("rms", "be positive", -1, "Correct it.")

    @pytest.mark.parametrize("error", [TypeError, FileNotFoundError])
    def test_error_class(self, error):
        with pytest.raises(error, match="'rms' must be positive"):
            refuse("rms", "be positive", -1, "Correct it.", error)

    def test_what_was_given_is_one_short_printable_line(self):
        with pytest.raises(ValueError, match=r"^'region' must be text; got 'a b \ufffd'\. Save it\.$"):
            refuse("region", "be text", "'a\n  b \x07'", "Save it.")
        with pytest.raises(ValueError, match=r"^'region' must be text; got x{300} \.\.\.\. Save it\.$"):
            refuse("region", "be text", "x" * 10**6, "Save it.")


class TestSuggest:
    @pytest.mark.parametrize(("typed", "meant"), [("theta", "theta0"), ("vr0", "v_r0"), ("omgea", "omega"), ("R0", "r0")])
    def test_nearest_match(self, typed, meant):
        assert suggest(typed, ["r0", "theta0", "v_r0", "omega"]) == f"Did you mean {meant!r}?"

    def test_all_where_nothing_is_near(self):
        assert suggest("xyz", ["r0", "theta0"]) == "Known are r0, theta0."

    def test_a_name_that_is_no_string(self):
        assert suggest(3, ["r0", "theta0"]) == "Known are r0, theta0."


class TestCheckChoice:
    @pytest.mark.parametrize("value", ["adam", 0])
    def test_returns_the_choice(self, value):
        assert check_choice("optimizer", value, ("adam", 0)) == value

    def test_refuses(self):
        message = r"^'optimizer' must be one of 'adam', 'lbfgs'; got 'adm'\. Did you mean 'adam'\?$"
        with pytest.raises(ValueError, match=message):
            check_choice("optimizer", "adm", ("adam", "lbfgs"))

    @pytest.mark.parametrize("value", [np.array(["adam", "lbfgs"]), [1, 2] * u.km], ids=["array", "Quantity"])
    def test_refuses_an_array(self, value):
        with pytest.raises(ValueError, match=r"^'optimizer' must be one of 'adam', 'lbfgs'; got (array|<Quantity)"):
            check_choice("optimizer", value, ("adam", "lbfgs"))

    def test_refuses_a_number(self):
        with pytest.raises(ValueError, match=r"^'loss_method' must be one of 0, 1; got 2\. Known are 0, 1\.$"):
            check_choice("loss_method", 2, (0, 1))


class TestWarn:
    def test_category_can_be_filtered_as_astropys(self):
        assert issubclass(StingWarning, AstropyUserWarning)

    @pytest.mark.parametrize("issue", [warn, in_float64(warn), named_keywords(in_float64(warn))])
    def test_points_at_the_line_of_the_user(self, issue):
        # however many functions of the package lie between
        with pytest.warns(StingWarning, match=r"^the cube was masked$") as records:
            issue("the cube was masked")
        assert records[0].filename == __file__
        with open(__file__) as file:
            assert file.readlines()[records[0].lineno - 1].strip() == 'issue("the cube was masked")'

    def test_can_be_turned_into_an_error(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error", StingWarning)
            with pytest.raises(StingWarning):
                warn("the cube was masked")


@named_keywords
@in_float64
def _fit(points, *, learning_rate=0.1, optimizer="adam"):
    """Do nothing."""
    return points, learning_rate, optimizer


class TestNamedKeywords:
    def test_passes_what_is_known(self):
        assert _fit(1) == (1, 0.1, "adam")
        assert _fit(points=1, learning_rate=2, optimizer="lbfgs") == (1, 2, "lbfgs")

    def test_refuses_what_is_not(self):
        message = r"^'learning_rat' must be a keyword of _fit; got 'learning_rat'\. Did you mean 'learning_rate'\?$"
        with pytest.raises(TypeError, match=message):
            _fit(1, learning_rat=2)

    def test_leaves_other_mistakes_to_python(self):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'points'"):
            _fit()

    def test_keeps_name_and_docstring(self):
        assert (_fit.__name__, _fit.__doc__) == ("_fit", "Do nothing.")


@in_float64
def _third(numerator=1.0, *, fail=False):
    """Return a third."""
    if fail:
        raise RuntimeError("on purpose")
    return jnp.asarray(numerator) / 3


class TestInFloat64:
    def test_is_double_inside_and_single_outside(self):
        assert _third().dtype == jnp.float64
        assert float(_third(2.0)) == 2 / 3
        assert jnp.asarray(1.0).dtype == jnp.float32

    @pytest.mark.parametrize("user_flag", [False, True])
    def test_leaves_the_flag_of_the_user(self, user_flag):
        with jax.enable_x64(user_flag):
            _third()
            assert jax.config.jax_enable_x64 is user_flag

    def test_leaves_the_flag_after_an_error(self):
        with pytest.raises(RuntimeError, match="on purpose"):
            _third(fail=True)
        assert jax.config.jax_enable_x64 is False

    def test_holds_on_another_thread(self):
        found = []
        thread = threading.Thread(target=lambda: found.extend([_third().dtype, jnp.asarray(1.0).dtype]))
        thread.start()
        thread.join()
        assert found == [jnp.float64, jnp.float32]

    def test_keeps_name_and_docstring(self):
        assert (_third.__name__, _third.__doc__) == ("_third", "Return a third.")


@pytest.mark.parametrize("value", [0, -1, 2.5, np.float32(3), np.int8(4), 10**20, np.float64(1e300)])
def test_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize("value", [True, np.nan, np.inf, np.float32("inf"), 10**400, "1", None, 1j, [1], np.ones(1)])
def test_no_numbers(value):
    assert not is_number(value)
