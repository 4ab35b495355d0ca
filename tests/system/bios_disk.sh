#!/bin/bash
# Debian's kernel from a disk image through Debian's SeaBIOS and SYSLINUX, all unmodified.
. "$(dirname "$0")/asserts"
bios=/usr/share/seabios/bios-256k.bin
[ -e $bios ] || { echo "the package seabios is not installed"; exit 77; }
for tool in syslinux mformat mcopy; do
    command -v $tool >/dev/null || { echo "$tool is not installed (packages syslinux, mtools)"; exit 77; }
done

truncate -s 40M disk.img
mformat -i disk.img -F :: || die "mformat"
cat >syslinux.cfg <<'EOC'
SERIAL 0 115200
DEFAULT linux
PROMPT 0
LABEL linux
KERNEL vmlinuz
INITRD initrd.img
APPEND console=ttyS0 quiet panic=-1 bp.role=off
EOC
mcopy -i disk.img "$images/cloud/vmlinuz" "$images/cloud/initrd.img" syslinux.cfg :: || die "mcopy"
syslinux --install disk.img || die "syslinux"

expect_exit 0 "$backplane" boot --firmware $bios --acpi full --disk disk.img --snapshot --timeout 200
expect_line out 'Booting from Hard Disk'
expect_line out 'SYSLINUX 6'
expect_line out '@@INIT role=off'
