"""The recommended target set as text for other tools, with the model's module names.

    for export in export_choice(results, "o_proj+fc2"):
        print(export.tool, export.text or export.note, sep="\n")

docs/exports.md lists what each tool accepts, with sources.
"""

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.config.catalog import METHODS
from harness.errors import UserError
from harness.formatting import join_words
from harness.records.record import BASE

SETTINGS = ("module_names", "parameter_names", "rank", "alpha", "dropout")
"""Columns of the results that make an export."""

TORCHTUNE_ATTENTION = {
    **{name: name for name in ("q_proj", "k_proj", "v_proj")},
    "o_proj": "output_proj",
}
"""Name in transformers -> in torchtune's `lora_attn_modules`."""

TORCHTUNE_MLP = ("gate_proj", "up_proj", "down_proj")
"""What torchtune's `apply_lora_to_mlp` adapts, all together."""

VLLM_MAX_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM's `--max-lora-rank` takes."""

PATTERN_NOTE = (
    "The modules are given as a regular expression over full paths, because other modules of this "
    "model share their names."
)


@dataclass(frozen=True)
class Export:
    tool: str
    """The tool's name, such as `PEFT`."""
    text: str | None
    """Ready to paste; None where the tool cannot express this target set."""
    note: str
    """Why it cannot, or what to watch for; may be empty."""


@dataclass(frozen=True)
class _Adapter:
    modules: tuple[str, ...]
    """Endings of paths or, with `*` for an index, whole paths."""
    parameters: tuple[str, ...]
    """The same of stacked experts."""
    rank: int
    alpha: str
    """As it is written: without a point where it is whole."""
    dropout: str


def export_choice(results: pd.DataFrame, variant: str) -> tuple[Export, ...]:
    """Return a target set's settings as text for PEFT, LLaMA-Factory, Axolotl, torchtune and vLLM.

    `results` are the rows of `load_results` for one model; `variant` is one of its variants. Raises
    UserError if the results have no adapter of that name.
    """
    settings = _find_settings(results, variant)
    method = str(results.loc[results["variant"] == variant, "method"].iloc[0])
    if method != "lora":
        why = _explain_method(method, variant)
        return tuple(Export(tool, None, why) for tool in EXPORTERS)
    if len(settings) != 1:
        why = _explain_settings(settings, variant)
        return tuple(Export(tool, None, why) for tool in EXPORTERS)
    adapter = _read_adapter(settings.iloc[0])
    return tuple(export(tool, adapter) for tool, export in EXPORTERS.items())


def _find_settings(results: pd.DataFrame, variant: str) -> pd.DataFrame:
    """The distinct settings of a variant's runs, those left out that do not say them."""
    adapted = results[results["target_set"] != BASE]
    runs = adapted[adapted["variant"] == variant]
    if runs.empty:
        known = ", ".join(sorted(adapted["variant"].unique()))
        wanted = f"one of {known}" if known else "results with runs of target sets"
        raise UserError(f"variant {variant!r} has no adapter in these results; pass {wanted}")
    settings = runs[list(SETTINGS)].drop_duplicates()
    is_named = (settings["module_names"] != "") | (settings["parameter_names"] != "")
    return settings[is_named & settings["dropout"].notna()]


def _explain_method(method: str, variant: str) -> str:
    title = METHODS[method].title if method in METHODS else method
    return (
        f"{variant} was trained with {title}, but these settings describe plain LoRA. Use the file "
        "adapter/adapter_config.json of one of its runs; docs/methods.md says which tools load it."
    )


def _explain_settings(settings: pd.DataFrame, variant: str) -> str:
    if settings.empty:
        return (
            f"The records of {variant} do not name the adapted modules: an older version wrote "
            "them, or its runs failed. Run it again, or read target_modules in the file "
            "adapter/adapter_config.json of a run."
        )
    differing = [name for name in SETTINGS if settings[name].nunique() > 1]
    return (
        f"The runs of {variant} differ in {join_words(differing)}. Filter the results to runs with "
        "the same settings, and export again."
    )


