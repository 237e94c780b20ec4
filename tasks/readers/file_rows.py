"""What a reader returns, and the text of a file in whatever encoding and compression it has."""

import codecs
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

from tasks.base import DataError, Row

COMPRESSED = ".gz"
USUAL_ENCODING = "utf-8"


class OtherEncoding(DataError):
    """A row with bytes that are not of the file's encoding."""


@dataclass(frozen=True)
class FileRows:
    rows: dict[int, Row | DataError]
    """Line or row, counted from 1 -> a row, or why there is none."""
    columns: tuple[str, ...] | None
    """The columns of every row; None for JSON, whose rows may differ."""
    has_lines: bool = True
    """Whether rows are counted by the lines of a text."""

    def locate(self, path: Path, number: int) -> str:
        """Where a row stands, for messages."""
        return f"{path}:{number}" if self.has_lines else f"{path}, row {number}"


def read_bytes(path: Path) -> bytes:
    """A file's content, unpacked where its name ends in .gz."""
    content = path.read_bytes()
    if path.suffix.lower() != COMPRESSED:
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be unpacked ({error}), expected a whole gzip file; fetch it again"
        ) from error


def read_text_bytes(path: Path, encoding: str) -> bytes:
    """A text's bytes without the mark of UTF-8; DataError for UTF-16's where it is not named."""
    content = read_bytes(path)
    is_wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not is_wide:
        raise DataError(
            f"{path}: has the byte-order mark of UTF-16; save it as UTF-8, or set "
            "task.encoding=utf-16"
        )
    return content.removeprefix(codecs.BOM_UTF8)


def decode(path: Path, content: bytes, encoding: str) -> str:
    """Text without a byte-order mark.

    A byte that is not of the encoding becomes a lone surrogate, which spoils its own row alone.
    """
    try:
        return content.decode(encoding, "surrogateescape").removeprefix("\ufeff")
    except UnicodeError as error:  # encodings of two bytes have no surrogates to escape to
        raise DataError(
            f"{path}: {say_encoding(encoding)} ({error}); correct task.encoding"
        ) from error


def is_clean(text: str) -> bool:
    """Whether all bytes of a decoded text were of its encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def say_encoding(encoding: str) -> str:
    """What is wrong with a row whose bytes are of another encoding."""
    name = "UTF-8" if encoding == USUAL_ENCODING else encoding
    return f"not {name}, expected a file saved as {name}"


ENCODING_HINT = "save it again, or name its encoding, such as task.encoding=cp1252 (Excel, Windows)"


def check_encoding(path: Path, read: FileRows, encoding: str) -> FileRows:
    """Raise DataError where most rows are of another encoding: it is the file's, not theirs."""
    broken = sum(isinstance(row, OtherEncoding) for row in read.rows.values())
    if broken > 1 and broken * 2 > len(read.rows):
        raise DataError(
            f"{path}: {broken} of {len(read.rows)} rows are {say_encoding(encoding)}; "
            f"{ENCODING_HINT}"
        )
    return read
