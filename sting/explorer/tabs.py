"""The tabs that cut, fit, look and keep."""

import ipywidgets as widgets

from sting.cubes import KMS
from sting.cuts import ISLANDS
from sting.explorer.choices import PV_AXES, STRETCHES
from sting.explorer.scales import typed_limit, typed_number
from sting.explorer.sketch import SHAPES
from sting.explorer.words import result_table
from sting.problem import LOSS_METHODS, MATCHINGS, OPTIMIZERS
from sting.reduction import ORDERINGS, UNCERTAINTIES

NO_CLUSTER = "none: the ordinary cut"

COLORMAPS = ("inferno", "viridis", "cividis", "magma", "Greys_r", "Greys")
LOSSES = dict(zip(("RA, Dec, velocity", "radius, angle, velocity"), LOSS_METHODS, strict=True))
MOMENTS = {"moment 0: integrated": 0, "moment 1: mean velocity": 1}
_ISLANDS = dict(zip(("keep all", "drop those smaller than a beam", "the brightest alone"), ISLANDS, strict=True))
_ORDERINGS = dict(zip(("distance from the star", "a curve, for streamers that bend back"), ORDERINGS, strict=True))
_UNCERTAINTIES = dict(zip(("width of the streamer", "error of the mean"), UNCERTAINTIES, strict=True))
AXES = dict(zip(("projected radius", "length along the model"), PV_AXES, strict=True))


def _or_empty(value):
    return "" if value is None else f"{value:.6g}"


# -- cut ------------------------------------------------------------------------------------------------------------------


def cut_tab(b):
    """Controls of the cut.

    Parameters
    ----------
    b : `~sting.explorer.binder.Binder`
        What ties them to the state.

    Returns
    -------
    tab : `ipywidgets.Widget`
        The tab.
    draw : `ipywidgets.ToggleButtons`
        The shape to be drawn on the map.
    """
    draw = widgets.ToggleButtons(options=["off", *SHAPES], description="Draw")
    draw.style.button_width, draw.style.description_width = "auto", "40px"
    draw.add_class("sting-draw")
    draw.tooltips = ["", "Click the corners, double click the last one", *["Drag from corner to corner"] * 2]
    words = b.bind(widgets.HTML(), "cut-words", lambda: _cut_words(b.state), topics={"cut"})
    return widgets.VBox([*_cut_boxes(b), *_cut_menus(b), *_region_files(b), draw, *_region_list(b), *_clusters(b), words]), draw


def _cut_boxes(b):
    state = b.state

    def box(name, words, read, tip):
        def write(text):
            state.set_cut(**{name: read(text)})

        return b.text(name.replace("_", "-"), words, lambda: _or_empty(getattr(state.session, name)), write, {"cut"}, tip)

    def number(name):
        return lambda text: typed_number(name, text)

    def limit(text):
        return typed_limit(text, KMS)

    def intensity(text):
        return typed_limit(text, state.cube.unit)

    points = b.whole(
        "n-elements", "Points", lambda: state.session.n_elements, lambda n: state.set_cut(n_elements=n), {"cut"}, low=2
    )
    rows = (
        [box("vmin", "From km/s", limit, "In km/s; empty for none"), box("vmax", "To km/s", limit, "In km/s; empty for none")],
        [
            box("rms_thresh", "Threshold", number("rms_thresh"), "In units of the noise; empty for none, of a cluster for 4"),
            box("rms", "Noise", intensity, f"In {state.images.unit}; empty for what is found in the cube"),
        ],
        [points, box("min_beams", "Beams ≥", number("min_beams"), "Points of fewer beams are merged; 0 for none")],
    )
    return [widgets.HBox(row) for row in rows]


def _cut_menus(b):
    state = b.state

    def choose(name, words, options, tip):
        def write(value):
            state.set_cut(**{name: value})

        return b.choice(name, words, options, lambda: getattr(state.session, name), write, {"cut"}, tip)

    return [
        choose("islands", "Islands", _ISLANDS, "What becomes of voxels that touch nothing else"),
        choose("ordering", "Order by", _ORDERINGS, "How voxels are ordered along the streamer"),
        choose("uncertainty", "Point errors", _UNCERTAINTIES, "What the error bars of the points are"),
    ]


