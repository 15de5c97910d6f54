"""The site's settings; build with ``make docs``."""

from __future__ import annotations

import importlib.metadata

project = "ewmalab"
author = "the authors of ewmalab"
release = importlib.metadata.version("ewmalab")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ewmalab {release}"
myst_heading_anchors = 4
autodoc_typehints = "none"  # the docstrings name types and shapes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]
