#!/bin/bash
# Whom machines may talk to and as whom, with stock drivers: NICs that name each other as peers on a link of several,
# a group that cannot be reached from another one, and a forged source address that gets nowhere.
. "$(dirname "$0")/asserts"

# The images' own init, whose default role becomes this one. A later archive of an initrd replaces files of an earlier.
cat >role <<'EOP'
pings() { ping -c 3 -W 2 "$1" >/dev/null 2>&1 && echo yes || echo no; }
rules() {
    network_up
    bp_peer=10.0.0.1
    [ "$bp_ip" = 10.0.0.1 ] || retry 120 0.5 answers_ping || fail "no answer from $bp_peer"
    for i in 1 2 3 4; do
        [ "$bp_ip" = 10.0.0.$i ] || say "FROM ${bp_ip##*.} TO $i $(pings 10.0.0.$i)"
    done
    if [ "$bp_ip" = 10.0.0.2 ]; then
        ifconfig eth0 down
        ifconfig eth0 hw ether 52:54:00:99:99:99 || fail "changing the address"
        ifconfig eth0 up
        retry 100 0.1 has_carrier || fail "no link"
        say "FORGED $(pings 10.0.0.1)"
    fi
    sleep "$bp_secs"
}
EOP
mkdir init
python3 - "$tests/../../guest/init" <<'EOP'
import sys
text = open(sys.argv[1]).read()
start = text.index("case $bp_role in")
rest = text[start:].replace("    off) ;;", "    off) rules ;;")
open("init/init", "w").write(text[:start] + open("role").read() + rest)
EOP
chmod +x init/init
python3 - "$images/full/initrd.img" <<'EOP'
import subprocess, sys
image = open(sys.argv[1], "rb").read()
own = subprocess.run("echo init | cpio -o -H newc --quiet", shell=True, cwd="init", capture_output=True, check=True).stdout
open("initrd.img", "wb").write(image + bytes(-len(image) % 4) + own)
EOP

machine() { # machine NAME NUMBER NIC...
    cat <<EOP
[machine.$1]
memory = "128M"
kernel = "$images/full/vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.ip=10.0.0.$2 bp.secs=60"
nic = [{link = "lan", ${*:3}}]
EOP
}
{
    machine alpha 1 'peer = "beta.nic0"'
    machine beta 2 'model = "virtio-net", peer = "alpha.nic0"'
    machine gamma 3 'model = "virtio-net", group = "red"'
    machine delta 4 'group = "blue"'
    printf '[link.lan]\nspoofing = "refuse"\ncapture = "lan.pcapng"\n'
} >rack.toml
expect_exit 0 "$backplane" run rack.toml --report report.json --timeout 400
expect_line out '@@FROM 2 TO 1 yes'
for to in 1 2; do
    expect_line out "@@FROM 3 TO $to yes"
    expect_line out "@@FROM 4 TO $to yes"
done
expect_line out '@@FROM 3 TO 4 no'
expect_line out '@@FROM 4 TO 3 no'
expect_line out '@@FORGED no'
python3 - <<'EOP' || die "the report"
import json
link, = json.load(open("report.json"))["links"]
print(link["detected"], link["drops"])
assert link["detected"]["configuration"] >= 12 and link["detected"]["destination"] >= 24, link
assert link["drops"]["spoofed_source"] >= 3, link
assert link["copies_per_frame"] == 1.0, link
EOP
grep -aq 'dropped: not its own source address' lan.pcapng || die "the capture does not say what was dropped"
