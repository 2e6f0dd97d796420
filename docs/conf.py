"""Sphinx: the documentation as a site. `make docs` builds it, and every warning is an error."""

from importlib.metadata import version as installed_version

project = "tasoc-mpi"
author = "The tasoc-mpi developers"
copyright = author
version = release = installed_version("tasoc-mpi")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",  # includes myst_parser
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
# References that lead nowhere are warnings.
nitpicky = True
# Names in single backticks become links where they name an object of the API, else they are plain words.
default_role = "autolink"
nitpick_ignore_regex = [("py:obj", r"(?!tasoc_mpi\.).*")]

# Indented blocks are commands and drawings.
highlight_language = "text"

# Markdown: the files of this folder are pages as they are.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_url_schemes = ("http", "https", "mailto")

# Tutorials are notebooks in text form. A build executes those that have changed; an error in one ends it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300  # seconds a cell; kernels may have to be compiled in it
nb_execution_show_tb = True
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings have types, shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the template of the class lists them

html_theme = "furo"
html_title = f"tasoc-mpi {release}"
html_static_path = ["_static"]
html_css_files = ["tasoc.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
