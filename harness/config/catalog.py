"""Every adapter method as plain facts: where it can go, what it can be set to, what can be done
with it afterwards. Knows neither torch nor PEFT, so that a configuration is checked in no time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.target_sets import EMBEDDINGS, EVERY_ROLE, ROLES, WHOLE_MODEL, label_roles
from harness.errors import UserError


@dataclass(frozen=True)
class Method:
    title: str
    """As papers write it."""
    source: str
    """Where it was published."""
    settings: tuple[str, ...]
    """Keys of `adapter` that it has; each of them must be set, and no other may be."""
    roles: tuple[str, ...] = (EVERY_ROLE, *ROLES, "unembed")
    """Roles that it can be put on."""
    takes_model: bool = False
    """Whether it can be put on the model as a whole, the target set `model`."""
    takes_experts: bool = False
    """Whether it can be put on experts stacked in one tensor."""
    takes_checkpointing: bool = True
    """Whether it can be trained with gradient checkpointing."""
    is_packable: bool = False
    """Whether it is low-rank products beside an unchanged base, so that several variants share
    their passes."""
    is_mergeable: bool = True
    """Whether it can be folded into the base weights."""
    is_mixable: bool = False
    """Whether rows of one batch can use different adapters of it."""
    has_growing_rank: bool = False
    """Whether ranks move between projections while it trains."""
    library: str | None = None
    """A package that it needs and the harness does not."""


LOW_RANK = ("rank", "alpha", "dropout")
ANYWHERE = (EVERY_ROLE, *ROLES, *EMBEDDINGS)

METHODS: dict[str, Method] = {
    "lora": Method(
        "LoRA",
        "Hu et al., 2021, arXiv:2106.09685",
        LOW_RANK,
        ANYWHERE,
        takes_experts=True,
        is_packable=True,
        is_mixable=True,
    ),
    "rslora": Method(
        "rsLoRA",
        "Kalajdzievski, 2023, arXiv:2312.03732",
        LOW_RANK,
        ANYWHERE,
        takes_experts=True,
        is_packable=True,
        is_mixable=True,
    ),
    "lora_plus": Method(
        "LoRA+",
        "Hayou et al., 2024, arXiv:2402.12354",
        (*LOW_RANK, "learning_rate_ratio"),
        ANYWHERE,
        takes_experts=True,
        is_packable=True,
        is_mixable=True,
    ),
    "lora_fa": Method(
        "LoRA-FA",
        "Zhang et al., 2023, arXiv:2308.03303",
        LOW_RANK,
        is_packable=True,
        is_mixable=True,
    ),
    "eva": Method(
        "EVA",
        "Paischer et al., 2024, arXiv:2410.07170",
        (*LOW_RANK, "rho", "sample_examples"),
        is_packable=True,
        is_mixable=True,
    ),
    "dora": Method("DoRA", "Liu et al., 2024, arXiv:2402.09353", LOW_RANK, ANYWHERE),
    "pissa": Method("PiSSA", "Meng et al., 2024, arXiv:2404.02948", LOW_RANK, is_mixable=True),
    "olora": Method("OLoRA", "Buyukakyuz, 2024, arXiv:2406.01775", LOW_RANK, is_mixable=True),
    "lora_ga": Method(
        "LoRA-GA",
        "Wang et al., 2024, arXiv:2407.05000",
        (*LOW_RANK, "sample_examples"),
        is_mixable=True,
    ),
    "adalora": Method(
        "AdaLoRA",
        "Zhang et al., 2023, arXiv:2303.10512",
        (*LOW_RANK, "initial_rank", "allocate_from", "allocate_until", "orthogonality"),
        has_growing_rank=True,
    ),
    "increlora": Method(
        "IncreLoRA",
        "Zhang et al., 2023, arXiv:2308.12043",
        ("rank", "alpha", "initial_rank", "allocate_from", "allocate_until", "orthogonality"),
        is_mixable=True,
        has_growing_rank=True,
    ),
    "loftq": Method(
        "LoftQ",
        "Li et al., 2023, arXiv:2310.08659",
        LOW_RANK,
        is_mergeable=False,
        library="bitsandbytes",
    ),
    "qlora": Method(
        "QLoRA",
        "Dettmers et al., 2023, arXiv:2305.14314",
        LOW_RANK,
        is_mergeable=False,
        library="bitsandbytes",
    ),
    "vera": Method("VeRA", "Kopiczko et al., 2023, arXiv:2310.11454", ("rank", "dropout")),
    "ia3": Method("IA3", "Liu et al., 2022, arXiv:2205.05638", ()),
    "prefix": Method(
        "prefix tuning",
        "Li and Liang, 2021, arXiv:2101.00190",
        ("virtual_tokens", "encoder_width"),
        roles=(),
        takes_model=True,
        takes_checkpointing=False,
        is_mergeable=False,
    ),
    "prompt": Method(
        "prompt tuning",
        "Lester et al., 2021, arXiv:2104.08691",
        ("virtual_tokens",),
        roles=(),
        takes_model=True,
        takes_checkpointing=False,
        is_mergeable=False,
    ),
    "bottleneck": Method(
        "bottleneck adapters",
        "Houlsby et al., 2019, arXiv:1902.00751; Lin et al., 2020, arXiv:2004.03829",
        ("rank", "activation"),
        roles=("o", "mix_out", "fc2"),
        is_mergeable=False,
    ),
    "full": Method("full fine-tuning", "", (), ANYWHERE, takes_model=True),
}


def check_target_set(name: str, roles: Sequence[str]) -> None:
    """Raise UserError where a method cannot be put on a target set, naming those that it can."""
    method = METHODS[name]
    on_model = tuple(roles) == (WHOLE_MODEL,)
    if method.takes_model if on_model else set(roles) <= set(method.roles):
        return
    if not method.roles:
        possible = f"it adapts the whole model: set target_modules={WHOLE_MODEL}"
    elif EVERY_ROLE in method.roles:
        possible = f"it supports {', '.join(method.roles)}, for example target_modules=o_proj+fc2"
    else:
        sets = [label_roles([role]) for role in method.roles] + [label_roles(method.roles)]
        possible = f"it supports {' or '.join(sets)}"
    raise UserError(
        f"adapter.method {name} does not support target_modules={label_roles(roles)}; {possible}"
    )
