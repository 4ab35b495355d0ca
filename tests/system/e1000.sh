#!/bin/bash
# The e1000 under Debian's own driver: the driver's self-test of registers, EEPROM, interrupts, loopback and link, then jumbo
# frames in a VLAN between two machines, tagged, filtered and taken out by the cards.
. "$(dirname "$0")/asserts"

for i in 1 2; do
    cat <<EOP
[machine.m$i]
memory = "128M"
kernel = "$images/full/vmlinuz"
initrd = "$images/full/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=nic bp.ip=10.0.0.$i bp.peer=10.0.0.$((3 - i))"
nic = [{ model = "e1000", link = "lan" }]
EOP
done >rack.toml
echo '[link.lan]' >>rack.toml
expect_exit 0 "$backplane" run rack.toml --report report.json --timeout 300
for machine in m1 m2; do
    for part in Register Eeprom Interrupt Loopback Link; do expect_line out "^$machine +\| @@TESTED .*$part test +\([a-z/]*\): 0;"; done
    expect_line out "^$machine +\| @@PINGED count=5 bytes=8900 vlan=5"
done
python3 - <<'EOP' || die "the report"
import json
link, = json.load(open("report.json"))["links"]
print({key: link[key] for key in ("frames", "bytes", "copies_per_frame", "peak_stored_bytes")})
assert link["copies_per_frame"] == 1.0 and link["peak_stored_bytes"] == 0, link
assert link["bytes"] > 2 * 2 * 5 * 8900, "requests and answers of both, each in one frame"
assert link["frames"] < 200, "no fragments"
EOP
