#!/bin/bash
# Debian's gdb and a running Debian kernel: attach, look, break, step, watch, Ctrl-C, detach; then the machine goes on
# and powers off as if nothing had been. A second gdb holds a machine before its first instruction, and kills it.
. "$(dirname "$0")/asserts"
command -v gdb >/dev/null || { echo "no gdb (Debian package gdb)"; exit 77; }

wait_for() { # wait_for FILE PATTERN: until a line of the file is like the pattern
    for _ in $(seq 600); do
        grep -aqE -- "$2" "$1" 2>/dev/null && return
        sleep 0.1
    done
    tail -n 30 "$1"
    die "no line like '$2' came in $1"
}
debug() { timeout 120 gdb -nx -q -batch -ex 'set pagination off' -ex 'set confirm off' -ex 'target remote ./gdb.socket' "$@"; }
boot() {
    "$backplane" boot --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" \
        --append "console=ttyS0 quiet panic=-1 nokaslr $1" --gdb ./gdb.socket --timeout 300 "${@:2}"
}

mkfifo keys
boot bp.role=shell <keys >console 2>boot.err &
machine=$!
exec 3>keys
wait_for console '@@INIT role=shell'
expect_line boot.err 'gdb: .*machine: ./gdb.socket'

# The entry of system calls is where LSTAR says; it begins with SWAPGS. Somebody types meanwhile.
cat >look.gdb <<'END'
printf "cs %x paging %d long %d\n", $cs & 3, ($cr0 >> 31) & 1, ($efer >> 10) & 1
info threads
set $entry = $lstar
hbreak *$entry
shell echo "echo typed-text" >keys
continue
printf "at entry %d\n", $rip == $entry
x/3bx $rip
delete
set $before = $k_gs_base
stepi
printf "stepped %d swapped %d\n", $rip - $entry, $gs_base == $before
while ((unsigned long)$rsp >> 47) == 0
  stepi
end
printf "kernel stack %d\n", ((unsigned long)$rsp >> 47) == 0x1ffff
eval "awatch *(long*)%#lx", (unsigned long)$rsp - 8
continue
printf "pushed %lx below\n", *(long*)$rsp
delete
monitor info registers
monitor gva2gpa 0xffffffff81000000
set $physical = *(long*)0xffffffff81000000
maintenance packet Qqemu.PhyMemMode:1
printf "same memory %d\n", $physical == *(long*)0x1000000
maintenance packet Qqemu.PhyMemMode:0
set $saved = $r15
set $r15 = 0x1122334455667788
flushregs
printf "written %lx\n", $r15
set $r15 = $saved
monitor info time
monitor info time
break *$entry
tbreak *$entry
continue
printf "again at entry %d\n", $rip == $entry
delete
shell touch continuing
continue
printf "interrupted\n"
x/i $rip
detach
END
timeout 120 gdb -nx -q -batch -ex 'set pagination off' -ex 'set confirm off' -ex 'target remote ./gdb.socket' \
    -x look.gdb >look.out 2>&1 &
debugger=$!
for _ in $(seq 600); do
    [ -e continuing ] || ! kill -0 $debugger 2>/dev/null && break
    sleep 0.1
done
sleep 1
kill -INT "$(pgrep -P $debugger)" 2>/dev/null # gdb is the child of timeout
wait $debugger || { cat look.out; die "gdb failed"; }
for line in 'cs [03] paging 1 long 1' 'machine CPU 0' 'at entry 1' '0x0f.0x01.0xf8' 'stepped 3 swapped 1' 'kernel stack 1' \
    'Hardware access .*watchpoint' 'pushed 2b below' '^cr0 ' '^gpa: 0x1000000' 'same memory 1' 'written 1122334455667788' \
    'again at entry 1' 'SIGINT' '^interrupted' 'detached'; do
    expect_line look.out "$line"
done
# Time stood still between the two looks at it.
[ "$(grep -a 'of virtual time' look.out | sort -u | wc -l)" = 1 ] || { cat look.out; die "time passed while stopped"; }
echo exit >&3
exec 3>&-
wait $machine || { cat console boot.err; die "exit code $? after detaching"; }
expect_line console 'typed-text'
expect_line boot.err 'powered off'
[ ! -e gdb.socket ] || die "the socket is left"

