"""Faults for `planted_faults.py`: what could go wrong in each package, one small change each.

Chosen by reading the code, not the tests. The text that a fault replaces must occur once in its
file, so a change of that code is also a change here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    name: str
    package: str
    file: str
    original: str
    """Must occur once in the file."""
    replacement: str
    wrong: str
    """What is wrong then, in one line."""
    tests: tuple[str, ...]
    """Files that are most likely to catch it."""


RECORDS = (
    Fault(
        "write_in_place",
        "records",
        "harness/records/files.py",
        "        temporary.replace(path)\n",
        "        path.write_bytes(temporary.read_bytes())\n",
        "a file is rewritten in place, so a reader may see half of it",
        ("tests/records/test_record_files.py", "tests/records/test_record.py"),
    ),
    Fault(
        "unknown_loss_is_zero",
        "records",
        "harness/records/record.py",
        "value = tuple(math.nan if item is None else item for item in value)",
        "value = tuple(0.0 if item is None else item for item in value)",
        "a loss that was not finite is read back as 0",
        ("tests/records/test_record.py",),
    ),
    Fault(
        "loosest_quota",
        "records",
        "harness/records/limits.py",
        "return min((quota for quota in quotas if quota > 0), default=None)",
        "return max((quota for quota in quotas if quota > 0), default=None)",
        "the loosest CPU quota of nested cgroups binds, not the tightest",
        ("tests/records/test_limits.py",),
    ),
    Fault(
        "memory_rounding",
        "records",
        "harness/records/machine.py",
        "agree = abs(first - second) <= 1",
        "agree = abs(first - second) < 1",
        "one machine under two kernels counts as two machines",
        ("tests/records/test_machine.py",),
    ),
)

CONFIG = (
    Fault(
        "digest_by_modification_time",
        "config",
        "harness/config/content.py",
        "times = state.st_mtime_ns, state.st_ctime_ns",
        "times = state.st_mtime_ns, state.st_mtime_ns",
        "replaced weights that keep their time of modification keep their old digest",
        ("tests/config/test_content.py",),
    ),
    Fault(
        "bound_included",
        "config",
        "harness/config/validation.py",
        "above = number >= lowest if inclusive else number > lowest",
        "above = number >= lowest",
        "0 is accepted where a number greater than 0 is needed",
        ("tests/config/test_config.py",),
    ),
    Fault(
        "base_ignores_evaluation",
        "config",
        "harness/config/schema.py",
        'if key in ("model", "task", "data_digest", "metric_digest", "evaluation", "latency")\n',
        'if key in ("model", "task", "metric_digest", "evaluation", "latency")\n',
        "the base scored on a data file is reused after the file was edited",
        ("tests/config/test_content.py", "tests/config/test_config.py"),
    ),
)

ANALYSIS = (
    Fault(
        "wrong_tail_of_mean_regret",
        "analysis",
        "harness/analysis/regret.py",
        "np.max([0.0, *(values + reach)])",
        "np.max([0.0, *(values - reach)])",
        "the upper bound of mean regret is taken from the lower tail",
        ("tests/analysis/test_hard_verdicts.py",),
    ),
    Fault(
        "one_example_is_certain",
        "analysis",
        "harness/analysis/differences.py",
        "return _Average(mean, math.nan, math.nan, count)",
        "return _Average(mean, 0.0, 1, count)",
        "a task with one example has bounds, as if its score were certain",
        ("tests/analysis/test_differences.py",),
    ),
    Fault(
        "rivals_uncorrected",
        "analysis",
        "harness/analysis/differences.py",
        "largest = beyond.max(axis=0) *",
        "largest = beyond[0] *",
        "the loss against the best is bounded without a correction for the number of sets",
        ("tests/analysis/test_differences.py",),
    ),
    Fault(
        "holm_one_short",
        "analysis",
        "harness/analysis/inference.py",
        "np.arange(len(order), 0, -1)",
        "np.arange(len(order) - 1, -1, -1)",
        "Holm's factors are one too small, and the largest p value becomes 0",
        ("tests/analysis/test_inference.py",),
    ),
    Fault(
        "seed_noise_freedom",
        "analysis",
        "harness/analysis/seed_noise.py",
        "scale = count / (count - 1) if count > 1 else 1.0",
        "scale = 1.0",
        "a set's own seed variance lacks what the mean over sets takes away",
        ("tests/analysis/test_seed_noise.py",),
    ),
    Fault(
        "new_tasks_wrong_axis",
        "analysis",
        "harness/analysis/ranking.py",
        "np.take_along_axis(drawn, picks, axis=0).mean(axis=0)",
        "drawn.mean(axis=0)",
        "regret over new tasks keeps the tasks as they are",
        ("tests/analysis/test_ranking.py",),
    ),
)

LATENCY = (
    Fault(
        "ratio_upside_down",
        "analysis/latency",
        "harness/analysis/latency/ratios.py",
        "[own[key] / other[key] for key in shared]",
        "[other[key] / own[key] for key in shared]",
        "a ratio is base over adapter",
        ("tests/analysis/latency/test_ratios.py",),
    ),
    Fault(
        "median_interval_one_sided",
        "analysis/latency",
        "harness/analysis/latency/ratios.py",
        "stats.binom.ppf((1 - confidence) / 2, count, 0.5)",
        "stats.binom.ppf(1 - confidence, count, 0.5)",
        "a two-sided interval of the median leaves 5% in each tail",
        ("tests/analysis/latency/test_ratios.py",),
    ),
    Fault(
        "resampling_unseeded",
        "analysis/latency",
        "harness/analysis/latency/resampling.py",
        "rng = np.random.default_rng(seed)",
        "rng = np.random.default_rng()",
        "intervals differ from one report to the next",
        ("tests/analysis/latency/test_resampling.py",),
    ),
    Fault(
        "variance_among_processes_short",
        "analysis/latency",
        "harness/analysis/latency/resampling.py",
        "0, shares) / (effective - 1)",
        "0, shares) / effective",
        "the variance among processes divides by P, not P - 1",
        ("tests/analysis/latency/test_resampling.py",),
    ),
    Fault(
        "gate_of_another_time",
        "analysis/latency",
        "harness/analysis/latency/timing_verdicts.py",
        'ratio = paired_ratio(calls, f"{time}_seconds", "base_again")',
        'ratio = paired_ratio(calls, "end_to_end_seconds", "base_again")',
        "time to first token is trusted by the end-to-end time of the base",
        ("tests/analysis/latency/test_timing_verdicts.py",),
    ),
)

STUDIES = (
    Fault(
        "turned_bounds_swapped",
        "analysis/studies",
        "harness/analysis/studies/study_gains.py",
        'low=-other["high"],\n        high=-other["low"],',
        'low=-other["low"],\n        high=-other["high"],',
        "the bounds of a pair that another study has the other way round are swapped",
        ("tests/analysis/studies/test_study_comparison.py",),
    ),
    Fault(
        "references_not_compared",
        "analysis/studies",
        "harness/analysis/studies/matching.py",
        'zip(table["id"].map(str), table["reference"].map(str), strict=True)',
        'zip(table["id"].map(str), table["id"].map(str), strict=True)',
        "studies are compared although the right answers differ",
        ("tests/analysis/studies/test_matching.py",),
    ),
)

MODELS = (
    Fault(
        "base_not_frozen",
        "models",
        "harness/models/loading.py",
        "model.requires_grad_(False).eval()\n    model.generation_config",
        "model.eval()\n    model.generation_config",
        "the base's weights are trained too",
        ("tests/models/test_model_loading.py",),
    ),
    Fault(
        "copy_shares_weights",
        "models",
        "harness/models/loading.py",
        "nn.Parameter(parameter.detach().clone(), requires_grad=False)",
        "nn.Parameter(parameter.detach(), requires_grad=False)",
        "a method that rewrites its base rewrites everyone's base",
        ("tests/models/test_model_loading.py", "tests/adapters/test_attach.py"),
    ),
    Fault(
        "loss_weights_of_first_chunk",
        "models",
        "harness/models/forward.py",
        "(loss * weights[part]).sum()",
        "(loss * weights[: len(loss)]).sum()",
        "positions after the first chunk of logits have the weights of others",
        ("tests/models/test_forward.py",),
    ),
    Fault(
        "experts_counted_once",
        "models",
        "harness/models/projections.py",
        "return max(self.experts, 1) * rank * (self.in_features + self.out_features)",
        "return rank * (self.in_features + self.out_features)",
        "LoRA on stacked experts is counted as on one of them",
        ("tests/models/test_projections.py",),
    ),
)

DATA = (
    Fault(
        "loss_on_prompts",
        "data",
        "harness/data/batching.py",
        """        first = row * width + len(example.prompt_ids) - 1
        picked += range(first, first + len(example.completion_ids))
        labels += example.completion_ids
        rows += [row] * len(example.completion_ids)
