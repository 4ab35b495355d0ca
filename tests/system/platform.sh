#!/bin/bash
# The PC around the processor: Debian's kernel finds and uses the timers, interrupt controllers and the clock that the
# full ACPI tables name; it runs on the 8259s alone; the debug exit's status is the exit code.
. "$(dirname "$0")/asserts"

boot() {
    "$backplane" boot --acpi full --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" --timeout 300 "$@"
}

expect_exit 0 boot --append "panic=-1 bp.role=off"
expect_line out 'ACPI: PM-Timer IO Port: 0x628'
expect_line out 'PCI: MMCONFIG at \[mem 0xfef00000-0xfeffffff\] reserved'
expect_line out 'setting system clock to 2026-01-01T00:00:00 UTC'
expect_line out 'AT Translated Set 2 keyboard'
expect_line out '@@OFF '
if grep -aqE 'ACPI (BIOS )?(Error|Warning)' out; then die "the kernel complains about the tables"; fi

# The HPET: it counts time, and interrupts in place of the 8254 and the clock.
expect_exit 0 boot --hpet --append "panic=-1 bp.role=off clocksource=hpet"
expect_line out 'hpet0: 3 comparators, 64-bit 100.000000 MHz counter'
expect_line out 'clocksource: Switched to clocksource hpet'
expect_line out 'rtc_cmos .* hpet irqs'
expect_line out '@@OFF '
if grep -aqE 'ACPI (BIOS )?(Error|Warning)' out; then die "the kernel complains about the tables"; fi

# Interrupts by the 8259s, through LINT0 and then without any APIC, where the 8254 is the only timer.
expect_exit 0 boot --append "panic=-1 bp.role=off noapic"
expect_line out '@@OFF '
expect_exit 0 boot --append "panic=-1 bp.role=off nolapic"
expect_line out 'Keep in PIC mode\(8259\)'
expect_line out '@@OFF '

python3 "$tests/tiny_kernel.py" leave b015e6f4ebfe # mov al, 21; out 0xf4, al
expect_exit 43 "$backplane" boot --kernel leave --memory 32M --debug-exit --timeout 60
expect_line err 'powered off .*exit status 43'
expect_exit 124 "$backplane" boot --kernel leave --memory 32M --timeout 1
printf '[machine.%s]\nmemory = "32M"\nkernel = "leave"\ndebug-exit = true\n' a b >rack.toml
expect_exit 0 "$backplane" run rack.toml --timeout 60 --report report.json
expect_line out 'powered off, exit status 43'
expect_line report.json '"exit_status": 43'
