#!/bin/bash
# Two machines on one TAP device against the host kernel's own TCP stack, in a network namespace of the test's own:
# each fetches a file from a server there, and they reach each other without the TAP. Both NICs declare the device, so
# the crossover is found by their default mappings (S2.2).
. "$(dirname "$0")/asserts"

space=backplane-$$
command -v ip >/dev/null || { echo "no ip(8)"; exit 77; }
ip netns add $space 2>/dev/null || { echo "network namespaces are not permitted here"; exit 77; }
server=
trap '[ -z "$server" ] || kill $server; ip netns delete $space; rm -rf "$work"' EXIT
inside() { ip netns exec $space "$@"; }
inside ip tuntap add bp0 mode tap 2>/dev/null || { echo "TAP devices are not permitted here"; exit 77; }
inside ip address add 10.9.0.1/24 dev bp0
inside ip link set bp0 up
inside ip link set lo up

ln -s "$images/full" full
mkdir served
head -c 300000 /dev/urandom >served/file
sum=$(sha256sum <served/file | cut -d ' ' -f 1)
(cd served && exec ip netns exec $space python3 -m http.server --bind 10.9.0.1 8000) >server.log 2>&1 &
server=$!

machine() { # machine NAME WORDS...
    cat <<EOP
[machine.$1]
memory = "128M"
kernel = "full/vmlinuz"
initrd = "full/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 ${*:2}"
nic = [{model = "$model", uplink = "tap:bp0"}]
EOP
}
{
    model=virtio-net
    machine alpha bp.role=web bp.ip=10.9.0.10 bp.url=http://10.9.0.1:8000/file
    model=e1000
    machine beta bp.role=web bp.ip=10.9.0.11 bp.url=http://10.9.0.10/file
} >rack.toml

inside "$backplane" run rack.toml --report report.json --timeout 400 >run.out 2>run.err </dev/null &
rack=$!
for ((second = 0; second < 400; ++second)); do
    [ "$(grep -ac '@@SERVING' run.out)" = 2 ] && break
    kill -0 $rack 2>/dev/null || break
    sleep 1
done
[ "$(grep -ac "@@FETCHED bytes=300000 sha256=$sum" run.out)" = 2 ] ||
    { tail -n 30 run.out run.err; die "a machine did not fetch the file"; }
for address in 10.9.0.10 10.9.0.11; do
    fetched=$(inside curl -s --max-time 120 "http://$address/file" | sha256sum | cut -d ' ' -f 1)
    [ "$fetched" = "$sum" ] || die "the host fetched $fetched from $address instead of $sum"
    inside curl -s --max-time 60 "http://$address:81/" >/dev/null # any connection ends the machine
done
wait $rack || { tail -n 30 run.out run.err; die "exit code $?"; }
python3 - <<'EOP' || die "the report"
import json
report = json.load(open("report.json"))
link, = report["links"]
assert link["name"] == "uplink tap:bp0", link["name"]
assert not report["rack"]["repeatable"], report["rack"]
assert link["detected"]["default_mapping"] > 40 and link["detected"]["destination"] == 0, link
# The host's segments and alpha's are not cut between them; for beta's e1000 they are.
assert link["whole_frames"] > 20 and link["unsummed_frames"] > 40 and link["cut_frames"] > 0, link
assert link["outside_frames"] > 40 and link["remaps_to_uplink"] > 0 and link["remaps_to_peer"] > 0, link
EOP

# With the device down the host refuses every frame, and the report says how many.
inside ip link set bp0 down
machine gamma bp.role=web bp.ip=10.9.0.12 bp.url=http://10.9.0.1:8000/file >rack.toml
inside timeout 300 "$backplane" run rack.toml --report down.json --timeout 60 >run.out 2>run.err </dev/null
python3 - <<'EOP' || { tail -n 30 run.out run.err; die "the report of a device that is down"; }
import json
link, = json.load(open("down.json"))["links"]
assert link["drops"]["host_device_down"] > 0 and link["drops"]["refused_by_the_host"] == 0, link
EOP