""",
        """        first = row * width
        picked += range(first, first + len(ids) - 1)
        labels += ids[1:]
        rows += [row] * (len(ids) - 1)
""",
        "prompt tokens carry loss",
        ("tests/data/test_batching.py",),
    ),
    Fault(
        "data_order_unseeded",
        "data",
        "harness/data/batching.py",
        "generator = random.Random(seed)",
        "generator = random.Random(0)",
        "all seeds see the data in one order",
        ("tests/data/test_batching.py",),
    ),
    Fault(
        "context_overflows",
        "data",
        "harness/data/encoding.py",
        "room = min(self.max_prompt_tokens, self.context_length - self.max_completion_tokens)",
        "room = min(self.max_prompt_tokens, self.context_length)",
        "a prompt may leave no room for its completion in the model's context",
        ("tests/data/test_batching.py", "tests/data/test_preparation.py"),
    ),
    Fault(
        "truncation_off_by_one",
        "data",
        "harness/data/encoding.py",
        "body[: offsets[head - 1][1]]",
        "body[: offsets[head - 1][0]]",
        "a cut prompt loses a token more than it must",
        ("tests/data/test_batching.py", "tests/data/test_preparation.py"),
    ),
    Fault(
        "token_cache_ignores_settings",
        "data",
        "harness/data/token_cache.py",
        "        dataclasses.asdict(rules),\n        [dataclasses",
        "        [dataclasses",
        "tokens cut under another limit are taken from the cache",
        ("tests/data/test_token_cache.py",),
    ),
    Fault(
        "held_back_rows_leak",
        "data",
        "harness/data/preparation.py",
        "kept = tuple(example for example in loaded.examples if example.conversation not in known)",
        "kept = tuple(loaded.examples)",
        "learning rates are tuned on rows that repeat training prompts",
        ("tests/data/test_preparation.py",),
    ),
)

ADAPTERS = (
    Fault(
        "alpha_times_rank",
        "adapters",
        "harness/adapters/peft_configs.py",
        "lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # PEFT",
        "lora_alpha=adapter.alpha * adapter.rank,  # type: ignore  # PEFT",
        "updates are scaled by alpha, not alpha / rank",
        ("tests/adapters/test_attach.py", "tests/adapters/test_definitions.py"),
    ),
    Fault(
        "initialization_unseeded",
        "adapters",
        "harness/adapters/attach.py",
        "torch.manual_seed(seed)",
        "torch.manual_seed(0)",
        "all seeds begin with one draw of A",
        ("tests/adapters/test_attach.py",),
    ),
    Fault(
        "sample_loss_on_prompts",
        "adapters",
        "harness/adapters/initialization.py",
        "labels[place, len(row.prompt_ids) : row.length] = torch.tensor(row.completion_ids)",
        "labels[place, : row.length] = torch.tensor(row.prompt_ids + row.completion_ids)",
        "LoRA-GA begins with gradients of the prompt's loss",
        ("tests/adapters/test_definitions.py", "tests/adapters/test_methods.py"),
    ),
    Fault(
        "lora_fa_counts_inputs",
        "adapters",
        "harness/adapters/counts.py",
        "return rank * p.out_features\n",
        "return rank * p.in_features\n",
        "LoRA-FA's budget counts the frozen A",
        ("tests/sweep/test_budgets.py",),
    ),
)

OWN = (
    Fault(
        "least_important_grows",
        "adapters/own",
        "harness/adapters/own/increlora.py",
        "key=lambda each: -each.importance",
        "key=lambda each: each.importance",
        "IncreLoRA adds ranks where they matter least",
        ("tests/adapters/test_definitions.py",),
    ),
    Fault(
        "saved_scaled_twice",
        "adapters/own",
        "harness/adapters/own/increlora.py",
        'layer.lora_A["default"].weight.copy_(down * (each.rank / self.alpha))',
        'layer.lora_A["default"].weight.copy_(down)',
        "a saved IncreLoRA adapter is scaled by alpha / rank twice",
        ("tests/adapters/test_definitions.py", "tests/adapters/test_methods.py"),
    ),
    Fault(
        "initial_weights_uncut",
        "adapters/own",
        "harness/adapters/own/bottleneck.py",
        "std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)",
        "std=DEVIATION)",
        "initial weights are not cut at two deviations: PyTorch's bounds are absolute",
        ("tests/adapters/test_definitions.py",),
    ),
)

TRAINING = (
    Fault(
        "clipping_dropped",
        "training",
        "harness/training/loop.py",
        "nn.utils.clip_grad_norm_(learner.parameters, learner.recipe.max_grad_norm)",
        "nn.utils.clip_grad_norm_(learner.parameters, math.inf)",
        "gradients are not clipped",
        ("tests/training/test_packed_model.py",),
    ),
    Fault(
        "warmup_rounded_down",
        "training",
        "harness/training/loop.py",
        "math.ceil(recipe.warmup_ratio * len(recipe.steps))",
        "math.floor(recipe.warmup_ratio * len(recipe.steps))",
        "short runs have no warm-up",
        ("tests/training/test_packed_model.py",),
    ),
    Fault(
        "loss_divided_by_lengths",
        "training",
        "harness/training/loop.py",
        "sum(len(each.completion_ids) for each in learner.examples)",
        "sum(each.length for each in learner.examples)",
        "the loss is a mean over prompt tokens too",
        ("tests/training/test_loop.py",),
    ),
    Fault(
        "weight_decay_dropped",
        "training",
        "harness/training/loop.py",
        "weight_decay=recipe.weight_decay,",
        "weight_decay=0.0,",
        "the configured weight decay is not applied",
        ("tests/training/test_packed_model.py",),
    ),
    Fault(
        "stale_side_by_side",
        "training",
        "harness/training/packed_model.py",
        'which are about to change."""\n        self._prepared.clear()',
        'which are about to change."""',
        "scoring after more training uses the weights from before it",
        ("tests/training/test_packed_model.py",),
    ),
    Fault(
        "dropout_of_flattened_tokens",
        "training",
        "harness/training/packed_model.py",
        "x.reshape(len(adapters), self._rows.height, -1, x.shape[-1])",
        "x.reshape(len(adapters), -1, 1, x.shape[-1])",
        "dropout depends on how a step is cut where tokens come as one list",
        ("tests/training/test_own_rows.py",),
    ),
    Fault(
        "both_sides_of_longrope",
        "training",
        "harness/data/batching.py",
        "if index > first and (is_apart or width * (index + 1 - first) > max_tokens):",
        "if index > first and width * (index + 1 - first) > max_tokens:",
        "rows on both sides of LongRoPE's boundary share a pass",
        ("tests/training/test_own_rows.py",),
    ),
    Fault(
        "checkpoint_without_random_state",
        "training",
        "harness/training/loop.py",
        '    torch.set_rng_state(state["random"].cpu())\n',
        "",
        "a training that goes on drops other values than one that was not cut off",
        ("tests/training/test_checkpoints.py",),
    ),
    Fault(
        "loss_scale_stays",
        "training",
        "harness/training/loop.py",
        "            scale.remove(weights)\n",
        "",
        "gradients of fp16 are clipped while they are scaled",
        ("tests/training/test_loss_scale.py",),
    ),
    Fault(
        "dora_packed_as_lora",
        "training",
        "harness/training/packed_model.py",
        "        and not layer.lora_variant\n",
        "",
        "DoRA is packed as if it were LoRA",
        ("tests/training/test_packed_model.py", "tests/adapters/test_definitions.py"),
    ),
)

