"""Sphinx configuration: Astropy's shared one, with what is this package's own. A build and its pages need no network."""

import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx_astropy.conf.v3 import *  # noqa: F403
from sphinx_astropy.conf.v3 import exclude_patterns, extensions

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "sting"
author = "The sting developers"
copyright = "2026, the sting developers"
release = installed_version("sting")
version = release.partition("+")[0]

extensions += ["myst_nb", "mathml", "tables", "offline"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns += ["_ext", "figures"]

# Links that lead nowhere are warnings, and warnings are errors. Names of other projects are no links, their inventories would
# have to be downloaded; nor are names that are not public.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!sting\b).*"),
    ("py:.*", r"sting\.(core|tracks|explorer\.(clustering|fitting|images|notebook|session))\..*"),
]
intersphinx_mapping = {}

# Notebooks show the outputs that they are stored with. The tests run them.
nb_execution_mode = "off"
nb_mime_priority_overrides = [
    ("html", "image/png", 0),  # of a widget its picture: widgets would load their scripts from another site
    ("html", "text/html", 10),
    ("html", "text/plain", 30),
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
tutorials = HERE / "tutorials"
for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
    shutil.copy(notebook, tutorials)

html_math_renderer = "mathml"
html_title = f"sting {version}"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["sting.css"]
htmlhelp_basename = "stingdoc"
ogp_social_cards = {"enable": False}  # pictures for sites that link here
# The theme is made for astropy.org and its subsites: this is neither, and counts no visitors.
html_theme_options = {
    "goatcounter_analytics_url": False,
    "sst_is_root": True,
    "sst_project_name": "sting",
    "navbar_links": [
        ["Quick start", "quickstart", 0],
        ["Tutorials", "tutorials/index", 0],
        ["How to", "howto/index", 0],
        ["Background", "explanation", 0],
        ["Reference", "api", 0],
    ],
    "footer_links": [],
}
