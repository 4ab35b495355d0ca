#!/bin/bash
# --gdb-jit: a GDB that debugs the program itself stops in a handler that translated code called, and knows the block, the
# thunk and whoever entered them.
. "$(dirname "$0")/asserts"
command -v gdb >/dev/null || { echo "no gdb (Debian package gdb)"; exit 77; }

cat >look.gdb <<'END'
set pagination off
set confirm off
handle SIGSEGV nostop noprint pass
break backplane::JitRuntime::call_handler
run
printf "stopped\n"
info symbol *(void**)($rsp + 16)
backtrace
kill
END
look() {
    timeout 120 gdb -nx -q -batch -x look.gdb --args "$backplane" boot --kernel "$images/cloud/vmlinuz" \
        --initrd "$images/cloud/initrd.img" --append "quiet panic=-1 bp.role=off" --memory 128M --timeout 100 "$@" >seen 2>&1 </dev/null
    grep -q '^stopped' seen || { tail -n 20 seen; die "gdb did not get to the handler"; }
}
look --gdb-jit
expect_line seen '^bp_(user|kernel)_0x[0-9a-f]+@machine\.cpu0 \+ [0-9]+ in section \.text of <in-memory@'
expect_line seen '^#1 .* in bp_thunk_call_handler@machine\.cpu0 \(\)'
expect_line seen '^#2 .* in bp_(user|kernel)_0x[0-9a-f]+@machine\.cpu0 \(\)'
expect_line seen '^#[0-9]+ .* in backplane::Machine::run_until'
expect_line seen '^#[0-9]+ .* (in )?_start \(\)'
look
! grep -q 'bp_' seen || die "gdb was told of code without --gdb-jit"
