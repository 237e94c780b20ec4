"""OCR of images: what may be passed, the cache, and what is not there. Pages are drawn here."""

import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks import TASKS, DataError, Source, load_examples
from tasks.schemas import scans
from tasks.schemas.word_boxes import WordBox, write_lines

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageFont = pytest.importorskip("PIL.ImageFont")
needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="the program tesseract is not on this machine"
)
LINES = ["Invoice 4711", "Coffee 12.50", "Total 99.00"]


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    scans.find_version.cache_clear()
    return tmp_path / "cache" / "scans"


def draw_page(*lines: str, kind: str = "PNG", mode: str = "RGB") -> bytes:
    page = Image.new("RGB", (420, 60 + 60 * len(lines)), "white")
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((30, 30 + 60 * number), line, fill="black", font=ImageFont.load_default(size=30))
    stream = io.BytesIO()
    page.convert(mode).save(stream, format=kind)
    return stream.getvalue()


def list_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@needs_tesseract
@pytest.mark.parametrize(
    "wrap",
    [
        lambda content, file: content,
        lambda content, file: {"bytes": content, "path": None},
        lambda content, file: {"bytes": None, "path": str(file)},
        lambda content, file: str(file),
    ],
)
def test_every_form_of_an_image_is_read(tmp_path: Path, wrap: Callable[..., object]) -> None:
    content = draw_page(*LINES)
    (tmp_path / "page.png").write_bytes(content)
    assert list_lines(scans.read_scan(wrap(content, tmp_path / "page.png"))) == LINES


@needs_tesseract
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "LA"), ("TIFF", "1"), ("GIF", "P")],
)
def test_every_kind_of_image_is_read(kind: str, mode: str) -> None:
    assert list_lines(scans.read_scan(draw_page(*LINES, kind=kind, mode=mode))) == LINES


@needs_tesseract
def test_a_page_is_turned_as_its_file_says() -> None:
    page = Image.open(io.BytesIO(draw_page(*LINES))).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    page.save(stream, format="JPEG", exif=exif, quality=95)
    assert list_lines(scans.read_scan(stream.getvalue())) == LINES


@needs_tesseract
def test_a_page_is_read_once(private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = draw_page(*LINES)
    first = scans.read_scan(content)
    assert len(list(private_cache.rglob("*.txt"))) == 1
    assert not list(private_cache.rglob("*.part"))
    monkeypatch.setattr("pytesseract.image_to_string", pytest.fail)
    assert scans.read_scan({"bytes": content, "path": "another/name.png"}) == first
    monkeypatch.undo()
    # A broken entry is read anew.
    monkeypatch.setenv("HARNESS_CACHE", str(private_cache.parent))
    next(private_cache.rglob("*.txt")).write_bytes(b"\xff")
    assert scans.read_scan(content) == first


@needs_tesseract
def test_another_version_of_tesseract_reads_anew(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans.read_scan(draw_page(*LINES))
    monkeypatch.setattr(scans, "find_version", lambda: "99.0")
    scans.read_scan(draw_page(*LINES))
    assert len(list(private_cache.rglob("*.txt"))) == 2


@needs_tesseract
def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    assert list_lines(scans.read_scan(draw_page(*LINES))) == LINES


@needs_tesseract
def test_a_page_without_text_is_refused() -> None:
    for _ in range(2):
        with pytest.raises(DataError, match="found no text in the image"):
            scans.read_scan(draw_page())


@needs_tesseract
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (b"no image", "unknown format"),
        (b"%PDF-1.7 page", "unknown format"),
        (draw_page("x")[:200], "cannot be opened"),
        (b"", r"the image is b'' \(bytes\), expected"),
        (None, "the image is None"),
        (7, "the image is 7"),
        ({}, "the image is {}"),
        ({"bytes": None, "path": None}, "the image is {'bytes': None"),
        ({"bytes": [1, 2], "path": None}, "the image is {'bytes': "),
        ("absent.png", "cannot be read .No such file"),
        ("nul\0.png", "cannot be read"),
        ("/", "cannot be read .Is a directory"),
    ],
)
def test_what_is_no_image_is_one_line(image: object, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        scans.read_scan(image)
    assert not isinstance(caught.value, scans.ScannerMissing)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@needs_tesseract
def test_broken_images_never_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytesseract.image_to_string", lambda *_, **__: "text")
    rng = random.Random(0)
    pages = [draw_page("x", kind=kind) for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")]
    refused = 0
    for page in pages:
        for _ in range(40):
            broken = bytearray(page[: rng.randrange(20, len(page))])
            for position in rng.sample(range(len(broken)), min(8, len(broken))):
                broken[position] = rng.randrange(256)
            try:
                scans.read_scan(bytes(broken))
            except DataError:
                refused += 1
    assert refused > 50


@needs_tesseract
def test_a_picture_too_large_to_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="cannot be opened"):
        scans.read_scan(draw_page("x"))


def write_image_rows(folder: Path, count: int = 3) -> None:
    (folder / "images").mkdir()
    rows = []
    for number in range(count):
        (folder / "images" / f"{number}.png").write_bytes(draw_page(f"Invoice {number}0{number}"))
        truth = json.dumps({"gt_parse": {"number": f"{number}0{number}"}})
        rows.append({"id": number, "image": f"images/{number}.png", "ground_truth": truth})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def load(folder: Path, split: Any = "train", **options: Any) -> Any:
    path = str(folder / "rows.jsonl")
    return load_examples(TASKS["invoice_ocr"], split, Source("local", path), **options)


@pytest.mark.parametrize("rule", ["fail", "skip"])
def test_without_tesseract_loading_stops_even_where_bad_rows_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    pytest.importorskip("pytesseract")
    write_image_rows(tmp_path)
    monkeypatch.setattr("pytesseract.pytesseract.tesseract_cmd", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"apt install tesseract-ocr.*column ocr_text") as caught:
        load(tmp_path, on_bad_row=rule)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", ["fail", "skip"])
@pytest.mark.parametrize("package", ["pytesseract", "PIL.Image"])
def test_without_the_packages_it_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, package: str
) -> None:
    write_image_rows(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError, match=r"pip install 'target-module-harness\[ocr\]'"):
        load(tmp_path, on_bad_row=rule)


