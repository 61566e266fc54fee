"""Films of a fit: which epochs they show, that they show them, and that a file appears whole or not at all."""

import itertools
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from astropy import units as u
from PIL import Image

from sting import outputs, steps, synthetic
from sting.core.likelihood import linearise
from sting.evaluations import FEWEST, _named_of
from sting.extract_streamline import reduce_to_1D
from sting.fit_result import FitResult
from sting.gradient_descent import fit_streamline
from sting.joint import fit_jointly
from sting.outputs import animation, film_files, film_frames
from sting.stream_lines_grad import sample_path

FILMS = {
    "morphology": outputs.plot_morphology_by_epoch,
    "ra_vel": outputs.plot_ra_vel_by_epoch,
    "dec_vel": outputs.plot_dec_vel_by_epoch,
    "vel_radius": outputs.plot_vel_radius_by_epoch,
}
FREE = {"r0": 2500 * u.au, "phi0": 45 * u.deg}
FIXED = {name: value for name, value in synthetic.TRUTH.items() if name not in FREE}


@pytest.fixture(scope="module")
def streamer():
    return synthetic.make_streamer_points()


@pytest.fixture(scope="module")
def fit(streamer):
    return partial(fit_streamline, FREE, FIXED, streamer, 293, save_folder=None, progress=False, optimizer="adam")


@pytest.fixture(scope="module")
def result(fit):
    return fit(n_epochs=60)


@pytest.fixture
def film(result, streamer, tmp_path):
    """A function that makes a small film of the fit, and returns its path."""

    def make(path="film.gif", **keywords):
        keywords = {"result": result, "streamer": streamer, "n_frames": 4, "dpi": 40, "progress": False} | keywords
        return outputs.plot_vel_radius_by_epoch(path=tmp_path / path, **keywords)

    return make


def drawn(result, streamer, kind="vel_radius", n_frames=4, **keywords):
    """The frames of a film before they are written."""
    places = {
        "morphology": lambda ra, dec, velocity: (ra, dec),
        "ra_vel": lambda ra, dec, velocity: (ra, velocity),
        "dec_vel": lambda ra, dec, velocity: (dec, velocity),
        "vel_radius": lambda ra, dec, velocity: (np.hypot(ra, dec), velocity),
    }
    figure = getattr(outputs, f"plot_{kind}")(result, streamer, **keywords)
    return film_frames.Film(figure, places[kind], result, streamer is not None, n_frames, 60)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def frames_of(path):
    """Frames and durations (ms) of a GIF."""
    with Image.open(path) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append((np.asarray(image.convert("RGB")).astype(int), image.info["duration"]))
    return [picture for picture, _ in found], [duration for _, duration in found]


class TestEpochs:
    def test_first_and_best_are_among_them(self, result, streamer):
        epochs = drawn(result, streamer).epochs
        assert len(epochs) == 4
        assert (epochs[0], epochs[-1]) == (0, result.best_epoch)
        assert (np.diff(epochs) > 0).all()

    @pytest.mark.parametrize("n_frames", [2, 3, 10, 99, 100, 101])
    def test_are_as_many_as_asked_for(self, n_frames):
        # all of the motion in a single step
        places = np.zeros((100, 5, 3))
        places[50:] = 1
        epochs = film_frames.chosen_epochs(places, n_frames)
        assert len(epochs) == min(n_frames, 100)
        assert (epochs[0], epochs[-1]) == (0, 99)
        assert (np.diff(epochs) > 0).all()

    def test_are_close_where_the_curve_moves_fast(self):
        places = np.broadcast_to((1 - np.exp(-np.arange(1000) / 20))[:, None, None], (1000, 5, 3))
        epochs = film_frames.chosen_epochs(places, 100)
        assert (epochs < 60).sum() > 50
        assert (epochs > 300).sum() > 5

    @pytest.mark.parametrize("n_epochs", [1, 2, 7])
    def test_of_a_curve_at_rest_are_shown_nonetheless(self, n_epochs):
        assert film_frames.chosen_epochs(np.ones((n_epochs, 5, 3)), 100).tolist() == list(range(n_epochs))


