#!/bin/bash
# The example of three machines: 64 MiB go through the second one with no byte copied, and past its policy nothing does.
. "$(dirname "$0")/asserts"

ln -s "$images/cloud" cloud
cp "$tests/../../examples/02-pipeline/rack.toml" rack.toml
expect_exit 0 "$backplane" run rack.toml --report report.json --timeout 900
mv out run.txt
sum_in() { grep -aoE "^$1 +\| @@bpq: $2 67108864 bytes sum=[0-9a-f]{16}" run.txt | grep -oE '[0-9a-f]{16}$'; }
sent=$(sum_in camera sent) received=$(sum_in archive received)
[ -n "$sent" ] && [ "$sent" = "$received" ] || die "sent sum $sent, received sum $received"
expect_line run.txt "^archive +\| @@bpq: received .* from filter"
python3 - <<'EOP' || die "the report"
import json
pages = json.load(open("report.json"))["queue"]["pages"]
assert pages == {"donated": 2 * 16384, "lent": 0, "shared": 0, "copied": 0, "returned": 0}, pages
EOP

# The camera may not talk to the archive itself.
sed 's/bp.peer=filter/bp.peer=archive/; s/bp.role=\(relay\|receive\)/bp.role=off/' rack.toml >past.toml
expect_exit 1 "$backplane" run past.toml --timeout 60
expect_line out "^camera +\| @@FAIL bpq: greeting the receiver: denied"
