#!/bin/bash
# Two machines without a kernel: they send and receive RAM without a copy, and their short messages come back within 2,000
# guest instructions in both together (idle time executes none) and one quantum each way.
. "$(dirname "$0")/asserts"

"$tests/../../guest/metal/build" metal || die "guest/metal/build"
rack() { # rack WORDS_OF_ALPHA WORDS_OF_BETA
    printf '[queue]\nwindow = "1M"\n'
    for machine in "alpha:$1" "beta:$2"; do
        printf '[machine.%s]\nmemory = "32M"\nkernel = "metal"\nboot = "multiboot"\ncmdline = "%s"\n' "${machine%%:*}" "${machine#*:}"
    done
}

rack 'send beta 500' receive >rack.toml
expect_exit 0 "$backplane" run rack.toml --report report.json --timeout 120
expect_line out '^alpha \| @@SENT pages=8000'
expect_line out '^beta  \| @@RECEIVED pages=8000 all words right'
python3 -c '
import json
pages = json.load(open("report.json"))["queue"]["pages"]
assert pages == {"donated": 8000, "lent": 0, "shared": 0, "copied": 0, "returned": 0}, pages' || die "the report"

for form in '' natural; do
    for count in 1000 3000; do
        rack "ping beta $count $form" echo >rack.toml
        expect_exit 0 "$backplane" run rack.toml --report $count.json --timeout 60
        expect_line out "^alpha \| @@PINGED count=$count"
    done
    python3 - "${form:-immediate}" <<'EOP' || die "${form:-immediate}: the report"
import json
import sys

few, many = (json.load(open(f"{count}.json"))["machines"] for count in (1000, 3000))
instructions = sum(b["instructions"] - a["instructions"] for a, b in zip(few, many)) / 2000
virtual_us = (many[0]["virtual_ns"] - few[0]["virtual_ns"]) / 2000 / 1000
print(f"{sys.argv[1]}: {instructions:.0f} instructions and {virtual_us:.0f} us of virtual time there and back")
assert instructions < 2000
assert virtual_us <= 200  # a quantum is 100 us
EOP
done