class TestFrames:
    @pytest.mark.parametrize("kind", FILMS)
    def test_begin_at_the_start_and_end_at_the_fit(self, result, streamer, kind):
        stage = drawn(result, streamer, kind)
        figure = getattr(outputs, f"plot_{kind}")(result, streamer)
        best = next(line for line in figure.axes[0].lines if line.get_label() == "model")
        np.testing.assert_allclose(stage.curves[-1], np.transpose(best.get_data()), rtol=1e-9, atol=1e-9)
        start = next(line for line in stage.line.axes.lines if line.get_label() == "start")
        np.testing.assert_array_equal(np.transpose(start.get_data()), stage.curves[0])
        # the film moved
        assert np.abs(stage.curves[-1] - stage.curves[0]).max() > 0.1

    def test_show_the_parameters_of_their_epochs(self, result, streamer):
        stage = drawn(result, streamer, "morphology")
        rows = result.parameter_history()
        for epoch, curve in zip(stage.epochs, stage.curves, strict=True):
            names = ("r0", "theta0", "phi0", "v_r0", "omega", "mass", "inc", "pa", "rmin", "v_lsr")
            path = synthetic.streamline({name: rows[name][epoch] for name in names}, distance=293)
            np.testing.assert_allclose(curve, np.stack([path.ra.value, path.dec.value], axis=1), atol=1e-9)

    def test_join_the_points_and_what_they_are_compared_with(self, result, streamer):
        stage = drawn(result, streamer, "morphology")
        np.testing.assert_allclose(stage.joints[:, :, 0], np.broadcast_to(np.stack(streamer.data[:2], 1), (4, len(streamer), 2)))
        ra, dec, _ = result.matched_points()
        np.testing.assert_allclose(stage.joints[-1, :, 1], np.stack([ra.value, dec.value], axis=1), atol=1e-9)

    @pytest.mark.parametrize("kind", FILMS)
    def test_are_what_the_figure_looks_like(self, result, streamer, kind, tmp_path):
        stage = drawn(result, streamer, kind)
        start, end = (np.asarray(stage.frame(number)).astype(int) for number in (0, 3))
        # a figure that is saved is drawn whole
        stage.canvas.figure.savefig(tmp_path / "whole.png", dpi=60)
        whole = pixels_of(tmp_path / "whole.png")
        assert np.abs(end - whole).max() <= 4
        assert (np.abs(start - whole) > 100).sum() > 100

    def test_on_the_sky_are_what_the_figure_looks_like(self, fit, scene, scene_cut, tmp_path):
        on_sky = reduce_to_1D(scene_cut, scene.star_position)
        result = fit_streamline(FREE, FIXED, on_sky, 293, n_epochs=40, save_folder=None, progress=False)
        stage = drawn(result, on_sky, "morphology")
        ax = stage.line.axes
        assert ax.get_xlabel().startswith("Right ascension")
        end = np.asarray(stage.frame(3)).astype(int)
        stage.canvas.figure.savefig(tmp_path / "whole.png", dpi=60)
        assert np.abs(end - pixels_of(tmp_path / "whole.png")).max() <= 4
        # the model ends beside the star, wherever that is in the window
        star = next(line for line in ax.lines if line.get_label() == "star")
        place, inner = star.get_transform().transform([[0, 0]])[0], stage.line.get_transform().transform(stage.curves[-1])[-1]
        size = ax.get_window_extent().width
        assert np.hypot(*(place - inner)) < 0.1 * size
        assert (np.abs(place - stage.line.get_transform().transform(stage.curves[-1])[0]) < size).all()

    @pytest.mark.parametrize("kind", FILMS)
    def test_have_room_for_everything(self, result, streamer, kind):
        stage = drawn(result, streamer, kind, title="a title")
        stage.frame(3)
        figure = stage.canvas.figure
        box, size = figure.get_tightbbox(), figure.get_size_inches()
        assert (box.min >= -0.01).all()
        assert (box.max <= size + 0.01).all()

    def test_do_not_depend_on_those_before(self, result, streamer):
        stage = drawn(result, streamer)
        forwards = [np.asarray(stage.frame(number)) for number in range(4)]
        backwards = [np.asarray(stage.frame(number)) for number in (3, 2, 1, 0)]
        for one, other in zip(forwards, reversed(backwards), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_tell_epoch_and_loss(self, result, streamer):
        stage = drawn(result, streamer)
        stage.frame(1)
        epoch = stage.epochs[1]
        assert stage.words.get_text() == f"epoch {epoch}: loss {result.loss_history[epoch]:.4g}"
        assert stage.here.get_xydata().tolist() == [[epoch, result.loss_history[epoch]]]
        texts = [text.get_text() for text in stage.words.axes.texts]
        assert f"best: {result.loss:.4g} at epoch {result.best_epoch}" in texts

    @pytest.mark.parametrize("kind", FILMS)
    def test_of_the_model_alone(self, result, kind, tmp_path):
        stage = drawn(result, None, kind)
        stage.frame(0)
        assert len(stage.joint_lines.get_segments()) == 0
        path = FILMS[kind](result, path=tmp_path / "film.gif", n_frames=3, dpi=40, progress=False)
        assert len(frames_of(path)[0]) == 3

    def test_of_a_loss_of_zero(self, result, streamer):
        stage = drawn(result, streamer)
        stage.loss = np.zeros(61)
        assert np.isfinite(stage.frame(3)).all()


class TestFile:
    @pytest.mark.parametrize("kind", FILMS)
    def test_is_where_it_shall_be(self, result, streamer, kind, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path = FILMS[kind](result, streamer, n_frames=2, dpi=40, progress=False)
        assert str(path) == f"{kind}_by_epoch.gif"
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_takes_as_long_as_asked_for(self, film):
        pictures, durations = frames_of(film(fps=10))
        assert len(pictures) == 4
        assert durations == [100, 100, 100, 1100]

    def test_keeps_time_at_any_rate(self):
        ends = np.arange(101) / 30
        hundredths = film_files.ticks(ends, 0.01)
        assert set(hundredths) == {3, 4}
        assert sum(hundredths) == 333
        assert film_files.ticks(ends, 1 / 30) == [1] * 100

    def test_of_few_epochs_shows_each_longer(self, fit, film):
        short = fit(n_epochs=4)
        assert short.best_epoch == 4
        pictures, durations = frames_of(film(result=short, n_frames=100, fps=20))
        assert len(pictures) == 5
        assert durations == [1000, 1000, 1000, 1000, 2000]

    def test_that_was_best_at_the_start_is_a_picture(self, result, film):
        pictures, _ = frames_of(film(result=replace(result, history=result.history[:1])))
        assert len(pictures) == 1

    def test_shows_what_was_drawn(self, result, streamer, film):
        pictures, _ = frames_of(film(dpi=60))
        stage = drawn(result, streamer)
        for number, picture in enumerate(pictures):
            # 255 colours are enough
            assert np.abs(picture - np.asarray(stage.frame(number)).astype(int)).mean() < 3

    def test_has_the_title_and_the_systemic_velocity(self, film):
        plain, titled, shifted = (frames_of(film(**one))[0][0] for one in ({}, {"title": "HC3N"}, {"v_lsr": 7.3 * u.km / u.s}))
        assert titled.shape == plain.shape
        assert not np.array_equal(titled, plain)
        assert not np.array_equal(shifted, plain)

    def test_shows_a_map(self, fit, scene, streamer, tmp_path):
        make = partial(outputs.plot_morphology_by_epoch, fit(n_epochs=1), streamer, n_frames=2, dpi=40, progress=False)
        path = make(tmp_path / "map.gif", image=scene.cube.moment0(), star_position=scene.star_position)
        with_map, _ = frames_of(path)
        plain, _ = frames_of(make(tmp_path / "plain.gif"))
        # beside it there is a colour bar
        assert with_map[0].shape[1] > plain[0].shape[1]
        assert len(with_map) == len(plain) == 2

    @pytest.mark.parametrize("suffix", ["gif", "mp4"])
    def test_is_replaced_only_by_a_whole_one(self, film, tmp_path, monkeypatch, suffix):
        if suffix == "mp4" and film_files.find_ffmpeg() is None:
            pytest.skip("there is no ffmpeg")
        path = tmp_path / f"film.{suffix}"
        path.write_bytes(b"old")
        frame = film_frames.Film.frame

        def interrupted(self, number):
            if number == 2:
                raise KeyboardInterrupt
            return frame(self, number)

        with monkeypatch.context() as patch:
            patch.setattr(film_frames.Film, "frame", interrupted)
            with pytest.raises(KeyboardInterrupt):
                film(path.name)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
        film(path.name)
        assert path.stat().st_size > 1000
        assert list(tmp_path.iterdir()) == [path]

    def test_says_how_far_it_is(self, film, capsys):
        film()
        assert capsys.readouterr() == ("", "")
        film(progress=True)
        assert "filming" in capsys.readouterr().err


class TestVideo:
    @pytest.fixture
    def video(self, film, tmp_path):
        """A function that makes a film and returns its frames as ffmpeg reads them."""
        ffmpeg = film_files.find_ffmpeg()
        if ffmpeg is None:
            pytest.skip("there is no ffmpeg")

        def make(**keywords):
            path = film("film.mp4", **keywords)
            subprocess.run([ffmpeg, "-loglevel", "error", "-i", path, tmp_path / "%03d.png"], check=True)
            return [pixels_of(file) for file in sorted(tmp_path.glob("*.png"))]

        return make

    def test_has_its_frames_and_stays_at_the_last_for_a_second(self, video):
        pictures = video(fps=10)
        assert len(pictures) == 14
        moves = [np.abs(one - other).mean() for one, other in itertools.pairwise(pictures)]
        assert min(moves[:3]) > 0.1
        assert max(moves[4:]) < 0.1

    def test_of_few_epochs(self, fit, video):
        assert len(video(result=fit(n_epochs=4), n_frames=10, fps=10)) == 20

    def test_of_odd_size_becomes_even(self, video, film):
        shape = np.array(frames_of(film(dpi=41))[0][0].shape)
        assert shape[0] % 2
        assert video(dpi=41)[0].shape == tuple(shape + shape % 2 * [1, 1, 0])

    def test_ends_as_the_film_does(self, result, streamer, video):
        frame = np.asarray(drawn(result, streamer).frame(3)).astype(int)
        last = video(dpi=60)[-1]
        assert np.abs(last[: len(frame), : frame.shape[1]] - frame).mean() < 4

    def test_needs_ffmpeg_and_says_so_before_any_work(self, film, tmp_path, monkeypatch):
        monkeypatch.setattr(animation, "find_ffmpeg", lambda: None)
        monkeypatch.setattr(animation, "Film", None)
        with pytest.raises(ImportError, match=r"'path' must end in .gif where there is no ffmpeg; .*imageio-ffmpeg"):
            film("film.mp4")
        assert list(tmp_path.iterdir()) == []

    def test_takes_whichever_ffmpeg_there_is(self, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
        assert film_files.find_ffmpeg() == "/somewhere/ffmpeg"
        monkeypatch.setattr(shutil, "which", lambda name: None)
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
        assert film_files.find_ffmpeg() is None

    def test_that_ffmpeg_refuses_is_an_error(self, film, tmp_path, monkeypatch):
        # a program that knows none of the options
        monkeypatch.setattr(film_files, "find_ffmpeg", lambda: sys.executable)
        with pytest.raises(OSError, match=r"ffmpeg could not write 'film.mp4': .*option"):
            film("film.mp4")
        assert list(tmp_path.iterdir()) == []


class TestFits:
    def test_nothing_is_fitted_or_compiled_again(self, fit, film, monkeypatch):
        film()
        programs = [program.n_compiled for program in (_named_of, linearise, sample_path)]
        longer = fit(n_epochs=200)

        def refit(*_):
            raise AssertionError("a film fits nothing")

        monkeypatch.setattr(steps, "run_chunk", refit)
        film(result=longer, n_frames=5)
        assert [program.n_compiled for program in (_named_of, linearise, sample_path)] == programs

    def test_more_epochs_than_are_evaluated_at_once(self, fit, streamer):
        longer = fit(n_epochs=200)
        assert longer.best_epoch > FEWEST
        stage = drawn(longer, streamer, n_frames=FEWEST + 2)
        assert stage.epochs[-1] == longer.best_epoch
        path = longer.streamline()
        expected = np.stack([np.hypot(path.ra.value, path.dec.value), path.velocity.value], axis=1)
        np.testing.assert_allclose(stage.curves[-1], expected, atol=1e-9)

    def test_read_from_a_file(self, result, film, tmp_path):
        result.write(tmp_path / "fit.ecsv")
        same = FitResult.read(tmp_path / "fit.ecsv")
        one, other = frames_of(film("one.gif")), frames_of(film("other.gif", result=same))
        np.testing.assert_array_equal(one[0], other[0])

    def test_one_of_a_joint_fit(self, streamer, film):
        other = synthetic.make_streamer_points(seed=3)
        streamers = {"HC3N": streamer, "H2CO": other}
        joint = fit_jointly(streamers, FREE, FIXED, 293, n_epochs=20, save_folder=None, progress=False)
        stage = drawn(joint["H2CO"], other, "morphology")
        assert stage.epochs[-1] == joint.best_epoch
        np.testing.assert_allclose(stage.curves[-1][:, 1], joint["H2CO"].streamline().dec.value, atol=1e-9)
        assert len(frames_of(film(result=joint["H2CO"], streamer=other))[0]) == 4
        with pytest.raises(TypeError, match=r"'result' must be the fit of one streamer.*got JointResult.*result\['name'\]"):
            film(result=joint)

    def test_are_written_with_the_results(self, fit, tmp_path, capsys):
        fit(n_epochs=1, save_folder=tmp_path, films=True)
        assert sorted(path.name for path in tmp_path.glob("*.gif")) == sorted(f"{kind}_by_epoch.gif" for kind in FILMS)
        assert all(len(frames_of(path)[0]) == 2 for path in tmp_path.glob("*.gif"))
        assert capsys.readouterr().err == ""

    def test_are_written_with_the_results_of_a_joint_fit(self, streamer, tmp_path, monkeypatch):
        made = []
        for kind in FILMS:

            def make(fit, points, path, **_):
                made.append((fit.streamer, points is streamer, path.relative_to(tmp_path).as_posix()))

            monkeypatch.setattr(animation, f"plot_{kind}_by_epoch", make)
        streamers = {"HC3N": streamer, "H2CO": synthetic.make_streamer_points(seed=3)}
        fit_jointly(streamers, FREE, FIXED, 293, n_epochs=1, save_folder=tmp_path, films=True, progress=False)
        assert made == [(name, name == "HC3N", f"{name}/{kind}_by_epoch.gif") for name in streamers for kind in FILMS]
        assert (tmp_path / "HC3N").is_dir()

    def test_come_after_all_else(self, fit, tmp_path, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(animation, "plot_morphology_by_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(n_epochs=1, save_folder=tmp_path, films=True)
        assert {"best_fit.ecsv", "best_fit_morphology.png"} <= {path.name for path in tmp_path.iterdir()}

    def test_have_nowhere_to_go_without_a_folder(self, result, streamer):
        assert outputs.save_results(result, streamer, None, films=True) == []

    def test_are_not_written_unless_asked_for(self, fit, tmp_path):
        fit(n_epochs=1, save_folder=tmp_path)
        assert list(tmp_path.glob("*.gif")) == []
        assert list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"path": "film.avi"}, ValueError, r"'path' must end in .gif or .mp4; got .*film.avi"),
        ({"path": "film"}, ValueError, "'path' must end in .gif or .mp4"),
        ({"path": "missing/film.gif"}, FileNotFoundError, "'path' must lie in an existing folder"),
        ({"n_frames": 1}, ValueError, "'n_frames' must be a whole number of at least 2; got 1"),
        ({"n_frames": 2.5}, ValueError, "'n_frames' must be a whole number"),
        ({"fps": 0}, ValueError, "'fps' must be a number from 1 to 50; got 0"),
        ({"fps": 60}, ValueError, "'fps' must be a number from 1 to 50; got 60"),
        ({"fps": np.nan}, ValueError, "'fps' must be a number"),
        ({"dpi": "high"}, ValueError, "'dpi' must be a number from 20 to 600; got 'high'"),
        ({"streamer": "film.gif"}, TypeError, "'streamer' must be a Streamer or None; got 'film.gif'"),
        ({"result": None}, TypeError, "'result' must be the fit of one streamer, which has a history; got NoneType"),
        ({"frames": 10}, TypeError, "'frames' must be a keyword of plot_vel_radius_by_epoch.*Did you mean 'n_frames'"),
    ],
)
def test_refuses_before_any_work(film, monkeypatch, tmp_path, keywords, error, message):
    monkeypatch.setattr(animation, "Film", None)
    with pytest.raises(error, match=message):
        film(**keywords)
    assert list(tmp_path.iterdir()) == []


def test_refuses_what_is_no_path(result):
    with pytest.raises(TypeError, match="'path' must be a path; got 3"):
        outputs.plot_morphology_by_epoch(result, path=3)


def test_refuses_a_posterior(film):
    from sting.posterior_result import Posterior

    posterior = Posterior.__new__(Posterior)
    with pytest.raises(
        TypeError, match=r"'result' must be the fit .* got Posterior\. Give the fit from which a posterior was drawn"
    ):
        film(result=posterior)
