"""The public sets' columns, types, configurations and split names, from load to score.

Each is written as a local folder, in the layout of its repository, and loaded by the same
`datasets.load_dataset` call as the id: only the id is exchanged for the folder.
"""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, Example, Source, load_examples

datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageFont = pytest.importorskip("PIL.ImageFont")

Load = Callable[..., tuple[Example, ...]]
SPLITS = ("train", "validation", "test")


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a split of a public set from its folder, and scores each example's own completion."""
    datasets.disable_progress_bars()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "scans"))
    load_dataset = datasets.load_dataset
    asked: list[str] = []

    def load_from_folder(path: str, **options: Any) -> Any:
        asked.append(path)
        # A local folder has no commits.
        return load_dataset(str(tmp_path / path), **(options | {"revision": None}))

    monkeypatch.setattr("datasets.load_dataset", load_from_folder)

    def load_and_score(task: str, dataset: str, split: Any, **options: Any) -> tuple[Example, ...]:
        loaded = load_examples(TASKS[task], split, Source("hub", dataset=dataset), **options)
        assert asked[-1] == dataset
        assert loaded.skipped_rows == 0
        assert loaded.stand_in is None
        for example in loaded.examples:
            assert TASKS[task].score(example, example.completion)[TASKS[task].metric] == 1
            assert TASKS[task].score(example, "I do not know {")[TASKS[task].metric] < 0.2
        return loaded.examples

    return load_and_score


def write(folder: Path, file: str, rows: list[dict[str, Any]], features: Any) -> None:
    path = folder / f"{file}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(path)


def make_features(*texts: str, **others: Any) -> Any:
    return datasets.Features({name: datasets.Value("string") for name in texts} | others)


def draw_page(*lines: str) -> dict[str, Any]:
    page = Image.new("RGB", (460, 60 + 50 * len(lines)), "white")
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((30, 30 + 50 * number), line, fill="black", font=ImageFont.load_default(size=28))
    stream = io.BytesIO()
    page.save(stream, format="PNG")
    return {"bytes": stream.getvalue(), "path": None}


def test_openlifescienceai_medmcqa(tmp_path: Path, load: Load) -> None:
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "question", "opa", "opb", "opc", "opd")}
        | {"cop": datasets.ClassLabel(names=["a", "b", "c", "d"])}
        | {
            name: datasets.Value("string")
            for name in ("choice_type", "exp", "subject_name", "topic_name")
        }
    )

    def make_rows(start: int, count: int, label: int | None = None) -> list[dict[str, Any]]:
        return [
            {
                "id": f"id-{number}",
                "question": f"Which is number {number}?",
                **{f"op{letter}": f"{letter} of {number}" for letter in "abcd"},
                "cop": number % 4 if label is None else label,
                "choice_type": "single" if number % 2 else "multi",
                "exp": None,
                "subject_name": "Anatomy",
                "topic_name": None,
            }
            for number in range(start, start + count)
        ]

    name = "openlifescienceai/medmcqa"
    data = tmp_path / name / "data"
    write(data, "train-00000-of-00001", make_rows(0, 12), features)
    write(data, "validation-00000-of-00001", make_rows(100, 5), features)
    write(data, "test-00000-of-00001", make_rows(200, 3, label=-1), features)
    assert len(load("medmcqa", name, "train", limit=8)) == 8
    test = load("medmcqa", name, "test")
    assert {e.id: e.reference for e in test} == {
        f"id-{number}": "ABCD"[number % 4] for number in range(100, 105)
    }


CCDV_CARD = """---
dataset_info:
  config_name: document
configs:
- config_name: document
  data_files:
  - split: train
    path: document/train-*
  - split: validation
    path: document/validation-*
  - split: test
    path: document/test-*
  default: true
---
"""


def test_ccdv_govreport_summarization(tmp_path: Path, load: Load) -> None:
    name = "ccdv/govreport-summarization"
    for split in SPLITS:
        rows = [{"report": f"{split} {n}. Long.", "summary": f"Of {split}."} for n in range(4)]
        file = f"document/{split}-00000-of-00001"
        write(tmp_path / name, file, rows, make_features("report", "summary"))
    (tmp_path / name / "README.md").write_text(CCDV_CARD)
    for split in SPLITS:
        assert {e.body[: len(split)] for e in load("govreport", name, split)} == {split}


