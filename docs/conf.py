"""The site: README, the pages under docs, the generated tables and the docstrings; `make docs` builds it.

The source folder is the project's top folder, so that the pages' links are those that a reader of the files follows.
"""

import re

from sphinx.application import Sphinx

import msa_core
from msa_core import paths

project = "msa_core"
release = version = msa_core.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "results/**.md", "reference/*.md"]
html_theme = "furo"
html_title = "msa_core"
html_extra_path = ["index.html"]  # leads to README.html
default_role = "code"
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_ivar = True
napoleon_use_rtype = False
smartquotes = False

CONTENTS = """
```{toctree}
:hidden:
docs/results
docs/running
docs/own_data
docs/losses
docs/speed
docs/scale
CONTRIBUTING
docs/api
CHANGELOG
SECURITY
```
"""


def _for_the_site(app: Sphinx, name: str, source: list[str]) -> None:
    """Tables get a title; links to folders, which a site has not, become plain code; README gets the contents."""
    del app
    if name.startswith(("results/", "reference/")):
        source[0] = f"---\norphan: true\n---\n# {name}\n\n{source[0]}".replace("\n### ", "\n## ")
    here = (paths.ROOT / name).parent

    def plain(link: re.Match[str]) -> str:
        return f"`{link[1].strip('`')}`" if (here / link[2]).is_dir() else link[0]

    source[0] = re.sub(r"\[([^\]]+)\]\((?!https?:)([^)#]+)\)", plain, source[0])
    if name == root_doc:
        source[0] += CONTENTS


def setup(app: Sphinx) -> None:
    app.connect("source-read", _for_the_site)
