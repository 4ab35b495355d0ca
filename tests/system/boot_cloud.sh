#!/bin/bash
# One machine: Debian's cloud kernel reaches /init, and how it ends is the exit code.
. "$(dirname "$0")/asserts"

boot() { "$backplane" boot --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" --timeout 300 "$@"; }

expect_exit 0 boot --append "console=ttyS0 quiet panic=-1 bp.role=off"
expect_line out '@@INIT role=off '
expect_line out '@@OFF '

# A panic resets the machine (panic=-1), and that is no clean end.
expect_exit 1 boot --append "console=ttyS0 quiet panic=-1 bp.role=nonsense"
expect_line out '@@FAIL unknown role nonsense'
expect_line err 'reset by the guest'
