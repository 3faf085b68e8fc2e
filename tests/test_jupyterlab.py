"""A person opens JupyterLab, runs the training notebook from the menu and sees tables and pictures."""

import json
import os
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest


@pytest.fixture
def lab(small_checkout):
    """The address of a server on a copy of the project, with settings of its own; stopped in any case."""
    own = small_checkout / "jupyter"
    tracker = own / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text(json.dumps({"windowingMode": "none"}))  # every cell is on the page, seen or not
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    folders = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}": str(own / folder) for name, folder in folders.items()},
        "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        "IPYTHONDIR": str(own / "ipython"),
        "PYTHONPATH": str(small_checkout),
        "OMP_NUM_THREADS": "1",
    }
    options = ["--no-browser", "--allow-root", "--IdentityProvider.token=", f"--ServerApp.port={port}"]
    options += ["--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1"]
    log = small_checkout / "lab.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "jupyter", "lab", "notebooks", *options]
        server = subprocess.Popen(command, cwd=small_checkout, env=environment, stdout=out, stderr=out)
        try:
            for _ in range(200):
                try:
                    urlopen(f"{address}/api").close()
                    break
                except URLError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.2)
            yield address
        finally:
            server.terminate()  # the server stops its kernels first
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


@pytest.mark.slow
def test_the_training_notebook_runs_from_the_menu(lab, small_checkout, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.goto(f"{lab}/lab/tree/01_train.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before that, nothing runs
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    final_table = page.locator(".jp-CodeCell").last.locator("table")
    errors = page.locator(".jp-OutputArea-output").filter(has_text="Traceback (most recent call last)")
    final_table.or_(errors).first.wait_for(timeout=180_000)
    assert errors.all_inner_texts() == []
    widths = page.locator(".jp-OutputArea img").evaluate_all("all => all.map(image => image.naturalWidth)")
    assert len(widths) == 5
    assert all(width > 500 for width in widths)
    assert "effective rank" in final_table.inner_text()
    assert (small_checkout / "results" / "runs" / "planted" / "paper" / "seed-1111" / "metrics.json").is_file()
    page.close()
