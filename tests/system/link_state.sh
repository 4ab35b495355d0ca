#!/bin/bash
# The stock drivers see what the device says of its link: virtio-net's largest MTU (VIRTIO_NET_F_MTU), and a cable that
# is cut and healed (VIRTIO_NET_F_STATUS with a configuration interrupt; the e1000's link status change). Then two machines
# whose rack gives them other MTUs: their drivers set and keep them, and a packet that is too long for its receiver is refused.
. "$(dirname "$0")/asserts"

# The images' own init, whose default role becomes this one. A later archive of an initrd replaces files of an earlier.
mkdir init
cat >role <<'EOP'
is_cut() { ! has_carrier; }
config_interrupts() {
    awk '/virtio[0-9]+-config/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; ++i) sum += $i } END { print sum + 0 }' /proc/interrupts
}
takes_mtu() { ifconfig eth0 mtu "$1" 2>/dev/null && echo yes || echo no; }
link_state() {
    network_up
    retry 60 0.5 answers_ping || fail "no answer from $bp_peer"
    # An e1000 that gets another MTU starts again, without link at first.
    [ "$(drivers)" = e1000 ] || say "MTU is=$(cat /sys/class/net/eth0/mtu) 1501=$(takes_mtu 1501) 1400=$(takes_mtu 1400)"
    say "UP config=$(config_interrupts)"
    retry 600 0.1 is_cut || fail "the cut was not seen"
    say "CUT config=$(config_interrupts)"
    answers_ping && fail "answered over a cut cable"
    retry 600 0.1 has_carrier || fail "the heal was not seen"
    say "HEALED config=$(config_interrupts)"
    retry 60 0.5 answers_ping || fail "no answer from $bp_peer after the heal"
    say "ANSWERED"
    sleep 10
}
# Pings whose packets have this many bytes: what came back.
pings_of() { ping -c 3 -W 1 -s $(($1 - 28)) "$bp_peer" | sed -n 's/.*, \([0-9]*\) packets received.*/\1/p'; }
large_mtu() {
    network_up
    retry 60 0.5 answers_ping || fail "no answer from $bp_peer"
    mtu=$(cat /sys/class/net/eth0/mtu)
    say "LARGE is=$mtu more=$(takes_mtu $((mtu + 1))) less=$(takes_mtu $((mtu - 1))) again=$(takes_mtu "$mtu")"
    [ "$mtu" = 9000 ] && say "PINGS of4000=$(pings_of 4000) of4001=$(pings_of 4001) of9000=$(pings_of 9000)"
    sleep 10
}
EOP
python3 - "$tests/../../guest/init" "$images/full/initrd.img" <<'EOP'
import subprocess, sys
text = open(sys.argv[1]).read()
start = text.index("case $bp_role in")
rest = text[start:].replace("    off) ;;", "    off) link_state ;;\n    idle) large_mtu ;;")
open("init/init", "w").write(text[:start] + open("role").read() + rest)
image = open(sys.argv[2], "rb").read()
own = subprocess.run("chmod +x init && echo init | cpio -o -H newc --quiet", shell=True, cwd="init", capture_output=True,
                     check=True).stdout
open("initrd.img", "wb").write(image + bytes(-len(image) % 4) + own)
EOP

machine() { # machine NAME MODEL NUMBER PEER [ROLE] [KEYS]
    cat <<EOP
[machine.$1]
memory = "128M"
kernel = "$images/full/vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.ip=10.0.0.$3 bp.peer=10.0.0.$4 bp.role=${5:-off}"
nic = [{link = "lan", model = "$2"${6:-}}]
EOP
}
{
    machine alpha virtio-net 1 2
    machine beta e1000 2 1
    printf '[link.lan]\ncut = "20s"\nheal = "25s"\n'
} >rack.toml
expect_exit 0 "$backplane" run rack.toml --report report.json --timeout 400
expect_line out '^alpha \| @@MTU is=1500 1501=no 1400=yes'
for mark in CUT HEALED ANSWERED; do
    for name in alpha beta; do expect_line out "^$name +\| @@$mark"; done
done
python3 - <<'EOP' || die "no interrupt for each change of the link"
import re
counts = [int(n) for n in re.findall(r"^alpha +\| @@(?:UP|CUT|HEALED) config=(\d+)", open("out", errors="replace").read(), re.M)]
assert len(counts) == 3 and counts[0] < counts[1] < counts[2], counts
EOP
python3 -c 'import json; link, = json.load(open("report.json"))["links"]; assert link["cuts"] == 1, link' || die "the report"

{
    machine gamma virtio-net 1 2 idle ', mtu = 9000'
    machine delta virtio-net 2 1 idle ', mtu = 4000'
    echo '[link.lan]'
} >large.toml
expect_exit 0 "$backplane" run large.toml --report large.json --timeout 400
expect_line out '^gamma \| @@LARGE is=9000 more=no less=yes again=yes'
expect_line out '^delta \| @@LARGE is=4000 more=no less=yes again=yes'
expect_line out '^gamma \| @@PINGS of4000=3 of4001=0 of9000=0'
python3 -c 'import json; link, = json.load(open("large.json"))["links"]; assert link["drops"]["refused_by_the_receiver"] >= 6, link' ||
    die "what was too long is not counted"
