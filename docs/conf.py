"""Sphinx settings."""

project = "netwright"
copyright = "the netwright developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "netwright"
myst_heading_anchors = 2
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False
