#!/bin/bash
# Debian's SeaBIOS, unmodified, from the reset vector to its boot menu on the serial line.
. "$(dirname "$0")/asserts"

seabios=/usr/share/seabios
[ -e $seabios/bios-256k.bin ] || { echo "the package seabios is not installed"; exit 77; }

for image in bios-256k.bin bios.bin; do
    # Nothing to start: it says so, waits for a minute of virtual time, and resets the machine.
    expect_exit 1 "$backplane" boot --firmware $seabios/$image --acpi full --timeout 60
    expect_line out 'SeaBIOS \(version '
    expect_line out 'Press ESC for boot menu'
    expect_line out 'No bootable device'
    expect_line err 'reset by the guest'
done

# Its own messages, at the debug port: it found fw_cfg, linked the ACPI tables and saw the whole memory.
expect_exit 1 "$backplane" boot --firmware $seabios/bios-256k.bin --acpi full --memory 4G --debug-console --timeout 60
expect_line out 'QEMU fw_cfg DMA interface supported'
expect_line out 'ACPI: parse DSDT'
expect_line out 'PS2 keyboard initialized'
expect_line out '0000000100000000 - 0000000140000000 = 1 RAM'

# Keys that come by the serial line: the menu opens.
status=0
head -c 200 /dev/zero | tr '\0' '\033' | "$backplane" boot --firmware $seabios/bios-256k.bin --timeout 3 >out 2>err || status=$?
[ $status = 124 ] || die "exit code $status of a menu that waits"
expect_line out 'Select boot device:'

expect_exit 2 "$backplane" boot --firmware "$tests/firmware.sh" --timeout 60
expect_line err 'firmware.sh: [0-9]+ bytes: expected a flat firmware image'
printf '[machine.a]\nfirmware = "%s"\nacpi = "full"\n' $seabios/bios.bin >rack.toml
expect_exit 1 "$backplane" run rack.toml --timeout 60
expect_line out 'a | .*No bootable device'