KERNELS = (
    Fault(
        "masks_repeat",
        "training/kernels",
        "harness/training/kernels/dropout.py",
        "key.at(step, first_row + row)",
        "key.at(step, row)",
        "every pass of a step drops what the first one dropped",
        ("tests/training/kernels/test_dropout.py",),
    ),
    Fault(
        "dropout_unseeded",
        "training/kernels",
        "harness/training/kernels/dropout.py",
        'text = f"{self.seed}/{self.path}/{step}/{row}"',
        'text = f"{self.path}/{step}/{row}"',
        "all seeds drop the same values",
        ("tests/training/kernels/test_dropout.py",),
    ),
    Fault(
        "block_ignores_cache",
        "training/kernels",
        "harness/training/kernels/attention.py",
        "scores[..., offset + block.start :].masked_fill_",
        "scores[..., block.start : block.stop].masked_fill_",
        "behind a cache the causal mask lies too far left",
        ("tests/training/kernels/test_attention.py",),
    ),
    Fault(
        "gradient_unscaled",
        "training/kernels",
        "harness/training/kernels/attention.py",
        ").mul_(ctx.scaling)",
        ")",
        "gradients of queries and keys lack attention's scaling",
        ("tests/training/kernels/test_attention.py",),
    ),
)

EVALUATION = (
    Fault(
        "owners_slip",
        "evaluation",
        "harness/evaluation/generation.py",
        "pack.rows.assign([owners[row] for row in rows])",
        "pack.rows.assign(owners[: len(rows)])",
        "after some rows have ended, others are continued by another variant",
        ("tests/evaluation/test_packed_decoding.py",),
    ),
    Fault(
        "normalised_by_tokens",
        "evaluation",
        "harness/evaluation/scoring.py",
        "[total / len(choice) for total, choice in zip(totals, choices, strict=True)]",
        "[total / len(ids) for total, ids in zip(totals, item.choice_ids, strict=True)]",
        "acc_norm divides by tokens, not by characters",
        ("tests/evaluation/test_scoring.py", "tests/evaluation/test_lm_eval.py"),
    ),
    Fault(
        "validation_loss_summed",
        "evaluation",
        "harness/evaluation/scoring.py",
        "found.append([-s / len(i.completion_ids) for s, i in zip(sums, batch, strict=True)])",
        "found.append([-s for s in sums])",
        "validation loss is a sum over tokens, so long completions decide",
        ("tests/sweep/test_learning_rates.py",),
    ),
    Fault(
        "unknown_length_is_zero",
        "evaluation",
        "harness/evaluation/summary.py",
        "known = [value for value in values if value is not None]",
        "known = [value or 0.0 for value in values]",
        "lengths that are not known count as 0",
        ("tests/evaluation/test_summary.py",),
    ),
)