def test_launch_gov_report(tmp_path: Path, load: Load) -> None:
    # The layout of the branch that the hub converts script-based sets to.
    name = "launch/gov_report"
    plain = make_features("id", "document", "summary")
    structure = make_features("id", document_sections=[datasets.Value("string")])
    for split in SPLITS:
        rows = [
            {"id": f"GAO_{split}_{n}", "document": f"{split} {n}.", "summary": f"Of {split}."}
            for n in range(4)
        ]
        other = [{"id": "x", "document_sections": ["y"]}]
        write(tmp_path / name, f"plain_text/{split}/0000", rows[:2], plain)
        write(tmp_path / name, f"plain_text/{split}/0001", rows[2:], plain)
        write(tmp_path / name, f"structure/{split}/0000", other, structure)
    for split in SPLITS:
        examples = load("govreport", name, split)
        assert {e.id for e in examples} == {f"GAO_{split}_{n}" for n in range(4)}
        assert {e.body for e in examples} == {f"{split} {n}." for n in range(4)}


def test_thefinai_fincot(tmp_path: Path, load: Load) -> None:
    columns = (
        "Question", "Reasoning_process", "Final_response", "Negative_reasoning_process",
        "Negative_response",
    )  # fmt: skip
    rows = [
        {
            "Question": "Please answer the given financial question based on the context.\n"
            f"Context: Table {n // 3} | 5\nQuestion: What is {n}?\nAnswer:",
            "Reasoning_process": "The table says 5.",
            "Final_response": "5",
            "Negative_reasoning_process": "It says 6.",
            "Negative_response": "6",
        }
        for n in range(300)
    ]
    name = "TheFinAI/FinCoT"
    write(tmp_path / name / "data", "SFT-00000-of-00001", rows, make_features(*columns))
    write(tmp_path / name / "data", "RL-00000-of-00001", rows[:9], make_features(*columns))
    parts = [load("fincot", name, split) for split in SPLITS]
    contexts = [{example.body for example in part} for part in parts]
    assert sum(map(len, parts)) == 300
    assert sum(map(len, contexts)) == len(set.union(*contexts)) == 100


