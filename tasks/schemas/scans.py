"""Text of a scanned page, by Tesseract through pytesseract, read once and kept on disk.

    pip install 'target-module-harness[ocr]'  and the program itself: apt install tesseract-ocr

A page takes Tesseract about half a second; what it read is kept by the image's content under
`$HARNESS_CACHE/scans`, or `~/.cache/target-module-harness/scans`.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from tasks.base import DataError, SourceError
from tasks.rows import show_value

LANGUAGE = "eng"
TIMEOUT_SECONDS = 120
TEXT_COLUMN_HINT = "or give the rows a column ocr_text"

_is_postponed: ContextVar[bool] = ContextVar("is_postponed", default=False)


class ScannerMissing(SourceError):
    """Tesseract, pytesseract or Pillow is not installed: no row's fault, so none is skipped."""


@contextmanager
def postpone_reading() -> Iterator[None]:
    """Inside, `read_scan` opens an image but leaves its text unread: to check many rows quickly."""
    token = _is_postponed.set(True)
    try:
        yield
    finally:
        _is_postponed.reset(token)


def read_scan(image: object) -> str:
    """Text of an image: bytes, a path, or {"bytes", "path"} as of `datasets.Image(decode=False)`.

    Raises DataError where it is no image or Tesseract finds no text on it, and ScannerMissing where
    there is nothing to read it with.
    """
    version = find_version()
    content = read_image_bytes(image)
    if _is_postponed.get():
        _open_image(content).close()
        return ""
    key = hashlib.sha256(f"{version} {LANGUAGE}\n".encode() + content).hexdigest()
    file = find_cache() / key[:2] / f"{key}.txt"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = _run_tesseract(content)
        _keep(file, text)
    if not text:
        raise DataError("tesseract found no text in the image, expected a scanned page")
    return text


def read_image_bytes(image: object) -> bytes:
    """The bytes of an image file, undecoded; DataError where there are none."""
    value = image
    if isinstance(image, Mapping):
        value = image.get("bytes") or image.get("path")
    if isinstance(value, str) and value:
        try:
            value = Path(value).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"the image {show_value(value)} cannot be read ({reason})") from error
    if not isinstance(value, bytes) or not value:
        raise DataError(f"the image is {show_value(image)}, expected the path or bytes of an image")
    return value


def find_cache() -> Path:
    root = os.environ.get("HARNESS_CACHE") or Path.home() / ".cache" / "target-module-harness"
    return Path(root).expanduser() / "scans"


@cache
def find_version() -> str:
    """Tesseract's version; ScannerMissing where it, a package or the language is not there."""
    try:
        import PIL.Image  # noqa: F401
        import pytesseract
    except ImportError as error:
        raise ScannerMissing(
            "reading text from images needs pytesseract and Pillow; install them (pip install "
            f"'target-module-harness[ocr]'), {TEXT_COLUMN_HINT}"
        ) from error
    try:
        version = str(pytesseract.get_tesseract_version())
        languages = pytesseract.get_languages()
    except (pytesseract.TesseractNotFoundError, SystemExit) as error:
        raise ScannerMissing(
            "reading text from images needs the program tesseract, which is not on PATH; install "
            f"it (Debian: apt install tesseract-ocr), {TEXT_COLUMN_HINT}"
        ) from error
    if LANGUAGE not in languages:
        raise ScannerMissing(
            f"tesseract has no data for the language {LANGUAGE!r}; install it (Debian: apt install "
            f"tesseract-ocr-{LANGUAGE}), {TEXT_COLUMN_HINT}"
        )
    return version


def _open_image(content: bytes) -> Any:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content))
    except Exception as error:
        # Pillow's readers raise anything from OSError to struct.error for a broken file.
        raise _describe_broken(content, error) from error


def _describe_broken(content: bytes, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "cannot identify image" in reason:
        reason = "unknown format"
    return DataError(
        f"the image ({len(content)} bytes, {show_value(content[:12])}) cannot be opened "
        f"({reason[:100]}), expected a complete PNG, JPEG, TIFF or similar"
    )


def _run_tesseract(content: bytes) -> str:
    import pytesseract
    from PIL import ImageOps

    image = _open_image(content)
    try:
        # Phones store a page lying on its side, and say so beside it.
        page = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:
        raise _describe_broken(content, error) from error
    try:
        with _one_thread():
            text: str = pytesseract.image_to_string(page, lang=LANGUAGE, timeout=TIMEOUT_SECONDS)
    except pytesseract.TesseractNotFoundError as error:
        raise ScannerMissing(
            "the program tesseract is no longer installed; install it again"
        ) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"the image cannot be read by tesseract ({reason})") from error
    return text.strip()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tesseract's own threads cost a page more time than they save; pytesseract passes this on."""
    before = os.environ.get("OMP_THREAD_LIMIT")
    os.environ["OMP_THREAD_LIMIT"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_THREAD_LIMIT"]
        else:
            os.environ["OMP_THREAD_LIMIT"] = before


def _keep(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, suffix=".part", delete=False
        ) as part:
            part.write(text)
        os.replace(part.name, file)
    except OSError:
        # Without a cache every run reads anew: slower, and no less right.
        return
