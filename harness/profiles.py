"""What a user weighs: how much accuracy may go, and which cost decides among sets good enough."""

from dataclasses import dataclass

from harness.errors import UserError


@dataclass(frozen=True)
class Profile:
    name: str
    delta: float
    """Loss in mean score that the user does not mind."""
    cost: str
    """Column of a comparison's `overall` by which the cheapest set is taken."""
    meaning: str
    """For whom it is, in a few words."""


BALANCED = Profile(
    "balanced", 0.02, "end_to_end_ratio", "one adapter, unmerged: latency of a whole call"
)
PROFILES = (
    Profile(
        "accuracy_first", 0.01, "end_to_end_ratio", "as balanced, with half the loss in accuracy"
    ),
    BALANCED,
    Profile("latency_first", 0.05, "end_to_end_ratio", "as balanced, with a larger loss"),
    # A step of training costs about the same for all sets of a pack, which share its time; what a
    # set adds by itself grows with its parameters, as the adapter's size does.
    Profile(
        "merged", 0.02, "trainable_parameters", "merged, placement costs no latency: size decides"
    ),
    Profile("many_adapters", 0.02, "tpot_ratio", "many adapters on one base: time a token decides"),
)


def find_profile(name: str) -> Profile:
    """Return a profile by name; raises UserError where there is none of that name."""
    for profile in PROFILES:
        if profile.name == name:
            return profile
    known = ", ".join(profile.name for profile in PROFILES)
    raise UserError(f"profile is {name!r}; expected one of {known}")
