#!/bin/bash
# Two Debian machines move 256 MiB (BACKPLANE_QUEUE_BYTES) with bpq, in each of the four transfer modes, each twice: the sums agree, the
# report shows which pages moved and which were copied, and the second run is the first one again.
. "$(dirname "$0")/asserts"

bytes=${BACKPLANE_QUEUE_BYTES:-268435456}

rack() { # rack TRANSFER
    cat <<EOP
[queue]
transfer = "$1"
EOP
    for name in alpha beta; do
        role=receive
        [ $name = beta ] || role=send
        cat <<EOP
[machine.$name]
memory = "128M"
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=$role bp.peer=beta bp.bytes=$bytes"
EOP
    done
}

sum_in() { grep -aoE "^$1 +\| @@bpq: $2 $bytes bytes sum=[0-9a-f]{16}" "$3" | grep -oE '[0-9a-f]{16}$'; }
for transfer in remap cow shared copy; do
    rack $transfer >$transfer.toml
    for run in first second; do
        expect_exit 0 "$backplane" run $transfer.toml --report $run.json --timeout 900
        mv out $run.txt
    done
    sent=$(sum_in alpha sent first.txt) received=$(sum_in beta received first.txt)
    [ -n "$sent" ] && [ "$sent" = "$received" ] || die "$transfer: sent sum $sent, received sum $received"
    expect_line first.txt "^beta +\| @@bpq: received .* from alpha"
    "$tests/../../tools/compare-runs" first second || die "$transfer: the two runs differ"
    python3 - $transfer "$bytes" <<'EOP' || die "$transfer: the report"
import json
import sys

transfer, size = sys.argv[1], int(sys.argv[2])
queue = json.load(open("first.json"))["queue"]
assert queue["transfer"] == transfer
alpha, beta = queue["machines"]
assert alpha["sent_bytes"] > size and beta["received_bytes"] == alpha["sent_bytes"], queue
for form in ("natural", "immediate", "registers"):
    assert alpha[form] > 0, form
pages, moved = queue["pages"], size // 4096
assert pages["shared"] == (moved if transfer == "shared" else 0), pages
assert pages["donated"] == (0 if transfer == "shared" else moved), pages
assert pages["copied"] == (moved if transfer == "copy" else 0) or transfer == "cow", pages
assert transfer != "cow" or 0 < pages["copied"] <= 2 * moved, pages
EOP
    echo "$transfer: $(python3 -c 'import json; print(json.load(open("first.json"))["queue"]["pages"])')"
done
