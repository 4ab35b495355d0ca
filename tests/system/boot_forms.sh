#!/bin/bash
# The ways into a kernel: a bzImage that unpacks itself in the machine, and multiboot with a module.
. "$(dirname "$0")/asserts"

expect_exit 0 "$backplane" boot --boot bzimage --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" \
    --append "panic=-1 bp.role=off" --timeout 300
expect_line out '@@OFF '

# The module's second byte, then the lowest byte of EAX (the magic number), leave by the debug exit:
#   cmp eax, 0x2badb002; jne fail; mov esi, [ebx + 24]; mov esi, [esi]; mov al, [esi + 1]; out 0xf4, al
#   fail: mov al, 0x7f; out 0xf4, al
python3 "$tests/tiny_multiboot.py" kernel 3d02b0ad2b750d8b73188b368a4601e6f4f4ebfdb07fe6f4f4
printf 'ABC' >module
expect_exit $((0x42 * 2 + 1)) "$backplane" boot --boot multiboot --kernel kernel --initrd module --memory 32M \
    --debug-exit --timeout 60
expect_exit 2 "$backplane" boot --boot multiboot --kernel module --memory 32M
expect_line err 'module: not a multiboot kernel: no multiboot header'
expect_exit 2 "$backplane" boot --boot bzimage --kernel kernel --memory 32M
expect_line err 'kernel: not a bzImage'
printf '[machine.a]\nmemory = "32M"\nkernel = "kernel"\ninitrd = "module"\nboot = "multiboot"\ndebug-exit = true\n' >rack.toml
expect_exit 0 "$backplane" run rack.toml --timeout 60
expect_line out 'powered off, exit status 133'
