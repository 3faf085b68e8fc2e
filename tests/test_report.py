"""The report, built from small executed notebooks and opened in a browser that has no network."""

import runpy
import subprocess
import sys

import pandas as pd
import pytest
from nbformat import v4, write

from msa_core import paths

SCRIPT = paths.ROOT / "workflow" / "report.py"
REPORT = runpy.run_path(str(SCRIPT))
build = REPORT["build"]

TABLE = """\
import pandas as pd

frame = pd.DataFrame({"variant": ["paper", "no_alignment", "third"], "MAE": [0.9, -0.25, 10.0]})
frame.style.format(precision=2).hide(axis="index")"""
FIGURE = """\
import matplotlib.pyplot as plt
import msa_core.analysis.plots  # the style

figure, axis = plt.subplots()
axis.plot([1, 2]);"""
WIDE = """\
from IPython.display import Markdown

Markdown(pd.DataFrame([["0.1234 ± 0.0567"] * 30]).to_markdown(index=False))"""


def notebook(path, *cells):
    """Writes the cells, code ones for a plain text; returns the path."""
    cells = [v4.new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    write(v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    text = v4.new_markdown_cell
    one = notebook(folder / "one.ipynb", text("# Is it one?"), "1 + 1", TABLE, text("## Main figure"), FIGURE, WIDE)
    two = notebook(folder / "two.ipynb", text("# Is it two < three?"), text("## Main figure"))
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar"]
    subprocess.run([*papermill, one, one], check=True, cwd=paths.ROOT)
    subprocess.run([*papermill, two, two, "-p", "dataset", "planted"], check=True, cwd=paths.ROOT)
    summarised = ["--grid", "small", "--output", folder / "new" / "report.html"]
    subprocess.run([sys.executable, SCRIPT, one, two, *summarised], check=True)
    return folder / "new" / "report.html"


@pytest.fixture
def page(browser, built):
    """The opened page; what it asks for beyond itself and what it complains of fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(built.as_uri())
    yield page
    context.close()
    assert [url for url in requests if not url.startswith("data:")] == [built.as_uri()]
    assert complaints == []


@pytest.mark.slow
def test_every_picture_loads_and_is_sharp(page):
    pictures = page.locator("img").evaluate_all("all => all.map(i => [i.naturalWidth, i.width, i.alt])")
    assert len(pictures) == 1
    natural, shown, name = pictures[0]
    assert natural == pytest.approx(2 * shown, abs=1)
    assert shown > 400
    assert name == "Figure 1 of one: Main figure"


@pytest.mark.slow
def test_the_contents_lead_to_every_heading(page):
    links = page.locator("nav a").evaluate_all("all => all.map(a => [a.textContent, a.getAttribute('href')])")
    assert [text for text, _ in links] == [
        "Summary",
        "Is it one?",
        "Main figure",
        "Is it two < three? – Planted",
        "Main figure",
        "Runs, one by one",
    ]
    assert [page.locator(target).text_content() for _, target in links] == [text for text, _ in links]
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_code_is_folded_and_opens(page):
    code = page.locator("details.code")
    assert not code.first.locator("pre").is_visible()
    code.first.locator("summary").click()
    assert "1 + 1" in code.first.locator("pre").inner_text()
    assert "Traceback" not in page.inner_text("body")


@pytest.mark.slow
def test_a_click_sorts_a_table_by_value(page):
    table = page.locator("main table").first
    cells = "all => all.map(cell => cell.textContent.trim())"
    for order in (["-0.25", "0.90", "10.00"], ["10.00", "0.90", "-0.25"]):
        table.locator("th", has_text="MAE").click()
        assert table.locator("td:nth-child(2)").evaluate_all(cells) == order
    table.locator("th", has_text="Variant").press("Enter")
    assert table.locator("td:nth-child(1)").evaluate_all(cells) == ["no_alignment", "paper", "third"]


@pytest.mark.slow
def test_nothing_widens_a_narrow_page(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = page.locator("main section .table:has(.cards)").evaluate_all(
        "all => all.map(b => b.scrollWidth - b.clientWidth)"
    )
    assert boxes == [0, 0]
    assert page.locator("figure").evaluate("box => box.scrollWidth > box.clientWidth")


@pytest.mark.slow
def test_a_row_is_a_card_on_a_narrow_screen(page):
    cell = page.locator("main table td:nth-child(2)").first
    label = "cell => getComputedStyle(cell, '::before').content"
    assert cell.evaluate(label) == "none"
    page.set_viewport_size({"width": 390, "height": 800})
    assert cell.evaluate(label) == '"MAE"'
    assert not page.locator("main table thead").first.is_visible()


@pytest.mark.slow
def test_the_summary_has_the_claims_of_the_grid(page):
    claims = pd.read_csv(paths.ROOT / "results" / "tables" / "small-claims.csv")
    verdicts = page.locator(".summary td:nth-child(2)").all_inner_texts()
    questions = [text for text in page.locator(".summary td:nth-child(1)").all_inner_texts() if text]
    assert [int(text.partition(".")[0]) for text in questions] == sorted(claims["question"].unique())
    assert set(verdicts) <= set(claims["verdict"])
    assert page.locator("header").inner_text().count("grid small") == 1


@pytest.mark.slow
def test_a_variant_leads_to_its_runs(page):
    assert not page.locator("#runs-no_alignment").is_visible()
    page.locator("main td a", has_text="no_alignment").click()
    page.locator("#runs-no_alignment").wait_for()
    shown = page.locator("#runs-no_alignment td:nth-child(6)").all_inner_texts()
    runs = pd.read_csv(paths.ROOT / "results" / "tables" / "small-runs.csv").query("variant == 'no_alignment'")
    assert shown == [f"{mae:.4f}" for mae in runs["mae"]]


@pytest.mark.slow
def test_dark_and_light_are_legible(page):
    """Contrast of text on the page, by WCAG's formula: 4.5 at least."""
    contrast = """element => {
        const luminance = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
            .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
        const page = getComputedStyle(document.body).backgroundColor;
        const [low, high] = [luminance(getComputedStyle(element).color), luminance(page)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    }"""
    backgrounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        for part in ("h1", "header p", "main td >> nth=0", "nav a >> nth=0", "summary >> nth=0", ".source >> nth=0"):
            assert page.locator(part).evaluate(contrast) >= 4.5, (scheme, part)
    assert len(backgrounds) == 2


def test_a_failed_cell_stops_the_report(tmp_path):
    error = v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=["x = 1 / 0"])
    failed = v4.new_code_cell("x = 1 / 0", execution_count=2, outputs=[error])
    path = notebook(tmp_path / "three.ipynb", v4.new_code_cell("y = 1", execution_count=1), failed)
    command = [sys.executable, SCRIPT, path, "--output", tmp_path / "report.html"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode != 0
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"no report: notebook {path}, cell 2 (In [2]): got ZeroDivisionError: division by zero")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (v4.new_code_cell("x = 1"), r"cell 1 \(In \[ \]\): got a cell that was never run"),
        (v4.new_markdown_cell("![picture](https://example.org/a.png)"), "got <img src='https://example.org/a.png'>"),
    ],
    ids=["not run", "not here"],
)
def test_what_is_not_run_or_not_here_is_refused(tmp_path, cell, message):
    with pytest.raises(ValueError, match=message):
        build([notebook(tmp_path / "four.ipynb", cell)])


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.ipynb: got no file"):
        build([tmp_path / "none.ipynb"])


def test_runs_outside_a_git_checkout_have_an_unknown_commit():
    row = {"title": "P", "seed": 1, "best_epoch": 2, "seconds": 3.25, "mae": 0.5, "corr": 0.7}
    runs = pd.DataFrame([row | {"variant": "paper"}, row | {"variant": "other"}])
    shown = REPORT["runs_by_variant"](runs.assign(commit=float("nan")))
    assert list(shown) == ["paper", "other"]
    assert "unknown" in shown["paper"] and "3.2" in shown["paper"]
    assert "0123456789<" in REPORT["runs_by_variant"](runs.assign(commit=["0123456789abc", None]))["paper"]