TIMING = (
    Fault(
        "looks_every_round",
        "timing",
        "harness/timing/controller.py",
        "return doublings >= 1 and math.log2(doublings).is_integer()",
        "return doublings >= 1",
        "timing stops where an interval is narrow by chance",
        ("tests/timing/test_controller.py",),
    ),
    Fault(
        "fixed_order",
        "timing",
        "harness/timing/rounds.py",
        "    order.shuffle(shuffled)\n",
        "",
        "arms always run in one order, so drift within a round is a difference between them",
        ("tests/timing/test_processes.py",),
    ),
    Fault(
        "first_token_counted_twice",
        "timing",
        "harness/timing/rounds.py",
        "rest = work.output_tokens - 1",
        "rest = work.output_tokens",
        "time per output token is divided by one token too many",
        ("tests/timing/test_processes.py",),
    ),
    Fault(
        "noise_counted_again",
        "timing",
        "harness/timing/noise.py",
        "        self._unreported -= other_cpu_seconds\n",
        "",
        "what other programs took is reported again at each later call",
        ("tests/timing/test_noise.py",),
    ),
)

SWEEP = (
    Fault(
        "tuned_on_its_own_seed",
        "sweep",
        "harness/sweep/learning_rates.py",
        "        seed=train.tuning_seed,\n",
        "",
        "a rate is tuned under the seed that is then evaluated",
        ("tests/sweep/test_learning_rates.py",),
    ),
    Fault(
        "budget_one_sided",
        "sweep",
        "harness/sweep/budgets.py",
        "abs(count / target - 1) <= TOLERANCE",
        "count / target - 1 <= TOLERANCE",
        "a set with far fewer parameters passes for an equal budget",
        ("tests/sweep/test_budgets.py",),
    ),
    Fault(
        "order_by_data_seed",
        "sweep",
        "harness/sweep/plan.py",
        "        seed=config.seed,\n",
        "        seed=config.task.data_seed,\n",
        "seeds share one order of training examples",
        ("tests/sweep/test_plan.py",),
    ),
    Fault(
        "ranks_share_times",
        "sweep",
        "harness/sweep/plan.py",
        "own = adapter.method, adapter.rank or 0, adapter.virtual_tokens or 0",
        "own = adapter.method, adapter.virtual_tokens or 0",
        "adapters of other ranks get the times of the first",
        ("tests/sweep/test_plan.py",),
    ),
)

