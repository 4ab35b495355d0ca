#!/bin/bash
# Several queues of a virtio-net with the stock driver: a machine of four processors works with four pairs, one of two processors with
# two of its four. Sixteen connections at once land in several queues, each with interrupts of its own, while ethtool changes
# the number of queues again and again; nothing is lost. With one queue left the others get nothing. On one and two host threads
# the run is the same.
. "$(dirname "$0")/asserts"

net=$("$tests/../../tools/guest-images" --net 2>images.log) || { cat images.log; die "no net image"; }

# What bp.role=net does here. A later archive of an initrd replaces files of an earlier.
mkdir own
cat >own/net <<'EOP'
queues() { (cd /sys/class/net/eth0/queues && echo *); }
channels() { ethtool -l eth0 | sed -n 's/^Combined:[^0-9]*//p' | tr '\n' ' '; }
# Interrupts of the card's queues so far: "input.0=5 input.1=7 ...", whatever processor took them.
interrupts() {
    awk '/virtio[0-9]+-(input|output)/ { n = 0; for (i = 2; i <= NF && $i ~ /^[0-9]+$/; ++i) n += $i; sub(/.*-/, "", $NF); printf "%s=%d ", $NF, n }' /proc/interrupts
}
fetch_part() { curl -sf --max-time 120 -o "/tmp/$1" "http://$bp_peer/$1" && [ "$(hash_of "/tmp/$1")" = "$(cat "/tmp/hash.$1")" ]; }
has() { curl -sf --max-time 10 -o /tmp/mark "http://$bp_peer/$1"; }

# Sixteen files, and as many processes that fetch the peer's, all at once.
parts='0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15'
serve_parts() {
    mkdir -p /srv
    for part in $parts; do
        head -c "$bp_bytes" /dev/urandom >/srv/$part || fail "making a file"
        hash_of /srv/$part >/srv/hash.$part
    done
    httpd -p 80 -h /srv || fail "httpd"
    echo ready >/srv/ready
}
fetch_parts() {
    retry 240 0.5 has ready || fail "$bp_peer does not serve"
    for part in $parts; do curl -sf -o "/tmp/hash.$part" "http://$bp_peer/hash.$part" || fail "no hash of $part"; done
    for part in $parts; do
        { fetch_part $part || echo "$part: curl said $?" >>/tmp/lost; echo >>/tmp/fetched; } &
    done
}
all_fetched() { [ "$(wc -l </tmp/fetched)" = 16 ]; }
change_queues() {
    changes=0
    until all_fetched; do
        for count in "$@"; do
            ethtool -L eth0 combined "$count" || fail "ethtool -L $count"
            changes=$((changes + 1))
            sleep 0.02
        done
    done
}

network_up
bp_counts=$(echo "$bp_words" | tr , ' ')
say "QUEUES $(queues)"
say "CHANNELS $(channels)"
ethtool -L eth0 combined 5 2>/dev/null && fail "five queues of four"
: >/tmp/fetched
serve_parts
fetch_parts
# shellcheck disable=SC2086
change_queues $bp_counts
[ ! -e /tmp/lost ] || fail "lost: $(cat /tmp/lost)"
say "FETCHED 16 files of $bp_bytes bytes changes=$changes"
say "INTERRUPTS $(interrupts)"
echo done >/srv/done
retry 240 0.5 has done || fail "$bp_peer never finished"
sleep 2

ethtool -L eth0 combined 1 || fail "ethtool -L 1"
say "ONE $(queues) $(channels)"
echo one >/srv/one
retry 240 0.5 has one || fail "$bp_peer never finished"
say "BEFORE $(interrupts)"
: >/tmp/fetched
fetch_parts
retry 600 0.1 all_fetched || fail "never fetched"
[ ! -e /tmp/lost ] || fail "lost: $(cat /tmp/lost)"
say "AFTER $(interrupts)"
echo end >/srv/end
retry 240 0.5 has end || fail "$bp_peer never ended"
sleep 5
EOP
{
    cat "$net/net/initrd.img"
    head -c $((-$(stat -c %s "$net/net/initrd.img") & 3)) /dev/zero
    (cd own && echo net | cpio -o -H newc --quiet)
} >initrd.img