def _read_adapter(row: pd.Series) -> _Adapter:
    return _Adapter(
        modules=tuple(filter(None, row["module_names"].split(","))),
        parameters=tuple(filter(None, row["parameter_names"].split(","))),
        rank=int(row["rank"]),
        # Never in scientific notation: YAML 1.1 reads 1e-05 as text.
        alpha=np.format_float_positional(row["alpha"], trim="-"),
        dropout=np.format_float_positional(row["dropout"], trim="0"),
    )


def _export_peft(tool: str, adapter: _Adapter) -> Export:
    if why := _refuse_parameter_paths(adapter):
        return Export(tool, None, why)
    arguments = [
        'task_type="CAUSAL_LM"',
        f"r={adapter.rank}",
        f"lora_alpha={adapter.alpha}",
        f"lora_dropout={adapter.dropout}",
        f"target_modules={_quote_modules(adapter.modules)}",
    ]
    if adapter.parameters:
        arguments.append(f"target_parameters={_quote(adapter.parameters)}")
    body = "".join(f"    {argument},\n" for argument in arguments)
    text = f"from peft import LoraConfig\n\nconfig = LoraConfig(\n{body})"
    return Export(tool, text, PATTERN_NOTE if _find_path(adapter.modules) else "")


def _export_llama_factory(tool: str, adapter: _Adapter) -> Export:
    why = _refuse_fraction(adapter)
    if path := _find_path(adapter.modules):
        why = f"lora_target takes names, but no name identifies {path} alone."
    if adapter.parameters:
        why = f"lora_target takes modules, but {adapter.parameters[0]} is a parameter."
    if why:
        return Export(tool, None, why)
    lines = [
        f"lora_target: {_quote(','.join(adapter.modules))}",
        f"lora_rank: {adapter.rank}",
        f"lora_alpha: {adapter.alpha}",
        f"lora_dropout: {adapter.dropout}",
    ]
    return Export(tool, "\n".join(lines), "")


def _export_axolotl(tool: str, adapter: _Adapter) -> Export:
    if why := _refuse_parameter_paths(adapter) or _refuse_fraction(adapter):
        return Export(tool, None, why)
    lines = [
        "adapter: lora",
        f"lora_r: {adapter.rank}",
        f"lora_alpha: {adapter.alpha}",
        f"lora_dropout: {adapter.dropout}",
        f"lora_target_modules: {_quote_modules(adapter.modules)}",
    ]
    if adapter.parameters:
        lines.append(f"lora_target_parameters: {_quote(adapter.parameters)}")
    notes = ["Omit lora_target_linear: it adds every linear module."]
    if _find_path(adapter.modules):
        notes.append(PATTERN_NOTE)
    return Export(tool, "\n".join(lines), " ".join(notes))


def _export_torchtune(tool: str, adapter: _Adapter) -> Export:
    if why := _refuse_for_torchtune(adapter):
        return Export(tool, None, why)
    leaves = _list_leaves(adapter.modules)
    attention = [name for leaf, name in TORCHTUNE_ATTENTION.items() if leaf in leaves]
    lines = [
        "model:",
        f"  lora_attn_modules: {_quote(attention)}",
        f"  apply_lora_to_mlp: {'true' if set(TORCHTUNE_MLP) <= set(leaves) else 'false'}",
        f"  lora_rank: {adapter.rank}",
        f"  lora_alpha: {adapter.alpha}",
        f"  lora_dropout: {adapter.dropout}",
    ]
    note = "Put these beside _component_, your model's LoRA builder, if torchtune has one."
    return Export(tool, "\n".join(lines), note)