def _cut_words(state):
    if state.streamer is None:
        return "Nothing is cut out yet."
    return f"{len(state.streamer)} points from {state.streamer.pc_coords.shape[1]} voxels."


def _region_files(b):
    path = widgets.Text(
        description="Region file", placeholder="path of a ds9 or CRTF file", continuous_update=False, layout=b.full
    )
    path.style.description_width = "74px"
    path.add_class("sting-region-path")
    upload = widgets.FileUpload(accept=".reg,.ds9,.crtf,.txt", multiple=True, description="Upload region files")
    upload.tooltip = "ds9 or CRTF files, several at once"
    upload.add_class("sting-upload")

    def on_path(change):
        before = b.state.session.regions
        if b.updating or not change["new"].strip():
            return
        b.act(b.state.add_region, change["new"].strip())
        if b.state.session.regions != before:
            with b.unheard():
                path.value = ""

    def on_upload(change):
        if b.updating or not change["new"]:
            return
        for file in change["new"]:
            b.act(b.state.add_region, bytes(file["content"]), file["name"])
        with b.unheard():
            upload.value = ()

    path.observe(on_path, "value")
    upload.observe(on_upload, "value")
    return path, upload


def _region_list(b):
    state = b.state
    listed = widgets.Select(options=[], description="Regions", rows=3, layout=b.wide)
    path = widgets.Text(value="regions.reg", description="Save as", layout=b.wide)
    for box in (listed, path):
        box.style.description_width = "74px"
    listed.add_class("sting-regions")
    path.add_class("sting-region-save-path")

    def names():
        known = [name for name, _ in state.session.regions]
        if list(listed.options) != known:
            listed.options = known

    def remove():
        if listed.value is not None:
            state.remove_region(listed.value)

    def save():
        state.save_region(path.value)
        state.say(f"The regions are in {path.value}.")

    b.when({"cut"}, names)
    return (
        widgets.HBox([listed, b.button("region-remove", "Remove", remove, "trash", "Take the regions out of the cut")]),
        widgets.HBox([path, b.button("region-save", "Save", save, "save", "Write the regions as a ds9 file")]),
    )


def _clusters(b):
    state = b.state
    listed = widgets.SelectMultiple(options=[(NO_CLUSTER, None)], description="Clusters", rows=4, layout=b.wide)
    listed.style.description_width = "74px"
    shown = widgets.Checkbox(description="Show: a click fits one", indent=False, layout=b.wide)

    def options():
        known = [(NO_CLUSTER, None), *([] if state.known is None else state.known.words)]
        if list(listed.options) != known:
            listed.options = known

    def read():
        # of others than these, none of the list is chosen
        chosen = tuple(number for _, number in listed.options if number in state.chosen)
        return chosen if state.session.cluster else (None,)

    def write(chosen):
        numbers = [number for number in chosen if number is not None]
        # what is chosen beside "none" takes its place, unless "none" is what was added
        state.set_cluster(None if None in chosen and state.session.cluster else numbers or None)
        b.refresh({"clusters"})

    def show(value):
        state.set_display(clusters=value)

    clicks = "A click on a dot of a map makes its cluster the data of the fit; with Shift it adds it, or takes it away"
    b.when({"clusters"}, options)
    b.bind(listed, "clusters", read, write, {"clusters", "cut"}, tip="The most streamer-like first; several are merged")
    b.bind(shown, "clusters-shown", lambda: state.display.clusters, show, {"display.clusters"}, tip=clicks)
    tip = "Describe the spectra of the whole cube by Gaussians, and cluster these: some minutes for a large cube"
    idle = {"enabled": lambda: not state.busy}
    find = b.button("find-clusters", "Find clusters", state.find_clusters, "object-group", tip, **idle)
    return listed, widgets.HBox([find, shown])


# -- fit ------------------------------------------------------------------------------------------------------------------


