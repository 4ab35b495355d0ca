#!/bin/bash
# A link's `rate` as guests see it: a transfer takes the time that its bytes take at that rate, on the guest's own clock, and only
# little more. Two e1000 on a slow link, and two virtio-net whose rate holds for one direction only; then the same without a rate.
# All times are virtual: they are the same on every host.
. "$(dirname "$0")/asserts"

bytes=4000000
machine() { # machine NAME MODEL LINK WORDS
    cat <<EOP
[machine.$1]
memory = "128M"
kernel = "$images/full/vmlinuz"
initrd = "$images/full/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.bytes=$bytes $4"
nic = [{link = "$3", model = "$2"}]
EOP
}
pair() { # pair SERVER CLIENT MODEL LINK
    machine "$1" "$3" "$4" "bp.role=serve bp.ip=10.0.0.1 bp.secs=20"
    machine "$2" "$3" "$4" "bp.role=fetch bp.ip=10.0.0.2 bp.peer=10.0.0.1"
}
{
    pair slow-server slow-client e1000 slow
    pair down-server down-client virtio-net down
    pair up-server up-client virtio-net up
    printf '[link.slow]\nrate = "10M"\n[link.down]\n[link.down.from.down-server]\nrate = "40M"\n[link.up]\n[link.up.from.up-client]\nrate = "1M"\n'
} >limited.toml
sed '/^rate/d' limited.toml >free.toml
for rack in limited free; do
    expect_exit 0 "$backplane" run $rack.toml --report $rack.json --timeout 600
    mv out $rack.txt
done

python3 - "$bytes" <<'EOP' || die "the times"
import json
import re
import sys

bytes_sent = int(sys.argv[1])
TICK_S = 0.01  # /proc/uptime shows whole hundredths

def seconds(rack, client):
    text = open(f"{rack}.txt", errors="replace").read()
    begin, = re.findall(rf"^{client} +\| @@BEGIN ([0-9.]+)", text, re.M)
    end, count = re.search(rf"^{client} +\| @@END ([0-9.]+) bytes=(\d+)", text, re.M).groups()
    assert int(count) == bytes_sent
    return float(end) - float(begin)

for pair, rate in {"slow": 10e6, "down": 40e6}.items():
    least = bytes_sent * 8 / rate
    limited, free = (seconds(rack, f"{pair}-client") for rack in ("limited", "free"))
    print(f"{pair}: {least:.2f} s at the rate, {limited:.2f} s with it, {free:.2f} s without")
    assert limited >= least - TICK_S, "faster than the link"
    assert limited <= least * 1.02 + 2 * TICK_S, "slower than the link: the headers of large segments are 0.1% of them"
    assert free < least / 10, "the rate was not what limited it"
limited, free = (seconds(rack, "up-client") for rack in ("limited", "free"))
print(f"up: {limited:.2f} s with a rate in the other direction, {free:.2f} s without")
assert limited < bytes_sent * 8 / 1e6 / 50, "the rate of the acknowledgements held for the data"
EOP
