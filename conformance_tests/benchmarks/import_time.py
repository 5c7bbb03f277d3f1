"""How long `import unigrad` takes, as a multiple of `import numpy`: at most 1.5 is promised.

    python conformance_tests/benchmarks/import_time.py [pairs]

Runs both in turns in fresh processes and prints the ratio of the medians of what the imports
themselves take; exits with 1 where it is above the promise.
"""

import os
import statistics
import subprocess
import sys

PROMISE = 1.5


def seconds(module: str) -> float:
    """What one import takes in a process of its own, its start not counted."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    cached = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=cached
    )
    return float(done.stdout)


def main() -> int:
    """Measure, print, and judge."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for module in ("numpy", "unigrad"):
        seconds(module)  # the byte code is written, the files are in memory
    times = [(seconds("numpy"), seconds("unigrad")) for _ in range(pairs)]
    numpy = statistics.median(t for t, _ in times)
    unigrad = statistics.median(t for _, t in times)
    ratio = unigrad / numpy
    print(f"import numpy   {1e3 * numpy:7.1f} ms")
    print(f"import unigrad {1e3 * unigrad:7.1f} ms")
    print(f"ratio          {ratio:7.2f}, promised at most {PROMISE}")
    return int(ratio > PROMISE)


if __name__ == "__main__":
    sys.exit(main())