def test_without_the_language_it_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytesseract")
    write_image_rows(tmp_path)
    monkeypatch.setattr("pytesseract.get_tesseract_version", lambda: "5.3")
    monkeypatch.setattr("pytesseract.get_languages", lambda: ["osd"])
    with pytest.raises(DataError, match="no data for the language 'eng'; install it"):
        load(tmp_path, on_bad_row="skip")


@needs_tesseract
def test_local_images_stand_beside_their_file_and_only_drawn_ones_are_read(
    tmp_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    write_image_rows(tmp_path, 12)
    parts = {split: load(tmp_path, split, limit=1) for split in ("train", "test")}
    for part in parts.values():
        (example,) = part.examples
        assert example.body == f"Invoice {json.loads(example.reference)['number']}"
    assert len(list(private_cache.rglob("*.txt"))) == 2


@needs_tesseract
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("images/absent.png", "No such file"),
        ("rows.jsonl", "unknown format"),
        (None, "column 'image' is null"),
        ("", r"column 'image': the image is '' \(str\), expected the path"),
        ([1], r"column 'image': the image is \[1\]"),
    ],
)
def test_a_broken_image_is_a_bad_row(tmp_path: Path, image: object, expected: str) -> None:
    write_image_rows(tmp_path, 4)
    lines = (tmp_path / "rows.jsonl").read_text()
    row = {"id": "x", "image": image, "ground_truth": '{"gt_parse": {"a": "b"}}'}
    (tmp_path / "train.jsonl").write_text(lines + json.dumps(row) + "\n")
    (tmp_path / "test.jsonl").write_text(lines)
    task, path = TASKS["invoice_ocr"], str(tmp_path)
    with pytest.raises(DataError, match=rf"train.jsonl:5: .*{expected}.*; correct the row"):
        load_examples(task, "train", Source("local", path))
    loaded = load_examples(task, "train", Source("local", path), on_bad_row="skip", limit=1)
    assert (len(loaded.examples), loaded.skipped_rows) == (1, 1)


def test_importing_tasks_imports_nothing_heavy() -> None:
    program = (
        "import sys, tasks; heavy = {'PIL', 'pytesseract', 'datasets', 'pyarrow', 'torch'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = str(Path(__file__).resolve().parents[2])
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def make_words(lines: list[str], tilt: float, rng: random.Random) -> list[WordBox]:
    """Words of 20 pixels height, 30 pixels a line, in random order, on a tilted page."""
    words = []
    for number, line in enumerate(lines):
        left = 10.0
        for text in line.split():
            top = 30 * number + tilt * left + rng.uniform(-2, 2)
            words.append(WordBox(text, left, top, top + rng.uniform(18, 22)))
            left += 12 * len(text) + rng.uniform(5, 80)
    rng.shuffle(words)
    return words


@pytest.mark.parametrize("tilt", [-0.02, 0.0, 0.02])
def test_words_are_grouped_into_the_rows_that_they_stand_in(tilt: float) -> None:
    rng = random.Random(tilt)
    for _ in range(50):
        lines = [
            " ".join(f"w{rng.randrange(1000)}" for _ in range(rng.randrange(1, 5)))
            for _ in range(rng.randrange(1, 9))
        ]
        assert write_lines(make_words(lines, tilt, rng)) == "\n".join(lines)


def test_no_words_and_boxes_without_height() -> None:
    assert write_lines([]) == ""
    assert write_lines([WordBox("b", 5, 1, 1), WordBox("a", 0, 1, 1)]) in ("a b", "a\nb")
