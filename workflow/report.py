"""Write one page that needs nothing beside itself, from executed notebooks, in their order.

python workflow/report.py results/report/02_results-small.ipynb ... --grid small --output results/report-small.html

With `--grid`, the page begins with a summary of the grid's claims and ends with a list of its runs, from
results/tables/<grid>-claims.csv and <grid>-runs.csv; the names of variants in all tables lead to their runs.
"""

import argparse
import sys
from pathlib import Path

import nbformat
import pandas as pd
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from msa_core import paths
from msa_core.analysis.claims_summary import summary_table
from msa_core.analysis.tables import METRIC_TITLES
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
WIDE = 8  # columns from which a table is set smaller, and all its cells may be broken into lines
RUN_COLUMNS = {"title": "Data", "seed": "Seed", "best_epoch": "Best epoch", "seconds": "Seconds", "commit": "Commit"}


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


def section(exporter: HTMLExporter, path: Path, variants: set[str]) -> BeautifulSoup:
    """The notebook as HTML: headings one level down and with ids of their own, tables dressed, pictures named."""
    notebook = read(path)
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem, "path": str(path.parent)}})
    soup = BeautifulSoup(html, "html.parser")
    dataset = notebook.metadata.get("papermill", {}).get("parameters", {}).get("dataset")
    if dataset and soup.h1:
        soup.h1.append(f" – {resolve(dataset).dataset.title}")
    for number, heading in enumerate(soup.find_all(["h1", "h2", "h3"])):
        heading.name = f"h{int(heading.name[1]) + 1}"
        heading["id"] = f"{path.stem}-{number}"
    dress_tables(soup, variants)
    for number, image in enumerate(soup.find_all("img"), 1):
        above = image.find_previous(["h2", "h3", "h4"])
        image["alt"] = f"Figure {number} of {path.stem}: {above.get_text() if above else ''}"
    refuse_outside_sources(soup, path)
    return soup


def dress_tables(soup: BeautifulSoup, variants: set[str]) -> None:
    """Tables in boxes, headings readable, each cell with its heading (narrow screens show a row as a card).

    Args:
        soup: changed in place.
        variants: whose names in cells lead to the list of their runs.
    """
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "table", "tabindex": "0"}))
        headings = [head.find_all(["th", "td"]) for head in table.select("thead tr")]
        for heading in [heading for row in headings for heading in row]:
            if heading.string and heading.string.strip() not in variants:
                words = heading.string.strip().replace("_", " ")
                heading.string = words[:1].upper() + words[1:]
        table["class"] = [*table.get("class", []), *(["wide"] if headings and len(headings[0]) >= WIDE else [])]
        if len(headings) == 1:
            table["class"] += ["cards"]
            for row in table.select("tbody tr"):
                for heading, cell in zip(headings[0], row.find_all(["th", "td"]), strict=False):
                    cell["data-label"] = heading.get_text().strip()
        for cell in table.select("tbody th, tbody td"):
            if len(cell.get_text()) > WRAPPED:
                cell["class"] = [*cell.get("class", []), "text"]
            if (name := cell.get_text().strip()) in variants and not cell.find("a"):
                content = [part.extract() for part in list(cell.contents)]
                cell.append(soup.new_tag("a", href=f"#runs-{name}"))
                cell.a.extend(content)


def runs_by_variant(runs: pd.DataFrame) -> dict[str, str]:
    """Variant -> its runs as an HTML table: data set, seed, test metrics, time and code.

    Args:
        runs: as `tables.runs_table` gives it; no commit: the code was no git checkout.
    """
    commit = runs["commit"].astype(object).where(runs["commit"].notna(), "unknown").str[:10]
    columns = RUN_COLUMNS | {name: f"Test {METRIC_TITLES[name]}" for name in ("mae", "corr")}
    shown = runs.assign(commit=commit, seconds=runs["seconds"].map("{:.1f}".format))
    shown = shown[["variant", *columns]].rename(columns=columns)
    return {
        str(variant): table.drop(columns="variant").to_html(index=False, border=0, float_format="%.4f")
        for variant, table in shown.groupby("variant", sort=False)
    }


def refuse_outside_sources(soup: BeautifulSoup, path: Path) -> None:
    """Nothing may be loaded from elsewhere: the page is read offline."""
    for tag in soup.find_all(src=True):
        if not str(tag["src"]).startswith("data:"):
            raise ValueError(
                f"notebook {path}: got <{tag.name} src={str(tag['src'])[:80]!r}>, expected everything to be in the "
                "notebook itself; show the picture as a cell's output"
            )


def build(notebooks: list[Path], grid: str = "", tables: Path = paths.ROOT / "results" / "tables") -> str:
    """The whole page.

    Args:
        notebooks: executed.
        grid: whose claims and runs are shown; empty: the notebooks alone.
        tables: the folder of <grid>-claims.csv and <grid>-runs.csv.
    """
    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_name="report",
        extra_template_basedirs=[str(Path(__file__).parent)],
        exclude_anchor_links=True,
        embed_images=True,
    )
    summary, runs = BeautifulSoup(), {}
    if grid:
        runs = runs_by_variant(pd.read_csv(tables / f"{grid}-runs.csv"))
        claims = summary_table(pd.read_csv(tables / f"{grid}-claims.csv"))
        summary = BeautifulSoup(
            markdown2html_mistune(claims.to_markdown(index=False, disable_numparse=True)), "html.parser"
        )
        dress_tables(summary, set(runs))
    return exporter.environment.get_template("page.html.j2").render(
        grid=grid,
        summary=summary,
        runs=runs,
        sections=[section(exporter, path, set(runs)) for path in notebooks],
        code_light=HtmlFormatter(style="default").get_style_defs(".highlight"),
        code_dark=HtmlFormatter(style="github-dark").get_style_defs(".highlight"),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path, help="executed notebooks, in the order of the page")
    parser.add_argument("--grid", default="", help="whose claims and runs are shown")
    parser.add_argument("--output", required=True, type=Path, help="the page to write")
    options = parser.parse_args()
    try:
        page = build(options.notebooks, options.grid)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"no report: {error}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(page)
