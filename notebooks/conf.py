"""How `make docs` turns this folder into pages, with Sphinx and MyST-NB. Nothing is run: outputs are stored."""

from importlib.metadata import version as version_of

project = "agentlab"
author = "agentlab contributors"
release = version_of("jupyter-agentlab")
version = release

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["howto/checked-eval", "**.ipynb_checkpoints"]
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "image/svg+xml", 5), ("html", "text/html", 10)]  # a chart's HTML needs a network
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the docstrings say units and meanings, the signature the types
autodoc_member_order = "bysource"
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Class settings", "params_style"), ("Fields", "params_style")]
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

html_theme = "pydata_sphinx_theme"
html_title = "agentlab"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False

# `make links`. A heading of somebody else's page may be renamed and the page still say what is meant.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1)\b.*"]
linkcheck_anchors = False
linkcheck_timeout = 20
linkcheck_retries = 2
