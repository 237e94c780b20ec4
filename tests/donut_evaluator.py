"""Donut's own evaluator: its package does not import with current transformers, one class does."""

import ast
import importlib.metadata
import typing
from typing import Any

import pytest


def load_donut_evaluator() -> Any:
    """An instance of JSONParseEvaluator, compiled from the installed `donut/util.py` alone; skips
    the test where that, or what it needs, is not there."""
    zss = pytest.importorskip("zss", reason="Donut's evaluator needs zss")
    nltk = pytest.importorskip("nltk", reason="Donut's evaluator needs nltk")
    try:
        files = importlib.metadata.files("donut-python") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("donut-python is not installed")
    path = next(file for file in files if str(file) == "donut/util.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # The data set above it in the file needs torch and an older transformers.
    tree.body = [node for node in tree.body if getattr(node, "name", "") == "JSONParseEvaluator"]
    names: dict[str, Any] = {name: getattr(typing, name) for name in typing.__all__}
    names |= {"zss": zss, "Node": zss.Node, "edit_distance": nltk.edit_distance}
    exec(compile(tree, str(path), "exec"), names)
    return names["JSONParseEvaluator"]()
