"""Studies side by side, as a page and as text."""

from pathlib import Path

from harness.analysis.studies.study_comparison import StudiesComparison
from harness.formatting import join_words
from harness.records.files import write_text
from harness.reporting.rendering import render
from harness.reporting.studies_tables import (
    make_side_by_side,
    make_task_table,
    make_verdict_table,
    text_studies,
)


def write_studies(compared: StudiesComparison, folder: Path) -> Path:
    """Write studies.csv and studies.md into `folder`; return the latter's path."""
    page = folder / "studies.md"
    write_text(folder / "studies.csv", compared.table.to_csv(index=False))
    values = {
        "compared": compared,
        "verdicts": make_verdict_table(compared.verdicts),
        "means": make_side_by_side(compared.table, compared.changes),
        "gains": make_task_table(compared.table, compared.changes),
        "headlines": _list_headlines(compared),
    }
    write_text(page, render("studies.md.j2", values))
    return page


def _list_headlines(compared: StudiesComparison) -> list[str]:
    rows = compared.verdicts[["study", "headline"]].itertuples(index=False, name=None)
    return [f"{study}: {headline}" for study, headline in rows]


def text_comparison(compared: StudiesComparison) -> str:
    """Return the comparison as text for a terminal."""
    lines = [*compared.findings, "", *_list_headlines(compared), ""]
    lines += [f"Over {join_words(compared.tasks)}:", text_studies(compared.table), ""]
    lines += ["Left out:", *(f"- {note}" for note in compared.notes or ["nothing"]), ""]
    lines += ["Differences:", *(f"- {line}" for line in compared.differences or ["none recorded"])]
    return "\n".join(lines)
