#!/bin/bash
# In whatever phase a machine crashes, hangs or is stopped, the others go on: in the middle of messages and page transfers, with the
# timeline on and the same on one and two host threads; with guest images also in the firmware, early and late in the kernel, at the
# first process and in the middle of a download.
. "$(dirname "$0")/asserts"

export XDG_RUNTIME_DIR=$work
"$tests/../../guest/metal/build" metal || die "guest/metal/build"
tier=()
[ "$(basename "$(dirname "$backplane")")" != build-tsan ] || tier=(--tier interpreter) # translated code is not instrumented

# Everything but shared pages, which one thread would have to run.
queue() { # queue MACHINE...
    local all
    all=$(printf '"%s", ' "$@")
    printf '[queue]\nwindow = "1M"\ntransfer = "cow"\n[queue.group.alone]\nmachines = ["%s"]\n' "$1"
    printf '[[queue.allow]]\nfrom = [%s]\nto = [%s]\ncalls = ["inline", "send", "lend"]\n' "$all" "$all"
}
metal() { printf '[machine.%s]\nmemory = "16M"\nkernel = "metal"\nboot = "multiboot"\ncmdline = "%s"\n' "$@"; }
good_pairs() { metal ping "ping echo 300"; metal echo echo; metal send "send receive 60"; metal receive receive; }
expect_good_pairs() {
    for line in '^ping .*@@PINGED count=300' '^echo .*@@ECHOED' '^send .*@@SENT pages=960' '^receive .*@@RECEIVED pages=960 all words right'; do
        expect_line "$1" "$line"
    done
}
{
    queue ping echo send receive a0 a1 b0 b1 c0 c1 c2 d0 d1 e0 e1
    good_pairs
    metal a0 "ping a1 300"; metal a1 "crash 7 echo"             # short messages are on their way both ways
    metal b0 "send b1 60"; metal b1 "crash 5 receive"           # it holds donated pages as its RAM
    metal c0 "crash 9 send c1 60"; metal c1 receive             # its pages are on their way, or its peer's RAM
    metal c2 "late ping c1 0"                                   # ends c1
    metal d0 "crash 1 ping d1 3"; metal d1 echo                 # its greeting is on its way
    metal e0 "crash 1 receive"; metal e1 "send e0 3"            # it has posted pages that nobody has filled
} >queue.toml
for threads in 1 2; do
    expect_exit 1 "$backplane" run queue.toml --threads $threads "${tier[@]}" --trace $threads.trace --report run$threads.json --timeout 300
    mv out run$threads.txt
    expect_good_pairs run$threads.txt
done
"$tests/../../tools/compare-runs" run1 run2 || die "two threads differ from one"
grep -q '"shared_barriers": [1-9]' run2.json || die "nothing was shared among threads"
cmp 1.trace 2.trace || die "the timelines differ"
for name in a1 b1 c0 d0 e0; do expect_line run2.txt "^$name .* crashed: triple fault"; done
for line in '^a0 .* crashed: halted with nothing left to wake it up' '^b0 .*@@FAIL donating: the receiver is gone' \
    '^c1 .*@@RECEIVED pages=[1-9].* all words right' '^d1 .* crashed: halted with nothing left to wake it up' '^e1 .*@@FAIL .*: the receiver is gone'; do
    expect_line run2.txt "$line"
done

# From here on machines are stopped from outside, at no exact time.
ctl() { "$backplane" ctl "$rack" "$@"; }
start() { # start RACK: in the background
    rack=$1
    "$backplane" run "$1.toml" --threads 2 "${tier[@]}" --timeout 300 --report "$1.json" >"$1.txt" 2>&1 </dev/null &
    run=$!
    trap 'kill $run 2>/dev/null; rm -rf "$work"' EXIT
}
wait_until() { for _ in $(seq 600); do "$@" && return; kill -0 $run || break; sleep 0.1; done; tail -n 30 "$rack.txt"; die "never: $*"; }
says() { grep -aqE "$1" "$rack.txt"; }
expect_end() { # expect_end CODE
    local status=0
    wait $run || status=$?
    [ $status = "$1" ] || { tail -n 40 "$rack.txt"; die "exit code $status instead of $1"; }
}

