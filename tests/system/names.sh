#!/bin/bash
# Two machines on an isolated link get their addresses by DHCP and reach each other by name, with nothing set up. The
# pair is coupled by implication (S2.3); its queries to the link's name service remap it and back (S2.5, S2.9).
. "$(dirname "$0")/asserts"

ln -s "$images/full" full
for pair in alpha:beta beta:alpha.rack; do
    cat <<EOP
[machine.${pair%:*}]
memory = "128M"
kernel = "full/vmlinuz"
initrd = "full/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=talk bp.peer=${pair#*:} bp.bytes=65536"
nic = [{link = "lan"}]
EOP
done >rack.toml
echo '[link.lan]' >>rack.toml
expect_exit 0 "$backplane" run rack.toml --report report.json --timeout 300
expect_line out '^alpha \| @@LINK ip=10\.77\.0\.10 '
expect_line out '^beta  \| @@LINK ip=10\.77\.0\.11 '
[ "$(grep -ac '@@OK received 65536 bytes' out)" = 2 ] || die "a file did not arrive"
python3 - <<'EOP' || die "the report"
import json
report = json.load(open("report.json"))
link, = report["links"]
assert report["rack"]["repeatable"], report["rack"]
assert link["detected"]["configuration"] > 50 and link["detected"]["destination"] == 0, link
assert link["outside_frames"] >= 4, link
assert link["remaps_to_uplink"] > 0 and link["remaps_to_peer"] > 0, link
assert abs(link["remaps_to_uplink"] - link["remaps_to_peer"]) <= 2, link
assert link["copies_per_frame"] == 1.0 and link["peak_stored_bytes"] == 0, link
EOP
