"""A latency study: every target set against the base, paired, interleaved and gated.

    python -m harness.latency target_modules=qkv,o_proj,qkv+o_proj,o_proj+fc2,all
    python -m harness.latency model=local model.path=/models/mine target_modules=qkv,o_proj \\
        latency.batch_size=1,8 latency.prompt_tokens=128,2048 study=my-latency

Takes the same configuration as `python -m harness`; every comma-separated value is an axis. The
adapters have random weights, because speed does not depend on training. Run the command again to
resume an interrupted study or to add axes and target sets to it.
"""

import sys
from collections.abc import Sequence

from harness.cli.quiet_end import end_quietly
from harness.config.composing import compose, expand_overrides
from harness.errors import UserError
from harness.reporting.latency_report import build_latency_report
from harness.timing.latency_study import run_study

DEFAULT_STUDY = "latency"


@end_quietly
def main(arguments: Sequence[str]) -> int:
    """Run a study from the command line; return the exit status."""
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    try:
        named = any(each.split("=")[0].lstrip("+") == "study" for each in arguments)
        overrides = [*arguments, *([] if named else [f"study={DEFAULT_STUDY}"])]
        configs = [compose(job) for job in expand_overrides(overrides)]
        folder, is_whole = run_study(configs)
        report = build_latency_report(folder.path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.text)
    print(f"report: {report.html}")
    return 0 if is_whole else 1