# Hanging machines take their turns until they are stopped; who waits for one of them learns it then.
{
    queue ping echo send receive a0 a1 b0 b1
    good_pairs
    metal a0 "send a1 60"; metal a1 "hang 5 receive"
    metal b0 "hang 9 send b1 60"; metal b1 receive
} >hang.toml
start hang
wait_until eval 'says "^ping .*@@PINGED" && says "^receive .*@@RECEIVED"'
expect_exit 0 ctl pause
expect_exit 0 ctl stop a1   # while the rack stands still
expect_exit 0 ctl resume
wait_until says '^a0 .*@@FAIL donating: '
expect_exit 0 ctl stop b1   # halted
for name in b1 ping; do    # stopped; powered off
    expect_exit 2 ctl stop $name
    expect_line err "machine $name does not run any more"
done
expect_exit 0 ctl stop b0
expect_end 0
expect_good_pairs hang.txt
for name in a1 b0 b1; do expect_line hang.txt "^$name .* stopped"; done
for name in a0 ping; do expect_line hang.txt "^$name .* powered off"; done

[ -d "$images" ] || exit 0
ln -s "$images/cloud" cloud
head -c 300000 cloud/initrd.img >cut.img
debian() { # debian NAME INITRD WORDS
    printf '[machine.%s]\nmemory = "128M"\nkernel = "cloud/vmlinuz"\ninitrd = "%s"\ncmdline = "console=ttyS0 quiet panic=-1 %s"\n' "$@"
}
{
    debian first cloud/initrd.img bp.role=off                         # stopped before its first output
    debian early cloud/initrd.img 'earlyprintk=ttyS0 mem=4M'          # panics before it knows what panic= says, and hangs
    printf 'cap = "10%%"\n'
    debian late cut.img ''                                            # panics without a root file system
    debian init cloud/initrd.img rdinit=/bin/busybox                  # its first process ends
    debian server cloud/initrd.img 'bp.role=serve bp.ip=10.0.0.1 bp.bytes=20000000 bp.secs=1000000'
    debian client cloud/initrd.img 'bp.role=fetch bp.ip=10.0.0.2 bp.peer=10.0.0.1 bp.bytes=20000000 bp.count=1000000'
    debian alpha cloud/initrd.img 'bp.role=serve bp.ip=10.0.0.3 bp.bytes=1000000 bp.secs=2'
    debian beta cloud/initrd.img 'bp.role=fetch bp.ip=10.0.0.4 bp.peer=10.0.0.3 bp.bytes=1000000 bp.count=3'
    for name in server client alpha beta; do
        printf '[[machine.%s.nic]]\nmodel = "virtio-net"\nlink = "lan"\n' $name
    done
    printf '[machine.firmware]\nmemory = "32M"\nfirmware = "/usr/share/seabios/bios-256k.bin"\n[link.lan]\nuplink = "none"\n'
} >debian.toml
start debian
wait_until eval 'ctl stats >/dev/null 2>&1'
expect_exit 0 ctl stop first
expect_exit 0 ctl stop firmware
wait_until says '^client .*@@BEGIN'
sleep 0.5
expect_exit 0 ctl stop server   # a download is under way
wait_until says '^alpha .*@@OFF'
wait_until says '^beta .*@@OFF'
expect_exit 0 ctl stop client
expect_exit 0 ctl stop early
expect_end 1
expect_line debian.txt '^beta .*@@END .* bytes=3000000'
for name in first firmware server client early; do expect_line debian.txt "^$name .* stopped"; done
for name in late init; do expect_line debian.txt "^$name .* crashed: reset by the guest"; done
for name in alpha beta; do expect_line debian.txt "^$name .* powered off"; done
expect_line debian.txt '^early .*Kernel panic'
expect_line debian.txt '^late .*Unable to mount root fs'
expect_line debian.txt '^init .*Attempted to kill init'
! says '^first .*@@INIT' || die "first was stopped too late to show anything"
