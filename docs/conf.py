"""Sphinx configuration: Astropy's shared one, with what is this package's own."""

from importlib.metadata import version as installed_version

from sphinx_astropy.conf.v2 import *  # noqa: F403

project = "sting"
author = "The sting developers"
copyright = "2026, the sting developers"
release = installed_version("sting")
version = release.partition("+")[0]

html_title = f"sting {version}"
htmlhelp_basename = "stingdoc"

# Other projects' inventories would have to be downloaded, and a build without the network would fail on the
# warnings. Names of other projects are therefore not links.
intersphinx_mapping = {}