machine() { # machine NAME CPUS NUMBER PEER COUNTS
    cat <<EOP
[machine.$1]
cpus = $2
memory = "192M"
kernel = "$net/net/vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=net bp.ip=10.0.0.$3 bp.peer=10.0.0.$4 bp.bytes=200000 bp.words=$5"
nic = [{link = "lan", model = "virtio-net", queues = 4}]
EOP
}
{
    machine alpha 4 1 2 1,3,2,4
    machine beta 2 2 1 1,2
    # Slow enough that connections are open all the time.
    printf '[link.lan]\nrate = "100M"\n'
} >rack.toml

for threads in 1 2; do
    expect_exit 0 "$backplane" run rack.toml --threads $threads --report run$threads.json --timeout 600
    mv out run$threads.txt
    ! grep -aq '@@FAIL' run$threads.txt || die "$(grep -a @@FAIL run$threads.txt)"
done
"$tests/../../tools/compare-runs" run1 run2 || die "the two runs differ"
grep -a '@@QUEUES\|@@CHANNELS\|@@FETCHED\|@@INTERRUPTS\|@@ONE\|@@BEFORE\|@@AFTER' run1.txt
expect_line run1.txt '^alpha +\| @@QUEUES rx-0 rx-1 rx-2 rx-3 tx-0 tx-1 tx-2 tx-3'
expect_line run1.txt '^beta +\| @@QUEUES rx-0 rx-1 tx-0 tx-1'
expect_line run1.txt '^alpha +\| @@CHANNELS 4 4'
expect_line run1.txt '^beta +\| @@CHANNELS 4 2'
for machine in alpha beta; do
    expect_line run1.txt "^$machine +\\| @@FETCHED 16 files of 200000 bytes"
    expect_line run1.txt "^$machine +\\| @@ONE rx-0 tx-0 4 1"
done

python3 - <<'EOF' || die "the queues' figures"
import json
import re

text = open("run1.txt", errors="replace").read()
report = json.load(open("run1.json"))

def interrupts(machine, mark):
    line, = re.findall(rf"^{machine} +\| @@{mark} (.*)", text, re.M)
    return {name: int(count) for name, count in re.findall(r"(\w+\.\d+)=(\d+)", line)}

for index, (machine, used) in enumerate({"alpha": 4, "beta": 2}.items()):
    changes, = re.findall(rf"^{machine} +\| @@FETCHED .* changes=(\d+)", text, re.M)
    assert int(changes) >= 8, f"{machine}: {changes} changes while connections were open"
    seen = interrupts(machine, "INTERRUPTS")
    assert len(seen) == 8, seen
    for kind in ("input", "output"):
        busy = [queue for queue in range(4) if seen[f"{kind}.{queue}"] > 10]
        assert len(busy) >= min(used, 3) and max(busy) < used, (machine, kind, seen)
    before, after = interrupts(machine, "BEFORE"), interrupts(machine, "AFTER")
    grown = [name for name in before if after[name] != before[name]]
    assert "input.0" in grown and not [name for name in grown if not name.endswith(".0")], (machine, before, after)
    queues = report["machines"][index]["nics"][0]["queues"]
    print(machine, queues)
    assert len(queues) == 4 and all(queue == {"sent_frames": 0, "received_frames": 0} for queue in queues[used:]), queues
    assert sum(queue["received_frames"] > 50 for queue in queues) >= min(used, 3), queues
    nic = report["machines"][index]["nics"][0]
    for key in ("sent_frames", "received_frames"):
        assert sum(queue[key] for queue in queues) == nic[key], (key, nic)
link, = report["links"]
assert link["drops"]["no_buffer_posted"] == 0 and link["drops"]["withdrawn_by_the_sender"] == 0, link["drops"]
EOF
