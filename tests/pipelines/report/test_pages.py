"""Rendering of pages: values are escaped; style and script are embedded."""

from __future__ import annotations

from pipelines.report.pages import render_page

RUN_INFO = {
    "status": "complete",
    "started_at": "2026-01-01T00:00",
    "seconds": 1.0,
    "run_id": "0" * 32,
    "warnings": ["<b> & co"],
    "config": {"image_size": 96},
}


def test_values_are_escaped_and_style_and_script_are_embedded() -> None:
    page = render_page(
        "index.html",
        root=".",
        title="<Run>",
        run_info=RUN_INFO,
        rows=[],
        failed={"<script>": "it's broken"},
        unreadable=[],
        labeled=False,
        night=False,
        members=["lite0"],
    )
    assert "&lt;b&gt; &amp; co" in page
    assert "<b>&lt;script&gt;</b>: it&#39;s broken" in page
    assert "<title>&lt;Run&gt; · ReConPatch</title>" in page
    assert page.count("<script>") == page.count("<style>") == 1