def test_ucsc_vlaa_medreason(tmp_path: Path, load: Load) -> None:
    # One JSON Lines file; options and answers as the generation code of its repository writes them.
    letters = "ABCD"

    def make_row(n: int) -> dict[str, Any]:
        options = {letter: f"{letter.lower()} of {n}" for letter in letters}
        listed = "\n".join(f"{letter}. {text}" for letter, text in options.items())
        right = options[letters[n % 4]]
        kinds: list[dict[str, Any]] = [
            {
                "dataset_name": "medmcqa",
                "answer": f"{right}. Explanation: a. It is so.",
                "options": f"Answer Choices:\n{listed}",
            },
            {"dataset_name": "medqa", "answer": right, "options": f"Answer Choices:\n{listed}"},
            {
                "dataset_name": "pubmedqa",
                "answer": "The final decision is: no. It was not seen.",
                "options": "Answer Choices:\nA. Yes\nB. No",
            },
            {"dataset_name": "huatuo", "answer": f"It is {right}.\n\nSo it is.", "options": ""},
        ]
        reasoning = f"Finding reasoning paths:\n1. {n} -> {right}\n\nConclusion: {right}."
        question = f"What is the question of number {n}?"
        return kinds[n // 4 % 4] | {
            "id_in_dataset": n,
            "question": question,
            "reasoning": reasoning,
        }

    name = "UCSC-VLAA/MedReason"
    (tmp_path / name).mkdir(parents=True)
    rows = [make_row(n) for n in range(320)]
    (tmp_path / name / "ours_quality_33000.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    parts = [load("medreason", name, split) for split in SPLITS]
    assert sum(map(len, parts)) == 320
    examples = [example for part in parts for example in part]
    assert len({example.body for example in examples}) == 320
    assert sum(not example.choices for example in examples) == 80
    assert all("\n\n## Final Answer\n\n" in example.completion for example in examples)
    for example in examples:
        n = int(example.body.split()[-1][:-1])
        if len(example.choices) == 4:
            assert example.reference == letters[n % 4]
        elif example.choices:
            assert example.reference == "B"


def make_receipt(items: list[dict[str, str]]) -> dict[str, Any]:
    """A ground truth in the form of CORD's, its words out of order."""
    menu: Any = items[0] if len(items) == 1 else items
    lines = []
    for number, item in enumerate(items):
        top = 100 + 40 * number
        for left, word in ((300, item["price"]), (20, item["nm"])):
            quad = {"x1": left, "y1": top, "x2": left + 90, "y2": top + 3}
            quad |= {"x3": left + 90, "y3": top + 30, "x4": left, "y4": top + 27}
            words = [{"quad": quad, "is_key": 0, "row_id": 7, "text": word}]
            lines.append({"words": words, "category": "menu.nm", "group_id": 1, "sub_group_id": 0})
    return {
        "gt_parse": {"menu": menu, "total": {"total_price": "9.000"}},
        "meta": {"version": "2.0.0", "split": "train", "image_id": 0},
        "valid_line": lines[::-1],
        "roi": {},
        "repeating_symbol": [],
        "dontcare": [],
    }


DONUT = make_features(image=datasets.Image()) | make_features("ground_truth")


def test_naver_clova_ix_cord_v2(
    tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its words are in the ground truth: nothing is decoded and Tesseract is not needed.
    monkeypatch.setattr("tasks.schemas.scans.find_version", pytest.fail)
    several = [{"nm": "Tea", "price": "2.000"}, {"nm": "Nasi Goreng", "price": "7.000"}]
    image = {"bytes": b"never opened", "path": None}
    rows = [
        {"image": image, "ground_truth": json.dumps(make_receipt(items))}
        for items in (several, several[1:])
    ]
    name = "naver-clova-ix/cord-v2"
    for split in SPLITS:
        features = datasets.Features(DONUT)
        (tmp_path / name / "data").mkdir(parents=True, exist_ok=True)
        table = datasets.Dataset.from_list(
            rows, features=datasets.Features(features | {"image": datasets.Image(decode=False)})
        ).cast(features)
        table.to_parquet(tmp_path / name / "data" / f"{split}-00000-of-00001-cc3c5779fe.parquet")
    for split in SPLITS:
        examples = {e.id: e for e in load("invoice_ocr", name, split)}
        both, single = examples[f"{split}-000001"], examples[f"{split}-000002"]
        assert both.body == "Tea 2.000\nNasi Goreng 7.000"
        assert single.body == "Nasi Goreng 7.000"
        assert json.loads(single.completion)["menu"] == several[1]
        assert list(json.loads(both.completion)) == ["menu", "total"]


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not on this machine")
def test_katanaml_org_invoices_donut_data_v1(tmp_path: Path, load: Load) -> None:
    fields = {
        "header": {"invoice_no": "4711", "client": "Cole Ltd", "iban": "GB1234"},
        "items": [{"item_desc": "Wine glass", "item_qty": "2,00", "item_vat": "10%"}],
        "summary": {"total_net_worth": "$ 20,00", "total_gross_worth": "$ 22,00"},
    }
    page = draw_page("Invoice no 4711", "Wine glass 2,00")
    row = {"image": page, "ground_truth": json.dumps({"gt_parse": fields})}
    name = "katanaml-org/invoices-donut-data-v1"
    for split in SPLITS:
        file = f"data/{split}-00000-of-00001-0f0f"
        write(tmp_path / name, file, [row], datasets.Features(DONUT))
    for split in SPLITS:
        (example,) = load("invoice_ocr", name, split)
        assert example.body.split() == ["Invoice", "no", "4711", "Wine", "glass", "2,00"]
        assert json.loads(example.completion) == fields


@pytest.mark.parametrize("has_words", [True, False])
def test_mychen76_invoices_and_receipts_ocr_v1(
    tmp_path: Path, load: Load, has_words: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.schemas.scans.find_version", pytest.fail)
    fields = {"header": {"invoice_no": "7"}, "items": [{"item_desc": "L'eau", "item_vat": "10%"}]}
    boxes = [
        [
            [[200.0, 50.0], [240.0, 50.0], [240.0, 70.0], [200.0, 70.0]],
            ("L'eau", 0.98),
        ],
        [[[20.0, 10.0], [90.0, 10.0], [90.0, 30.0], [20.0, 30.0]], ("Invoice no: 7", 0.99)],
        [[[20.0, 52.0], [60.0, 52.0], [60.0, 71.0], [20.0, 71.0]], ("1", 0.97)],
    ]
    raw = {"ocr_boxes": str([boxes]), "ocr_labels": ""}
    if has_words:
        raw |= {"ocr_words": str(["Invoice no: 7", "1", "L'eau"])}
    row = {
        "id": "3",
        "image": draw_page("never read"),
        "parsed_data": json.dumps({"xml": "", "json": str(fields), "kie": ""}),
        "raw_data": json.dumps(raw),
    }
    features = datasets.Features(
        {"image": datasets.Image()} | make_features("id", "parsed_data", "raw_data")
    )
    name = "mychen76/invoices-and-receipts_ocr_v1"
    for split in ("train", "valid", "test"):
        write(tmp_path / name / "data", f"{split}-00000-of-00001-0f", [row], features)
    for split in SPLITS:
        (example,) = load("invoice_ocr", name, split)
        assert example.id == "3"
        words = "Invoice no: 7\n1\nL'eau" if has_words else "Invoice no: 7\n1 L'eau"
        assert example.body == words
        assert json.loads(example.completion) == fields


DETAILS = make_features(
    "govinfo_id", "title", "congress_session", "chamber", "committee", "committee_mapped",
    "held_date", "members", "bill_numbers", "witnesses", __index_level_0__=datasets.Value("int64"),
)  # fmt: skip


def test_gtfintechlab_cocohd(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    # The details are a table, and each transcript is a text file of the other set.
    texts = tmp_path / "gtfintechlab/CoCoHD_transcripts"

    def fetch(dataset: str, path: str, *, repo_type: str, revision: str) -> str:
        assert repo_type == "dataset"
        assert len(revision) == 40
        return str(tmp_path / dataset / path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    rows = []
    for number in range(60):
        name = f"CHRG-{105 + number % 14}{'hs'[number % 2]}hrg{24000 + number}"
        file = texts / f"data/{name.split('hrg')[0][:-1]}/{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"[House Hearing]\n\n        SOIL {number}\n")
        rows.append(
            {
                "govinfo_id": name,
                "title": f"House Hearing, 117th Congress - Soil {number}",
                "congress_session": "117",
                "chamber": "House of Representatives",
                "committee": "Committee on Agriculture",
                "committee_mapped": "Committee on Agriculture",
                "held_date": "May 5, 2022",
                "members": None if number % 3 else "Bo L. Redmarsh (IL); Ida Wainscott (MA)",
                "bill_numbers": None,
                "witnesses": None if number % 2 else "Larkspur, Jeff, Owner, Larkspur Farms",
                "__index_level_0__": number,
            }
        )
    name = "gtfintechlab/CoCoHD_hearing_details_cleaned"
    write(tmp_path / name / "data", "train-00000-of-00001", rows, datasets.Features(DETAILS))
    parts = [load("cocohd", name, split) for split in SPLITS]
    assert sum(map(len, parts)) == len({e.id for part in parts for e in part}) == 60
    for example in (example for part in parts for example in part):
        number = int(example.id[-3:])
        fields = json.loads(example.completion)
        assert fields["title"] == f"Soil {number}"
        assert example.body.endswith(f"SOIL {number}")
        assert ("witnesses" in fields, "members" in fields) == (not number % 2, not number % 3)
