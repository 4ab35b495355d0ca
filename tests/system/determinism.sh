#!/bin/bash
# Ten Debian machines on one link, one of them with four processors, talk in pairs: the same instruction counts, trace, figures and consoles
# on one and on two host threads, with and without address randomization, beside another busy process. With BACKPLANE_LONG set
# (./test --long) five times each.
. "$(dirname "$0")/asserts"

machine() { # machine NAME FLAVOUR MODEL CPUS WORDS
    cat <<EOP
[machine.$1]
memory = "128M"
cpus = $4
kernel = "$images/$2/vmlinuz"
initrd = "$images/$2/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 $5"
nic = [{ model = "$3", link = "lan" }]
EOP
}
{
    for pair in 1:2:full:e1000:1 3:4:full:virtio-net:1 5:6:cloud:virtio-net:1 7:8:cloud:virtio-net:1 9:10:cloud:virtio-net:4; do
        IFS=: read -r a b flavour model cpus <<<"$pair"
        for side in "$a $b $cpus" "$b $a 1"; do
            read -r me peer count <<<"$side"
            machine "m$me" "$flavour" "$model" "$count" "bp.role=talk bp.bytes=65536 bp.pings=2 bp.ip=10.0.0.$me bp.peer=10.0.0.$peer"
        done
    done
    printf '[link.lan]\nlatency = "300us"\n'
} >rack.toml

run() { # run NAME THREADS [COMMAND...]: under that command
    expect_exit 0 "${@:3}" "$backplane" run rack.toml --threads "$2" --report "$1.json" --timeout 900
    mv out "$1.txt"
    [ "$1" = first ] || "$tests/../../tools/compare-runs" first "$1" || die "the run $1 is another one"
}
run first 1
[ "$(grep -ac '@@OK received 65536 bytes' first.txt)" = 10 ] || die "a file did not arrive"
fixed=(setarch "$(uname -m)" --addr-no-randomize)
"${fixed[@]}" true 2>/dev/null || fixed=()
while :; do :; done &
busy=$!
trap 'kill $busy 2>/dev/null; rm -rf "$work"' EXIT
run loaded 2 "${fixed[@]}"
[ -n "${BACKPLANE_LONG:-}" ] || exit 0
for round in 1 2 3 4 5; do
    run one$round 1
    run two$round 2
    [ $round != 3 ] || kill $busy
done
