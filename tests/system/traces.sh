#!/bin/bash
# --trace-instructions and --trace-exits: what a small machine did, line by line; the bound; and that nothing changes.
. "$(dirname "$0")/asserts"

# mov ecx, 3; again: dec ecx; jnz again; mov al, 'A'; mov dx, 0x3f8; out dx, al; ud2 without an interrupt table
python3 "$tests/tiny_kernel.py" count b903000000ffc975fcb04166baf803ee0f0b
expect_exit 1 "$backplane" boot --kernel count --memory 32M --trace-instructions instructions --trace-exits exits
[ "$(wc -l <instructions)" = 10 ] || { cat instructions; die "not 10 instructions"; }
expect_line instructions '^machine 0 32 0 0000000000100000 b9 03 00 00 00  mov ecx, 0x0*3$'
expect_line instructions '^machine 6 32 0 0000000000100007 75 fc  jnz 0x0*100005$'
expect_line instructions '^machine 9 32 0 000000000010000f ee  out dx, al$'
expect_line exits '^machine [0-9]+ [0-9]+ port write 0x3f8 1 0x41 '
expect_line exits '^machine [0-9]+ [0-9]+ device 10$'
expect_line exits '^machine [0-9]+ [0-9]+ shutdown [0-9]+ .*'

expect_exit 1 "$backplane" boot --kernel count --memory 32M --trace-instructions instructions --trace-limit 200
[ "$(stat -c %s instructions)" -lt 300 ] || die "the limit does not hold"
expect_line instructions '^# the limit is reached'

# A rack: both machines in one file; and the guests execute the same with a trace as without.
printf '[machine.%s]\nmemory = "32M"\nkernel = "count"\n' one two >rack.toml
expect_exit 1 "$backplane" run rack.toml --report plain.json
expect_exit 1 "$backplane" run rack.toml --report traced.json --trace-instructions instructions --trace-exits exits
expect_line instructions '^one 0 '
expect_line instructions '^two 9 '
counts() { grep -E '"(instructions|virtual_ns|virtual_time_ns)"' "$1"; }
[ -n "$(counts plain.json)" ] && [ "$(counts plain.json)" = "$(counts traced.json)" ] || die "a trace changes the run"

expect_exit 2 "$backplane" boot --kernel count --memory 32M --trace-exits /nonexistent/trace
expect_line err '/nonexistent/trace'
