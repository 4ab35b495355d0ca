#!/bin/bash
# Machines that misbehave end alone, with a cause; the others go on. And the ways a run is ended from outside.
. "$(dirname "$0")/asserts"

python3 "$tests/tiny_kernel.py" triple 0f0b     # ud2 without an interrupt table
python3 "$tests/tiny_kernel.py" spin ebfe       # jmp to itself
python3 "$tests/tiny_kernel.py" halt faf4ebfd   # cli; hlt; and again

machine() { printf '[machine.%s]\nmemory = "%s"\nkernel = "%s"\n' "$@"; }

machine bad 32M triple >rack.toml
expect_exit 1 "$backplane" run rack.toml --timeout 60 --report report.json
expect_line out 'bad .*crashed: .*rip 0x100000'
expect_line report.json '"state": "crashed"'

{ machine bad 32M triple; machine good 256M "$images/cloud/vmlinuz"
  printf 'initrd = "%s"\ncmdline = "console=ttyS0 quiet panic=-1 bp.role=off"\n' "$images/cloud/initrd.img"; } >rack.toml
expect_exit 1 "$backplane" run rack.toml --timeout 300
expect_line out '^good \| @@OFF '
expect_line out 'good .*powered off'

machine spinning 32M spin >rack.toml
expect_exit 124 "$backplane" run rack.toml --timeout 2
expect_line out 'spinning '
expect_exit 124 "$backplane" boot --kernel spin --memory 32M --timeout 2

# Nothing can wake it, so it must neither spin the host nor end as powered off.
machine halted 32M halt >rack.toml
status=0
"$backplane" run rack.toml --timeout 5 >out 2>err </dev/null || status=$?
[ $status = 1 ] || [ $status = 124 ] || { cat out err; die "exit code $status of a machine that halted for good"; }

machine spinning 32M spin >rack.toml
"$backplane" run rack.toml --timeout 60 --report interrupted.json >out 2>err </dev/null &
pid=$!
sleep 1
kill -INT $pid
status=0
wait $pid || status=$?
[ $status = 130 ] || { cat out err; die "exit code $status after Ctrl-C"; }
expect_line interrupted.json '"ending": "interrupted"'
