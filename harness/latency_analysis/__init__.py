"""Reading a latency study: from its rows to ratios, a cost model, plots and a page.

report -> plots, cells -> wording -> cost_model; report, comparison -> tables -> cost_model ->
additivity, set_rounds; and what is not the cost model's -> results. Imports no torch.
"""
