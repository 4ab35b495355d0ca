#!/bin/bash
# Claim S3.5: a stock Debian kernel with four processors (two cores of two threads), and a program that depends on atomics, memory
# order, patched code and TLB shootdowns (guest/smptest.c). The same run twice, on one and on two host threads; then two and sixteen processors, and the
# firmware's way to start them.
. "$(dirname "$0")/asserts"

cat >rack.toml <<EOP
[machine.many]
cpus = 4
threads-per-core = 2
memory = "128M"
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=smp"
[machine.one]
memory = "128M"
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=idle bp.secs=2"
EOP
for threads in 1 2; do
    expect_exit 0 "$backplane" run rack.toml --threads $threads --report $threads.json --timeout 300
    mv out $threads.txt
done
expect_line 1.txt '^many +\| @@SMPTEST 4 processors;.*;0 failed;'
for part in affinity 'lock inc' 'lock cmpxchg' peterson 'store buffering' 'message passing' tsc futex 'cross-modifying code' shootdown; do
    expect_line 1.txt "@@SMPTEST.*;$part: ok "
done
expect_line 1.txt '^many +\| @@CPUS online=0-3 siblings=0-1'
expect_line 1.txt '^many +\| @@IPIS RES:[1-9][0-9]* CAL:[1-9][0-9]* TLB:[1-9]'
expect_line 1.txt '^many +\| @@HOTPLUG without=0,2-3 with=0-3'
cmp <(grep -a '|' 1.txt) <(grep -a '|' 2.txt) || die "two runs have said different things"

python3 - <<'EOP' || die "the report"
import json
one, two = (json.load(open(f"{threads}.json")) for threads in (1, 2))
assert one["rack"]["trace_hash"] == two["rack"]["trace_hash"], "the number of host threads shows"
assert one["machines"] == two["machines"]
many, single = one["machines"]
print([cpu["instructions"] for cpu in many["cpus"]])
assert len(many["cpus"]) == 4 and all(cpu["interrupts"] > 100 for cpu in many["cpus"]), many["cpus"]
assert many["instructions"] == sum(cpu["instructions"] for cpu in many["cpus"])
assert len(single["cpus"]) == 1
EOP

for cpus in 2 16; do
    expect_exit 0 "$backplane" boot --cpus $cpus --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" \
        --append 'console=ttyS0 panic=-1 bp.role=off' --timeout 120
    expect_line out "smp: Brought up 1 node, $cpus CPUs"
done
for bad in '--cpus 0' '--cpus 17' '--cpus 3 --threads-per-core 2'; do
    # shellcheck disable=SC2086
    expect_exit 2 "$backplane" boot --kernel "$images/cloud/vmlinuz" $bad
done