def fit_tab(b):
    """Controls of the fit, and its result.

    Parameters
    ----------
    b : `~sting.explorer.binder.Binder`
        What ties them to the state.

    Returns
    -------
    `ipywidgets.Widget`
    """
    state = b.state

    def bound(name):
        """Class name, reader and writer of an option."""
        return name.replace("_", "-"), lambda: getattr(state.session, name), lambda value: state.set_fit(**{name: value})

    def choose(name, words, options, tip=""):
        label, read, write = bound(name)
        return b.choice(label, words, options, read, write, {"options"}, tip)

    def whole(name, words):
        label, read, write = bound(name)
        return b.whole(label, words, read, write, {"options"})

    rate = b.text(
        "learning-rate",
        "Step",
        lambda: f"{state.session.learning_rate:g}",
        lambda text: state.set_fit(learning_rate=typed_number("learning_rate", text)),
        {"options"},
        "Learning rate of Adam",
    )
    topics = {"result", "cut", "options", "parameters"}
    result = b.bind(widgets.HTML(layout=b.wide), "result", lambda: result_table(state), topics=topics)
    return widgets.VBox(
        [
            choose(
                "optimizer",
                "Optimiser",
                OPTIMIZERS,
                "Adam, or L-BFGS or Levenberg and Marquardt's method, which end in a minimum",
            ),
            choose("loss_method", "Residuals of", LOSSES),
            choose("matching", "Matching", MATCHINGS, "Nearest point of the model, or STING's choice"),
            widgets.HBox([whole("n_epochs", "Epochs"), whole("patience", "Patience")]),
            rate,
            result,
        ]
    )


# -- look -----------------------------------------------------------------------------------------------------------------


def look_tab(b):
    """Controls of the looks.

    Parameters
    ----------
    b : `~sting.explorer.binder.Binder`
        What ties them to the state.

    Returns
    -------
    `ipywidgets.Widget`
    """
    state = b.state

    def choose(name, words, options):
        def write(value):
            state.set_display(**{name: value})

        label = name.replace("_", "-")
        return b.choice(label, words, options, lambda: getattr(state.display, name), write, {f"display.{name}"})

    def limit(name, words):
        def write(text):
            state.set_display(**{name: typed_number(name, text)})

        tip = f"In {state.images.unit}; empty for that of the cube"
        return b.text(name, words, lambda: _or_empty(getattr(state.display, name)), write, {f"display.{name}"}, tip)

    contours = widgets.Checkbox(description="Contours at 3, 5, 10, ... times the noise", indent=False, layout=b.full)

    def write_contours(value):
        state.set_display(contours=value)

    b.bind(contours, "contours", lambda: state.display.contours, write_contours, {"display.contours"})
    return widgets.VBox(
        [
            choose("colormap", "Colours", COLORMAPS),
            choose("stretch", "Stretch", STRETCHES),
            widgets.HBox([limit("low", "Faintest"), limit("high", "Brightest")]),
            contours,
            choose("moment", "Second map", MOMENTS),
            choose("pv_axis", "PV axis", AXES),
        ]
    )


# -- keep -----------------------------------------------------------------------------------------------------------------


def keep_tab(b):
    """Controls that write files, and the script.

    Parameters
    ----------
    b : `~sting.explorer.binder.Binder`
        What ties them to the state.

    Returns
    -------
    `ipywidgets.Widget`
    """
    state = b.state
    folder = widgets.Text(value="sting_results", description="Folder", layout=b.wide)
    path = widgets.Text(value="explorer.json", description="State", layout=b.wide)
    for box, name in ((folder, "folder"), (path, "state-path")):
        box.style.description_width = "50px"
        box.add_class(f"sting-{name}")
    script = widgets.Textarea(description="Script", layout={"width": "100%", "height": "380px"})
    script.add_class("sting-script")
    script.add_class("sting-hidden-label")

    def save():
        state.say(f"Writing {folder.value} ...")
        written = state.save(folder.value)
        state.say(f"Wrote {len(written)} files into {folder.value}.")

    def save_state():
        state.save_state(path.value)
        state.say(f"The state is in {path.value}; StreamerExplorer.from_state reads it.")

    def show_script():
        script.value = state.to_script()

    return widgets.VBox(
        [
            widgets.HBox(
                [folder, b.button("save", "Save results", save, "save", "Tables, figures, script and state of the fit")]
            ),
            widgets.HBox([path, b.button("save-state", "Save state", save_state, "save", "Everything that was chosen, as JSON")]),
            b.button("show-script", "Show the script", show_script, "code", "Python that repeats all this"),
            script,
        ]
    )
