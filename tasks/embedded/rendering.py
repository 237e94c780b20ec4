"""Pages as scanned images: lines of text in one of a few typefaces, tilted, soft and grainy."""

import importlib.util
import io
import random
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

TYPEFACES = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf")
"""Come with matplotlib, and have the letters and currency signs of every locale."""
LETTER_PIXELS = (18, 20, 23)
MARGIN_PIXELS = 40
WHITE = 255


def render_page(rng: random.Random, blocks: list[list[str]]) -> bytes:
    """A PNG, in grey, of the blocks of lines; its letters are high enough for an OCR engine."""
    from PIL import Image, ImageFilter

    page = _draw_lines(blocks, _find_typeface(rng.choice(TYPEFACES)), rng.choice(LETTER_PIXELS))
    page = page.rotate(
        rng.uniform(-1.0, 1.0), resample=Image.Resampling.BICUBIC, expand=True, fillcolor=WHITE
    )
    page = page.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 1.1)))
    grain = Image.frombytes("L", page.size, rng.randbytes(page.width * page.height))
    stream = io.BytesIO()
    Image.blend(page, grain, rng.uniform(0.0, 0.2)).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def _find_typeface(name: str) -> Path:
    # Found without importing matplotlib, which takes longer than to draw the page.
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name


def _draw_lines(blocks: list[list[str]], typeface: Path, height: int) -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(typeface), height)
    lines = [line for block in blocks for line in [*block, ""]]
    step = round(1.5 * height)
    width = max(round(font.getlength(line)) for line in lines)
    size = (width + 2 * MARGIN_PIXELS, step * len(lines) + 2 * MARGIN_PIXELS)
    page = Image.new("L", size, WHITE)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((MARGIN_PIXELS, MARGIN_PIXELS + step * number), line, font=font, fill=20)
    return page
