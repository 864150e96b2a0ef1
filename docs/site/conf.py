"""The documentation site: ``make docs``. Every warning is an error; nothing is fetched, neither by the build nor by a reader's browser."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

project = "chemr"
author = "the chemr developers"
project_copyright = author
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "generated", "source_pages"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site"]
root_doc = "index"
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # a console block whose quotes go over several lines is drawn without colours

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
myst_dmath_double_inline = False

html_theme = "furo"
html_title = f"chemr {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
pygments_style, pygments_dark_style = "tango", "monokai"
