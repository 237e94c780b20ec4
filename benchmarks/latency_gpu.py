"""The five published target sets on a GPU, at real shapes: random weights of Llama 1B and 8B, bf16.

    python benchmarks/latency_gpu.py --shape llama-3.2-1b
    python benchmarks/latency_gpu.py --shape llama-3-8b --max-seconds 120

Batch 1, 8 and 32, prompt 128 and 2048, eager and compiled with CUDA graphs: latency studies of the
harness, each in results/latency-<shape>-<eager|compiled>. The tables are copied, with the GPU's
name, into benchmarks/results/.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import torch

from harness.cli import latency

RESULTS = Path(__file__).resolve().parent / "results"
SETS = "qkv,o_proj,qkv+o_proj,o_proj+fc2,all"
MODES = {
    "eager": ("latency.cache=dynamic", "latency.compile=off"),
    "compiled": ("latency.cache=static", "latency.compile=reduce-overhead"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="llama-3.2-1b")
    parser.add_argument("--modes", nargs="+", choices=sorted(MODES), default=sorted(MODES))
    parser.add_argument("--batch", default="1,8,32")
    parser.add_argument("--prompt", default="128,2048")
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--max-seconds", type=float, default=120)
    parser.add_argument("--results-dir", default="results")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: no GPU on this machine; this benchmark needs one", file=sys.stderr)
        return 2
    gpu = re.sub(r"[^\w.]+", "-", torch.cuda.get_device_name()).strip("-").lower()
    status = 0
    for mode in options.modes:
        study = f"latency-{options.shape}-{mode}"
        status |= latency.main(
            [
                *("model=random", f"model.shape={options.shape}", "model.dtype=bfloat16"),
                *(f"target_modules={SETS}", f"study={study}", f"results_dir={options.results_dir}"),
                *(f"latency.batch_size={options.batch}", f"latency.prompt_tokens={options.prompt}"),
                f"latency.output_tokens={options.output_tokens}",
                f"latency.max_seconds={options.max_seconds}",
                *MODES[mode],
            ]
        )
        folder = Path(options.results_dir) / study
        for name in ("ratios.csv", "latency.parquet", "latency.json", "latency.md"):
            if (folder / name).exists():
                shutil.copy(folder / name, RESULTS / f"{gpu}-{study}-{name}")
    return status


if __name__ == "__main__":
    sys.exit(main())