# Held from the first instruction on; Ctrl-C of the program still ends it, and kill is a crash that says so.
boot bp.role=off --gdb-wait </dev/null >console 2>boot.err &
machine=$!
wait_for boot.err 'gdb: '
debug -ex 'monitor info time' -ex 'stepi' -ex 'monitor info time' -ex kill >held.out 2>&1 || { cat held.out; die "gdb failed"; }
expect_line held.out ': 0 ns of virtual time, 0 instructions'
expect_line held.out ', 1 instructions'
status=0
wait $machine || status=$?
[ $status = 1 ] || { cat boot.err; die "exit code $status after a kill"; }
expect_line boot.err 'killed by the debugger'

# Whoever was looked at, stepped and stopped executes what it would have executed.
boot bp.role=off </dev/null >console 2>plain.err || die "exit code $?"
boot bp.role=off --gdb-wait </dev/null >console 2>boot.err &
machine=$!
wait_for boot.err 'gdb: '
debug -ex stepi -ex stepi -ex 'watch *(long*)0x8000' -ex 'thbreak *$lstar' -ex 'monitor info registers' -ex detach >same.out 2>&1 || { cat same.out; die "gdb failed"; }
wait $machine || { cat boot.err; die "exit code $? after detaching"; }
instructions() { grep -aoE '[0-9]+ instructions' "$1"; }
[ -n "$(instructions plain.err)" ] && [ "$(instructions plain.err)" = "$(instructions boot.err)" ] || { cat plain.err boot.err; die "a debugger changes the run"; }

# Two processors are two threads, each with registers of its own; a step moves only the one it is for.
mkfifo more-keys
boot bp.role=shell --cpus 2 <more-keys >console 2>boot.err &
machine=$!
exec 3>more-keys
wait_for console '@@INIT role=shell'
cat >two.gdb <<'END'
info threads
hbreak *$lstar
shell echo "echo typed" >more-keys
continue
set $here = $_thread
eval "thread %d", 3 - $here
set $other_rip = $rip
set $other_gs = $gs_base | $k_gs_base
eval "thread %d", $here
printf "own data %d\n", ($gs_base | $k_gs_base) != $other_gs
stepi
printf "stepped thread %d by %d\n", $_thread == $here, $rip - $lstar
eval "thread %d", 3 - $here
printf "the other stands %d\n", $rip == $other_rip
detach
END
debug -x two.gdb >two.out 2>&1 || { cat two.out; die "gdb failed"; }
for line in 'machine CPU 0' 'machine CPU 1' 'own data 1' 'stepped thread 1 by 3' 'the other stands 1'; do expect_line two.out "$line"; done
echo exit >&3
exec 3>&-
wait $machine || { cat console boot.err; die "exit code $? after detaching"; }

# A crash is shown before it is over.
python3 "$tests/tiny_kernel.py" triple 90900f0b # nop, nop, and ud2 without an interrupt table
"$backplane" boot --kernel triple --memory 32M --gdb ./gdb.socket --gdb-wait --timeout 60 </dev/null >console 2>boot.err &
machine=$!
wait_for boot.err 'gdb: '
debug -ex continue -ex 'info registers rip' -ex continue >crash.out 2>&1
expect_line crash.out 'SIGABRT'
expect_line crash.out 'rip +0x100002 '
status=0
wait $machine || status=$?
[ $status = 1 ] || { cat boot.err; die "exit code $status after a crash"; }

# A machine check: the handler of Debian's kernel (not that for clouds, which has none) finds it in the bank, and panics.
"$backplane" boot --kernel "$images/full/vmlinuz" --initrd "$images/full/initrd.img" --gdb ./gdb.socket --timeout 300 \
    --append "console=ttyS0 panic=-1 bp.role=shell" <keys >console 2>boot.err &
machine=$!
exec 3>keys
wait_for console '@@INIT role=shell'
debug -ex 'monitor mce 0xb600000000000135 0x1234000' -ex detach >mce.out 2>&1 || { cat mce.out; die "gdb failed"; }
expect_line mce.out 'machine check 0xb600000000000135 when processor 0 goes on'
exec 3>&-
status=0
wait $machine || status=$?
[ $status = 1 ] || die "exit code $status after a machine check"
expect_line console 'Machine Check Exception: 5 Bank 0: b600000000000135'
expect_line console 'ADDR 1234000'
expect_line console 'Kernel panic - not syncing: Fatal (local )?machine check'
