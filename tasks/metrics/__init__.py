"""Metrics of the tasks: plain functions of one example, and the `evaluate` modules over them.

They come in pairs: `choices.py` holds the function that scores one example, and
`choice_accuracy.py` the module over it, through which whole sets are scored: also by
`evaluate.load("tasks/metrics/choice_accuracy.py")`. They are two files because importing `evaluate`
takes seconds. `aggregation.py` is what the modules share.
`choice_text.py` serves `choices.py`; `json_object.py`, `trees.py` and `anls.py` serve `fields.py`.
"""
