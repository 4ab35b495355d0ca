#!/bin/bash
# Ten Debian machines on one link, one of them with four processors, talk in pairs; and the demo: the same instruction counts,
# trace, figures and consoles on one and on two host threads, with and without address randomization, beside another busy
# process. With BACKPLANE_LONG set (./test --long) five times each.
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

# The demo, whole: tests/system/two_machines.sh has the short form.
ln -s "$images/full" full
cp "$tests/../../examples/01-two-machines/rack.toml" demo.toml

fixed=(setarch "$(uname -m)" --addr-no-randomize)
"${fixed[@]}" true 2>/dev/null || fixed=()
busy=
trap 'kill $busy 2>/dev/null; rm -rf "$work"' EXIT
load() { # load on|off: another process that is busy
    [ -z "$busy" ] || kill "$busy"
    busy=
    [ "$1" = off ] || { while :; do :; done & busy=$!; }
}
runs=0
run() { # run RACK THREADS [COMMAND...]: under that command; the first run of a rack is what the others must be
    local rack=$1 threads=$2
    [ -e "$rack.json" ] && set -- again "${@:3}" || set -- "$rack" "${@:3}"
    expect_exit 0 "${@:2}" "$backplane" run "$rack.toml" --threads "$threads" --report "$1.json" --timeout 900
    mv out "$1.txt"
    runs=$((runs + 1))
    [ "$1" = "$rack" ] || "$tests/../../tools/compare-runs" "$rack" "$1" || die "$rack with $threads threads is another run"
}

run rack 1
[ "$(grep -ac '@@OK received 65536 bytes' rack.txt)" = 10 ] || die "a file did not arrive"
run demo 1
[ "$(grep -ac '@@OK received 16777216 bytes' demo.txt)" = 2 ] || die "a file did not arrive"
load on
run rack 2 "${fixed[@]}"
run demo 2 "${fixed[@]}"
for round in ${BACKPLANE_LONG:+2 3 4 5}; do
    [ "$round" != 4 ] || load off
    for rack in rack demo; do
        run $rack 1
        run $rack 2
    done
done
echo "$runs runs"
