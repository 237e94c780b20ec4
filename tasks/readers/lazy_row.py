"""A row whose values are made only when they are asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class LazyRow(Mapping[str, Any]):
    """A part has thousands of rows, of which a run takes a few, and some values take long to make:
    a text to read from an image, a file to download."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        """Column -> its value, made anew each time."""
        self._makers = makers

    def __getitem__(self, column: str) -> Any:
        return self._makers[column]()

    def __contains__(self, column: object) -> bool:
        return column in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)