def _refuse_for_torchtune(adapter: _Adapter) -> str:
    """Why it cannot say a set: it takes any part of the attention, but only all of the MLP."""
    for name in (*adapter.modules, *adapter.parameters):
        known = {*TORCHTUNE_ATTENTION, *TORCHTUNE_MLP}
        if name in adapter.parameters or "*" in name or name.rsplit(".", 1)[-1] not in known:
            parts = join_words([*TORCHTUNE_ATTENTION, "the gated MLP"])
            return f"torchtune's builders accept {parts}, but not {name}."
    leaves = _list_leaves(adapter.modules)
    part = [leaf for leaf in TORCHTUNE_MLP if leaf in leaves]
    if part and len(part) < len(TORCHTUNE_MLP):
        return (
            f"torchtune's apply_lora_to_mlp adapts {join_words(TORCHTUNE_MLP)} together, but this "
            f"set has only {join_words(part)}."
        )
    if len(part) == len(leaves):
        return "torchtune's lora_attn_modules must not be empty, but this set has only the MLP."
    return ""


def _export_vllm(tool: str, adapter: _Adapter) -> Export:
    max_rank = next((rank for rank in VLLM_MAX_RANKS if rank >= adapter.rank), None)
    if adapter.parameters:
        why = (
            "vLLM wraps the experts of a layer as one module. Omit --lora-target-modules: vLLM "
            "then wraps every module that it can."
        )
        return Export(tool, None, why)
    if max_rank is None:
        why = f"--max-lora-rank is at most {VLLM_MAX_RANKS[-1]}, but the rank is {adapter.rank}."
        return Export(tool, None, why)
    leaves = _list_leaves(adapter.modules)
    names = _pack_for_vllm(leaves)
    words = ["--enable-lora", "--max-lora-rank", str(max_rank), "--lora-target-modules", *names]
    notes = ["For serving. vLLM wraps only these modules and ignores adapter weights for others."]
    if set(names) != set(leaves):
        notes.append("vLLM fuses q, k and v into qkv_proj, and gate and up into gate_up_proj.")
    if any("." in name for name in adapter.modules):
        notes.append("vLLM matches the last part of a name: it also wraps others with that name.")
    notes.append("Adapter weights use the base's dtype unless --lora-dtype is set.")
    return Export(tool, shlex.join(words), " ".join(notes))


def _pack_for_vllm(leaves: Sequence[str]) -> tuple[str, ...]:
    """The names of the modules that vLLM runs, of which some hold several of transformers'."""
    packed = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv_proj")
    # An up_proj without a gate, as in Nemotron, stands alone in vLLM too.
    if "gate_proj" in leaves:
        packed |= dict.fromkeys(("gate_proj", "up_proj"), "gate_up_proj")
    return tuple(dict.fromkeys(packed.get(leaf, leaf) for leaf in leaves))


def _refuse_fraction(adapter: _Adapter) -> str:
    if "." not in adapter.alpha:
        return ""
    return f"lora_alpha must be a whole number there; here it is {adapter.alpha}."


def _refuse_parameter_paths(adapter: _Adapter) -> str:
    path = _find_path(adapter.parameters)
    return f"Parameters are given by name, and no name identifies {path} alone." if path else ""


def _find_path(names: Sequence[str]) -> str | None:
    """The first whole path among names, which stands for one module in each block."""
    return next((name for name in names if "*" in name), None)


def _list_leaves(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))


def _quote_modules(names: Sequence[str]) -> str:
    """A list of names or, where one of them is a whole path, a regular expression in quotes."""
    if _find_path(names) is None:
        return _quote(names)
    return _quote("|".join(_to_regex(name) for name in names))


def _to_regex(name: str) -> str:
    """What PEFT matches against all of a module's path: an ending takes any beginning."""
    escaped = re.escape(name).replace(r"\*", r"\d+")
    return escaped if "*" in name else rf"(?:.*\.)?{escaped}"


def _quote(value: str | Sequence[str]) -> str:
    """JSON, which Python and YAML read as the same text or list."""
    return json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)


EXPORTERS: dict[str, Callable[[str, _Adapter], Export]] = {
    "PEFT": _export_peft,
    "LLaMA-Factory": _export_llama_factory,
    "Axolotl": _export_axolotl,
    "torchtune": _export_torchtune,
    "vLLM": _export_vllm,
}
