#!/bin/bash
# One, two and four host threads give the same run: instruction counts, figures and consoles. Eight machines without a kernel that
# send each other messages and pages, one that spins, one that crashes; with guest images, also two Debian machines.
. "$(dirname "$0")/asserts"

"$tests/../../guest/metal/build" metal || die "guest/metal/build"
# mov ecx, 20000000; loop $; mov dx, 0x600; mov al, 0x34; out dx, al
python3 "$tests/tiny_kernel.py" spin.elf b9002d3101e2fe66ba0006b034eef4ebfd || die "tiny_kernel.py"
python3 "$tests/tiny_kernel.py" crash.elf 0f0b || die "tiny_kernel.py"
{
    # Everything but shared pages, which one thread would have to run.
    printf '[queue]\nwindow = "1M"\ntransfer = "cow"\n[queue.group.alone]\nmachines = ["spin"]\n'
    everybody=$(printf '"m%s", ' 0 1 2 3 4 5 6 7)
    printf '[[queue.allow]]\nfrom = [%s]\nto = [%s]\ncalls = ["inline", "send", "lend"]\n' "$everybody" "$everybody"
    for pair in 0:1 2:3 4:5 6:7; do
        a=${pair%:*} b=${pair#*:}
        words=("ping m$b 300" echo)
        [ $((a % 4)) = 0 ] || words=("send m$b 60" receive)
        printf '[machine.m%s]\nmemory = "16M"\nkernel = "metal"\nboot = "multiboot"\ncmdline = "%s"\n' "$a" "${words[0]}" "$b" "${words[1]}"
    done
    printf '[machine.crash]\nmemory = "16M"\nkernel = "crash.elf"\n'
    printf '[machine.spin]\nmemory = "16M"\nkernel = "spin.elf"\ncap = "10%%"\n'
} >rack.toml
tier=()
[ "$(basename "$(dirname "$backplane")")" != build-tsan ] || tier=(--tier interpreter) # translated code is not instrumented
compare() { # compare RACK CODE
    for threads in 1 2 4; do
        expect_exit "$2" "$backplane" run "$1" --report run$threads.json --threads $threads "${tier[@]}" --timeout 400
        mv out run$threads.txt
    done
    for threads in 2 4; do
        "$tests/../../tools/compare-runs" run1 run$threads || die "$1: $threads threads differ from one"
    done
}
compare rack.toml 1
for line in '^m0 .*@@PINGED count=300' '^m3 .*@@RECEIVED pages=960 all words right'; do expect_line run2.txt "$line"; done
expect_line run2.txt '^crash .* crashed: triple fault'
python3 -c '
import json
report = json.load(open("run2.json"))
assert report["host"]["threads"] == 2 and report["host"]["shared_barriers"] > 0, report["host"]
spin = next(machine for machine in report["machines"] if machine["name"] == "spin")
assert spin["stolen_ns"] > 0.85 * spin["virtual_ns"], spin' || die "the report"

# Shared pages would make the order of the host visible, so they are one thread's.
sed '/^\[queue.group/,/^calls/d' rack.toml >shared.toml
expect_exit 1 "$backplane" run shared.toml --threads 2 "${tier[@]}" --timeout 400
expect_line out 'on one thread: \[queue\] allows shared pages'

[ -d "$images" ] || exit 0
ln -s "$images/full" full
sed '/^\[machine.idle\]/,/^\[link/{/^\[link/!d}; s/bp.bytes=16777216/bp.bytes=262144/' "$tests/../../examples/01-two-machines/rack.toml" >debian.toml
compare debian.toml 0
[ "$(grep -ac '@@OK received 262144 bytes' run2.txt)" = 2 ] || die "a file did not arrive"