REPORTING = (
    Fault(
        "wins_and_losses_swapped",
        "reporting",
        "harness/reporting/duels.py",
        'str(row["won"]), str(row["lost"])',
        'str(row["lost"]), str(row["won"])',
        "wins stand in the column of losses",
        ("tests/reporting/test_duels.py",),
    ),
    Fault(
        "tuning_gain_bounds_swapped",
        "reporting",
        "harness/reporting/recipe_tables.py",
        'bounds = -row["difference"], -row["high"], -row["low"]',
        'bounds = -row["difference"], -row["low"], -row["high"]',
        "a loss by tuning is shown with its bounds swapped",
        ("tests/reporting/test_recipe_tables.py",),
    ),
    Fault(
        "rank_limit_excluded",
        "reporting",
        "harness/reporting/exports.py",
        "if rank >= adapter.rank), None)",
        "if rank > adapter.rank), None)",
        "vLLM is told twice the rank that it needs, and rank 512 is refused",
        ("tests/reporting/test_exports.py",),
    ),
)

PLOTS = (
    Fault(
        "worst_task_limit",
        "reporting/plots",
        "harness/reporting/plots/regret_plot.py",
        "allowed = measure.limits * delta",
        "allowed = delta",
        "the line of the worst task stands at the limit of the mean",
        ("tests/reporting/plots/test_regret_plot.py",),
    ),
    Fault(
        "bars_swapped",
        "reporting/plots",
        "harness/reporting/plots/score_plots.py",
        "[[value - low], [high - value]]",
        "[[high - value], [value - low]]",
        "the lower and the upper half of every interval are swapped",
        ("tests/reporting/plots/test_score_plots.py",),
    ),
    Fault(
        "markers_with_colours",
        "reporting/plots",
        "harness/reporting/plots/style.py",
        "MARKERS[index % len(MARKERS)]",
        "MARKERS[index % len(COLOURS)]",
        "the seventh set looks as the first",
        ("tests/reporting/plots/test_score_plots.py",),
    ),
)

