"""The site's settings; build with ``make docs``."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "ewmalab"
author = "the authors of ewmalab"
release = importlib.metadata.version("ewmalab")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "notebook_pages"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ewmalab {release}"
myst_heading_anchors = 4
autodoc_typehints = "none"  # the docstrings name types and shapes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]
