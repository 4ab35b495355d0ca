#!/bin/bash
# Claim S2.11 with stock drivers: two machines with virtio-net exchange files in whole, unsummed segments; then one of
# them has an e1000, which gets them cut, and whose own segments stay whole. One copy a frame, nothing stored.
. "$(dirname "$0")/asserts"

bytes=2097152
rack() { # rack MODEL MODEL: the two machines' cards
    local models=("$1" "$2") names=(alpha beta) i
    for i in 0 1; do
        cat <<EOP
[machine.${names[$i]}]
memory = "128M"
kernel = "$images/full/vmlinuz"
initrd = "$images/full/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=talk bp.ip=10.0.0.$((i + 1)) bp.peer=10.0.0.$((2 - i)) bp.bytes=$bytes"
[[machine.${names[$i]}.nic]]
model = "${models[$i]}"
link = "lan"
EOP
    done
    echo '[link.lan]'
}

for pair in virtio-net:virtio-net virtio-net:e1000; do
    name=${pair/:/_}
    rack "${pair%:*}" "${pair#*:}" >$name.toml
    expect_exit 0 "$backplane" run $name.toml --report $name.json --timeout 600
    mv out $name.txt
    for machine in alpha beta; do expect_line $name.txt "^$machine +\| @@OK received $bytes bytes sha256=[0-9a-f]{64}"; done
    ! grep -aqE 'hw csum failure|bad checksum' $name.txt || die "a checksum was wrong"
done

python3 - "$bytes" <<'EOP' || die "the report"
import json
import sys
size = int(sys.argv[1])
links = {}
for name, models in {"virtio-net_virtio-net": ["virtio-net"] * 2, "virtio-net_e1000": ["virtio-net", "e1000"]}.items():
    report = json.load(open(f"{name}.json"))
    assert [machine["nics"][0]["model"] for machine in report["machines"]] == models, name
    for machine in report["machines"]:
        for counter in ("tail_moves", "head_moves", "receive_interrupts", "transmit_complete_interrupts"):
            assert machine["nics"][0][counter] > 0, (name, counter)
    link, = report["links"]
    links[name] = link
    print(name, {key: link[key] for key in ("frames", "bytes", "deliveries", "copies", "whole_frames", "unsummed_frames",
                                            "cut_frames", "cut_segments", "peak_stored_bytes")})
    assert link["copies_per_frame"] == 1.0 and link["peak_stored_bytes"] == 0, link
    assert link["bytes"] > 2 * size, link
both, mixed = links["virtio-net_virtio-net"], links["virtio-net_e1000"]
assert both["whole_frames"] >= 2 * size / 65536 and both["cut_frames"] == 0, both
assert both["unsummed_frames"] >= both["whole_frames"], both
assert both["bytes"] / both["frames"] > 4 * 1514, "most bytes are in large segments"
assert mixed["whole_frames"] > 0, "the e1000's TSO stays whole towards virtio-net"
assert mixed["cut_frames"] > 0 and mixed["cut_segments"] > 10 * mixed["cut_frames"], mixed
EOP
