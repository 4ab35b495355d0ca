#!/bin/bash
# The example of the shared window: two Debian machines send 64 MiB and 16 MiB through it, waiting by interrupts of the stock
# uio_pci_generic. Each is refused every store into the other's section. The second run is the first one again, whatever number
# of threads was asked for. A machine that is no member has no device.
. "$(dirname "$0")/asserts"

ln -s "$images/cloud" cloud
cp "$tests/../../examples/05-shared-window/rack.toml" rack.toml
for run in first second; do
    threads=1
    [ $run = first ] || threads=2
    expect_exit 0 "$backplane" run rack.toml --report $run.json --timeout 600 --threads $threads
    mv out $run.txt
done
expect_line second.txt 'on one thread: \[window\] is memory of several machines'
python3 - <<'EOP' || die "the threads that were asked for"
import json
for name in ("first.json", "second.json"):
    report = json.load(open(name))
    assert report["host"]["threads"] == 1
EOP
"$tests/../../tools/compare-runs" first second || die "the two runs differ"

sum_in() { grep -aoE "^$1 +\| @@bpw: $2 $3 bytes sum=[0-9a-f]{16}" first.txt | grep -oE '[0-9a-f]{16}$'; }
for way in "alpha beta 67108864" "beta alpha 16777216"; do
    read -r from to bytes <<<"$way"
    sent=$(sum_in "$from" sent "$bytes") received=$(sum_in "$to" received "$bytes")
    [ -n "$sent" ] && [ "$sent" = "$received" ] || die "$from sent sum $sent, $to received sum $received"
done
for number in 0 1; do
    expect_line first.txt "@@bpw: peer $number of 2, common 4096, section 1048576"
    expect_line first.txt "@@bpw: met $number"
done
[ "$(grep -ac '@@bpw: 512 of 512 stores refused' first.txt)" = 2 ] || die "refused stores"
python3 - <<'EOP' || die "the report"
import json
window = json.load(open("first.json"))["window"]
assert window["section_bytes"] == 1 << 20 and window["common_bytes"] == 4096, window
assert [peer["name"] for peer in window["peers"]] == ["alpha", "beta"], window
for peer in window["peers"]:
    assert peer["refused_stores"] == 512, peer
    assert peer["doorbells_rung"] > 64 and peer["doorbells_heard"] > 64, peer
EOP
python3 -c 'import json; print(json.load(open("first.json"))["window"]["peers"])'

# A third machine that is no member finds nothing.
{
    sed 's/^\[window\]/&\nmachines = ["beta", "alpha"]/; s/bp.words=[^"]*/bp.words=info/' rack.toml
    cat <<EOP
[machine.gamma]
memory = "128M"
kernel = "cloud/vmlinuz"
initrd = "cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=window bp.words=info"
EOP
} >three.toml
expect_exit 1 "$backplane" run three.toml --timeout 300
expect_line out '^beta +\| @@bpw: peer 0 of 2'
expect_line out '^alpha +\| @@bpw: peer 1 of 2'
expect_line out '^gamma +\| @@FAIL bpw: the device: No such device'
