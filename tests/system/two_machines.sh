#!/bin/bash
# The demo's rack with 1 MiB files, twice: both directions verified, one copy a frame, nothing stored, all the same.
. "$(dirname "$0")/asserts"

ln -s "$images/full" full
sed 's/bp.bytes=16777216/bp.bytes=1048576/; s/bp.secs=30/bp.secs=10/' "$tests/../../examples/01-two-machines/rack.toml" >rack.toml
for run in first second; do
    expect_exit 0 "$backplane" run rack.toml --report $run.json --timeout 900
    mv out $run.txt
    grep -a '@@' $run.txt
done

hash_in() { grep -aoE "^$1 +\| @@$2 .*sha256=[0-9a-f]{64}" first.txt | grep -oE '[0-9a-f]{64}$|[0-9a-f]{64}'; }
for pair in alpha:beta beta:alpha; do
    sent=$(hash_in "${pair%:*}" SERVE) received=$(hash_in "${pair#*:}" OK)
    [ -n "$sent" ] && [ "$sent" = "$received" ] || die "${pair%:*} served $sent, ${pair#*:} received $received"
done
[ "$(hash_in alpha SERVE)" != "$(hash_in beta SERVE)" ] || die "both machines made the same random file"

python3 - <<'EOP' || die "the report"
import json
report = json.load(open("first.json"))
assert report["schema"] == 1 and report["ending"] == "all_off", report["ending"]
machines = {machine["name"]: machine for machine in report["machines"]}
assert list(machines) == ["alpha", "beta", "idle"]
for name, machine in machines.items():
    assert machine["state"] == "powered_off", name
    assert machine["instructions"] > 10_000_000, name
assert machines["idle"]["idle_share"] > 0.5, machines["idle"]["idle_share"]
for name in ("alpha", "beta"):
    nic, = machines[name]["nics"]
    for counter in ("tail_moves", "head_moves", "receive_interrupts", "transmit_complete_interrupts"):
        assert nic[counter] > 0, (name, counter)
link, = report["links"]
assert link["copies_per_frame"] == 1.0, link
assert link["peak_stored_bytes"] == 0, link
assert link["bytes"] > 2 * 1048576, link
EOP
"$tests/../../tools/compare-runs" first second || die "the two runs differ"
