#!/bin/bash
# The build with address and undefined-behaviour sanitizers boots Debian's kernel (in both tiers when BACKPLANE_LONG is set,
# as ./test --long does), with a disk, network cards, a screen, two processors and an HPET. Nothing is reported, and it is
# the same run as that of the release build, to the last instruction.
. "$(dirname "$0")/asserts"
sanitized=$tests/../../build-debug/backplane
[ -x "$sanitized" ] || { echo "there is no debug build (cmake --preset debug)"; exit 77; }

head -c 1048576 /dev/zero >disk.img
cat >rack.toml <<EOP
[machine.a]
memory = "128M"
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=off clocksource=hpet"
acpi = "full"
hpet = true
nic = [{link = "lan"}, {link = "lan", model = "virtio-net"}]
disk = [{image = "disk.img", snapshot = true}]
[machine.b]
memory = "128M"
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=tty0 panic=-1 bp.role=off"
cpus = 2
vga = true
[link.lan]
EOP
expect_exit 0 "$backplane" run rack.toml --timeout 120 --report release.json
mv out release.out
for tier in translator ${BACKPLANE_LONG:+interpreter}; do
    expect_exit 0 "$sanitized" run rack.toml --tier $tier --timeout 300 --report sanitized.json
    if grep -aE 'ERROR: AddressSanitizer|runtime error' out err; then die "the sanitizers found something"; fi
    expect_line out '^a \| @@OFF '
    expect_line out '^b \| @@OFF '
    python3 - <<'EOP' || die "the $tier of the sanitized build gives another run"
import json
release, sanitized = (json.load(open(name)) for name in ("release.json", "sanitized.json"))
for report in (release, sanitized):
    del report["host"]
assert release == sanitized, (release, sanitized)
EOP
done
