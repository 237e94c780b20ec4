"""Metrics of the tasks: plain functions of one example, and the `evaluate` modules over them.

They come in pairs: `choices.py` holds the function that a task's `score` calls, and
`choice_accuracy.py` the module for `evaluate.load("tasks/metrics/choice_accuracy.py")`. They are
two files because importing `evaluate` takes seconds and pulls in torch, and scoring needs neither.
`choice_text.py` serves `choices.py`; `json_object.py`, `trees.py` and `anls.py` serve `fields.py`.
"""
