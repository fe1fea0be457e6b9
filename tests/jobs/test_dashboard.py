"""Ray's dashboard as a person sees it: in a headless Chromium, with a real job on a real Ray."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.cluster_job import submit_patiently

pytestmark = pytest.mark.xdist_group("ray")

ROOT = Path(__file__).parents[2]
NAME = "watched-experiment"
SUBMISSION_ID = "growres-k3f9xa-1"
# As `growres drive` does it: a driver that joins the Ray of its job, and tells Prometheus of its trials.
DRIVER = """
import time
from pathlib import Path
from jobs.cluster import ray_session
with ray_session("auto", Path(".")):
    from jobs.metrics import TrialMetrics
    TrialMetrics("in-a-job", [("k3f9xa-1", "grown", 0)])
    print("the driver is up", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def job(ray_cluster: str) -> Iterator[Any]:
    """The client of a Ray on which a job of ours runs, submitted as `--backend cluster` does it."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(ray_cluster)
    submit_patiently(
        client,
        entrypoint=shlex.join([sys.executable, "-c", DRIVER]),
        submission_id=SUBMISSION_ID,
        metadata={"job_name": NAME, "experiment_id": "k3f9xa"},
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    try:
        yield client
    finally:
        client.stop_job(SUBMISSION_ID)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    # As root, as in a container, Chromium has no sandbox to offer.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        chrome = driver.chromium.launch(executable_path=chromium, args=[*sandbox, "--disable-dev-shm-usage"])
        try:
            yield chrome
        finally:
            chrome.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a browser that has no token yet."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(60_000)
    try:
        yield context.new_page()
    finally:
        context.close()


def token() -> str:
    return Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()


def test_the_page_needs_the_token_and_then_shows_the_job_under_its_name(
    ray_cluster: str, job: Any, page: Any, tmp_path: Path
) -> None:
    page.goto(f"{ray_cluster}/#/jobs")
    form = page.get_by_role("dialog").filter(has_text="Authentication Token Required")
    form.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.get_by_text(NAME).count() == page.get_by_text(SUBMISSION_ID).count() == 0

    form.get_by_label("Authentication Token").fill("0" * 64)
    form.get_by_role("button", name="Submit").click()
    form.get_by_text(re.compile("invalid", re.IGNORECASE)).first.wait_for()
    assert page.get_by_text(NAME).count() == 0

    form.get_by_label("Authentication Token").fill(token())
    form.get_by_role("button", name="Submit").click()
    row = page.get_by_role("row").filter(has_text=SUBMISSION_ID)
    row.wait_for()
    page.screenshot(path=os.environ.get("GROWRES_TEST_SCREENSHOT") or tmp_path / "jobs.png")
    headings = page.get_by_role("columnheader").all_inner_texts()
    cells = row.get_by_role("cell").all_inner_texts()
    shown = {heading.strip(): cell.strip() for heading, cell in zip(headings, cells, strict=True)}
    assert shown["Name"] == NAME
    assert shown["Submission ID"] == SUBMISSION_ID
    assert token() not in page.content()


# On two busy cores it failed twice: the job's driver is late then, or Ray serves none of its metrics.
@pytest.mark.slow
def test_the_driver_of_a_job_is_heard_by_prometheus(job: Any) -> None:
    from tests.jobs.test_metrics import statuses, wait_for

    deadline = time.monotonic() + 90
    while "the driver is up" not in (logs := job.get_job_logs(SUBMISSION_ID)):
        assert time.monotonic() < deadline, logs
        time.sleep(1)
    samples = wait_for(lambda samples: bool(statuses(samples, "in-a-job")), timeout_s=120)
    assert statuses(samples, "in-a-job")["queued"] == 1