CLI = (
    Fault(
        "report_hides_failure",
        "cli",
        "harness/cli/sweep.py",
        "status = report_study(study) or status",
        "status = report_study(study)",
        "a sweep with failed variants ends with status 0",
        ("tests/cli/test_cli.py", "tests/sweep/test_sweep.py"),
    ),
    Fault(
        "users_override_loses",
        "cli",
        "harness/cli/fitting.py",
        "return keep_last([*own, *users])",
        "return keep_last([*users, *own])",
        "a size is fitted to the experiment's sets, not to the user's",
        ("tests/sweep/test_sizing.py",),
    ),
    Fault(
        "partial_timing_ends_well",
        "cli",
        "harness/cli/latency.py",
        "return 0 if is_whole else 1",
        "return 0",
        "a latency study with failed points ends with status 0",
        ("tests/timing/test_latency_study.py",),
    ),
)

TASKS = (
    Fault(
        "split_unseeded",
        "tasks",
        "tasks/splits.py",
        "position = hash_content(normalise_content(content), seed)",
        "position = hash_content(normalise_content(content), 0)",
        "the data seed does not change which rows are test rows",
        ("tests/tasks/test_splits.py",),
    ),
    Fault(
        "test_rows_from_training",
        "tasks",
        "tasks/splits.py",
        'own = found[split] or (found["validation"] if split == "test" else None)',
        'own = found[split] or (found["train"] if split == "test" else None)',
        "without a test part, training rows are scored",
        ("tests/tasks/test_splits.py",),
    ),
    Fault(
        "anls_arguments_swapped",
        "tasks",
        "tasks/metrics/anls.py",
        "anls_score(expected, _cut_texts(found, 2 * longest + 1))",
        "anls_score(_cut_texts(found, 2 * longest + 1), expected)",
        "prediction and reference are swapped",
        ("tests/tasks/test_metric_anls.py",),
    ),
    Fault(
        "rouge_unstemmed",
        "tasks",
        "tasks/metrics/summaries.py",
        "use_stemmer=True",
        "use_stemmer=False",
        "ROUGE does not stem words, unlike published scores",
        ("tests/tasks/test_metric_summaries.py",),
    ),
)

FAULTS = (
    *(*RECORDS, *CONFIG, *ANALYSIS, *LATENCY, *STUDIES, *MODELS, *DATA, *ADAPTERS, *OWN),
    *(*TRAINING, *KERNELS, *EVALUATION, *TIMING, *SWEEP, *REPORTING, *PLOTS, *CLI, *TASKS),
)
