"""Reading a latency study: from its rows to ratios, a cost model, plots and a page.

report -> plots, wording, cells -> tables -> cost_model -> additivity, set_rounds; all from results.
Imports no torch.
"""
