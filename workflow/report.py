"""Write one page that needs nothing beside itself, from executed notebooks, in their order.

python workflow/report.py results/report/02_results-small.ipynb ... --output results/report-small.html
"""

import argparse
import sys
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from msa_core.config import resolve

SHOWN = [
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/plain",
]  # the first that an output has
WRAPPED = 30  # characters of a table's cell: longer ones are broken into lines


def read(path: Path) -> NotebookNode:
    """The executed notebook, adjacent code cells joined where only the last one shows anything.

    Raises:
        ValueError: a cell failed or was never run; it names notebook and cell.
    """
    if not path.is_file():
        raise ValueError(f"notebook {path}: got no file, expected an executed notebook; `make report` runs it")
    notebook = nbformat.read(path, as_version=4)
    cells: list[NotebookNode] = []
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and cell.source.strip():
            failed = [output for output in cell.outputs if output.output_type == "error"]
            if failed or cell.execution_count is None:
                got = f"{failed[0].ename}: {failed[0].evalue}" if failed else "a cell that was never run"
                raise ValueError(
                    f"notebook {path}, cell {number} (In [{cell.execution_count or ' '}]): got {got}, "
                    "expected cells that all ran without an error; mend the cause, then run the notebook again"
                )
            if cells and cells[-1].cell_type == "code" and not cells[-1].outputs:
                cell.source = f"{cells.pop().source.strip()}\n\n{cell.source}"
        cells.append(cell)
    notebook.cells = cells
    return notebook


def section(exporter: HTMLExporter, path: Path) -> BeautifulSoup:
    """The notebook as HTML: headings one level down and with ids of their own, tables in boxes, pictures named."""
    notebook = read(path)
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem, "path": str(path.parent)}})
    soup = BeautifulSoup(html, "html.parser")
    dataset = notebook.metadata.get("papermill", {}).get("parameters", {}).get("dataset")
    if dataset and soup.h1:
        soup.h1.append(f" – {resolve(dataset).dataset.title}")
    for number, heading in enumerate(soup.find_all(["h1", "h2", "h3"])):
        heading.name = f"h{int(heading.name[1]) + 1}"
        heading["id"] = f"{path.stem}-{number}"
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "table", "tabindex": "0"}))
        for cell in table.find_all("td"):
            if len(cell.get_text()) > WRAPPED:
                cell["class"] = "text"
    for number, image in enumerate(soup.find_all("img"), 1):
        above = image.find_previous(["h2", "h3", "h4"])
        image["alt"] = f"Figure {number} of {path.stem}: {above.get_text() if above else ''}"
    refuse_outside_sources(soup, path)
    return soup


def refuse_outside_sources(soup: BeautifulSoup, path: Path) -> None:
    """Nothing may be loaded from elsewhere: the page is read offline."""
    for tag in soup.find_all(src=True):
        if not str(tag["src"]).startswith("data:"):
            raise ValueError(
                f"notebook {path}: got <{tag.name} src={str(tag['src'])[:80]!r}>, expected everything to be in the "
                "notebook itself; show the picture as a cell's output"
            )


def build(notebooks: list[Path]) -> str:
    """The whole page."""
    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_name="report",
        extra_template_basedirs=[str(Path(__file__).parent)],
        exclude_anchor_links=True,
        embed_images=True,
    )
    return exporter.environment.get_template("page.html.j2").render(
        sections=[section(exporter, path) for path in notebooks],
        code_light=HtmlFormatter(style="default").get_style_defs(".highlight"),
        code_dark=HtmlFormatter(style="github-dark").get_style_defs(".highlight"),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path, help="executed notebooks, in the order of the page")
    parser.add_argument("--output", required=True, type=Path, help="the page to write")
    options = parser.parse_args()
    try:
        page = build(options.notebooks)
    except ValueError as error:
        sys.exit(f"no report: {error}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page)
