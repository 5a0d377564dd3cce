# SPDX-License-Identifier: Apache-2.0
"""Count the results in meson's testlog.json: a line "N passed, N failed, N skipped"."""
import json
import sys

counts = {"passed": 0, "failed": 0, "skipped": 0}
with open(sys.argv[1], encoding="utf-8") as log:
    for line in log:
        result = json.loads(line)
        kind = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}.get(
            result["result"], "failed")
        counts[kind] += 1
        if kind == "skipped":
            print("SKIP", result["name"], (result.get("stdout") or "").strip().splitlines()[-1:])
        if kind == "failed":
            print("FAILED", result["name"], result["result"])
print(", ".join(f"{n} {kind}" for kind, n in counts.items()))
sys.exit(1 if counts["failed"] else 0)
