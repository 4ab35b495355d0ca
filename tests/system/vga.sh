#!/bin/bash
# The screen and the keyboard of a VGA adapter as console: SeaBIOS with its VGA BIOS, Linux without any serial line, and
# memtest86+, which knows nothing else.
. "$(dirname "$0")/asserts"

boot() { "$backplane" boot --vga "$@"; }
linux=(--kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" --timeout 120)

expect_exit 0 boot "${linux[@]}" --append "panic=-1 bp.role=off"
expect_line out 'Console: colour VGA\+ 80x25'
expect_line out 'printk: console \[tty0\] enabled'
expect_line out '^@@OFF '
mv out first
expect_exit 0 boot "${linux[@]}" --append "panic=-1 bp.role=off"
cmp out first || die "a second run shows another screen"

# Typed on the keyboard: a shell adds two numbers.
mkfifo keys
boot --acpi full "${linux[@]}" --append "quiet panic=-1 bp.role=shell" <keys >out 2>err &
exec 9>keys
for _ in {1..600}; do grep -aq '^/ #' out && break; sleep 0.1; done # before that there is no driver for the keyboard
printf 'echo sum=$((40 + 2)); exit\n' >&9
status=0
wait $! || status=$?
exec 9>&-
[ $status = 0 ] || { tail out err; die "exit code $status of a shell on the screen"; }
expect_line out '^sum=42$'

# On a terminal the screen is drawn where it is, in its colours.
if command -v script >/dev/null; then
    TERM=xterm script -qec "'$backplane' boot --vga ${linux[*]} --append 'quiet panic=-1 bp.role=off'" typescript >/dev/null </dev/null
    expect_line typescript $'\x1b\\[2J\x1b\\[1;1H\x1b\\[0;37;40m'
    expect_line typescript $'\x1b\\[[0-9]+;1H\x1b\\[0;37;40m@@OFF '
fi

printf '[machine.a]\nvga = true\nkernel = "%s"\ninitrd = "%s"\ncmdline = "console=tty0 quiet panic=-1 bp.role=off"\n' \
    "$images/cloud/vmlinuz" "$images/cloud/initrd.img" >rack.toml
expect_exit 0 "$backplane" run rack.toml --timeout 300
expect_line out '^a \| @@OFF '

seabios=/usr/share/seabios
if [ -e $seabios/vgabios-isavga.bin ]; then
    firmware=(--firmware $seabios/bios-256k.bin --vga-rom $seabios/vgabios-isavga.bin --acpi full)
    expect_exit 1 boot "${firmware[@]}" --timeout 60
    expect_line out '^SeaBIOS \(version '
    expect_line out '^Press ESC for boot menu'
    expect_line out '^No bootable device'
    # Escape opens the menu, and the next one leaves it; which of them came last is all the same.
    head -c 200 /dev/zero | tr '\0' '\033' | boot "${firmware[@]}" --timeout 3 >out 2>err
    expect_line out '^Select boot device:'
    expect_exit 2 boot --firmware $seabios/bios-256k.bin
    expect_line err '^backplane: --vga: a firmware shows nothing without the adapter.s BIOS; expected vga-rom as well'
fi
expect_exit 2 boot "${linux[@]}" --vga-rom "$tests/vga.sh"
expect_line err '^backplane: --vga-rom: nobody runs it without a firmware; expected firmware as well'

# memtest86+ tests RAM for ever; here for as long as it takes to see several of its tests pass.
memtest=/boot/memtest86+x64.bin
if [ -e $memtest ]; then
    expect_exit 124 boot --acpi full --kernel $memtest --boot bzimage --memory 16M --append "nosmp nobench nosm nopause" --timeout 20
    expect_line out '^ +Memtest86\+ v6'
    expect_line out 'Test #2 '
    expect_line out 'Pass:  0        Errors: 0'
    if grep -aqE 'Errors: +[1-9]' out; then die "memtest86+ found errors"; fi
fi
