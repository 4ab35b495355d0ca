#!/bin/bash
# A window whose memory is not the rack's: POSIX shared memory. An ordinary process of the host reads there what a Debian guest writes
# into its section, and the guest reads what the process writes into the section of the peer outside; machines still write nothing
# of others'. Then a Debian guest of QEMU is the peer outside, with the same memory behind its ivshmem-plain. The file is
# never cleared, shortened or lengthened.
. "$(dirname "$0")/asserts"

file=/dev/shm/backplane-window-$$
party=
trap '[ -z "$party" ] || kill $party 2>/dev/null; rm -rf "$work" "$file"' EXIT
common=4096 section=65536 bytes=262144
used=$((common + 3 * section))
head -c $bytes /dev/zero >$file
noise() { head -c 2048 /dev/urandom | dd of=$file bs=2048 seek=$1 conv=notrunc status=none; }
noise 1               # the end of the common part
noise $((used / 2048)) # behind the sections
kept() { dd if=$file bs=2048 skip=1 count=1 status=none; tail -c +$((used + 1)) $file; }
kept >kept.before

ln -s "$images/cloud" cloud
machine() { # machine NAME WORDS
    cat <<EOP
[machine.$1]
memory = "128M"
kernel = "cloud/vmlinuz"
initrd = "cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=window bp.words=$2"
EOP
}
{
    cat <<EOP
[window]
section = "64K"
common = "4K"
backing = "$file"
outside = 1
EOP
    machine alpha info+poke,2+poll,send,2,1048576+poll,recv,2+send,1,2097152
    machine beta poke,2+poll,recv,0
} >rack.toml

expect_exit 0 "$backplane" check rack.toml
expect_line out "^window: 64K a machine: alpha, beta; 4K in common; 1 outside; the memory of $file\$"
expect_exit 2 "$backplane" run rack.toml --verify
expect_line err 'both tiers would write to one memory; expected no window.backing'

# same_sum WHERE WHAT BYTES FILE WHAT: both say the same sum
sum_in() { grep -aoE "$2 $3 bytes sum=[0-9a-f]{16}" "$1" | grep -oE '[0-9a-f]{16}$' | head -n 1; }
same_sum() {
    local sent received
    sent=$(sum_in "$1" "$2" "$3") received=$(sum_in "$4" "$5" "$3")
    [ -n "$sent" ] && [ "$sent" = "$received" ] || { tail -n 5 "$1" "$4"; die "$2 in $1: sum $sent, $5 in $4: sum $received"; }
}
run_rack() {
    expect_exit 0 "$backplane" run rack.toml --report report.json --timeout 500
    expect_line out '^alpha +\| @@bpw: peer 0 of 3, common 4096, section 65536'
    [ "$(grep -ac '@@bpw: 512 of 512 stores refused' out)" = 2 ] || die "refused stores"
    grep -a '^alpha' out >alpha.txt
    grep -a '^beta' out >beta.txt
    same_sum alpha.txt '@@bpw: sent' 2097152 beta.txt '@@bpw: received'
    [ "$(stat -c %s $file)" = $bytes ] || die "the file has another size"
    kept | cmp - kept.before || die "the file was written where nobody was to"
    python3 - "$file" <<'EOP' || die "the report"
import json
import sys
report = json.load(open("report.json"))
assert not report["rack"]["repeatable"], report["rack"]
window = report["window"]
assert window["backing"] == sys.argv[1] and window["outside"] == 1, window
assert [peer["name"] for peer in window["peers"]] == ["alpha", "beta"], window
assert [peer["refused_stores"] for peer in window["peers"]] == [512, 512], window
assert window["peers"][0]["doorbells_lost"] > 0, window  # for the peer outside, who has none
EOP
}

# Twice: the second run finds the marks of the first.
for run in 1 2; do
    python3 "$tests/window_party.py" $file 2 0 $common $section 524288 >party.txt 2>&1 &
    party=$!
    run_rack
    wait $party || { cat party.txt; die "the process outside"; }
    party=
    same_sum alpha.txt '@@bpw: sent' 1048576 party.txt received
    same_sum party.txt sent 524288 alpha.txt '@@bpw: received'
    echo "run $run with a process: $(tr '\n' ';' <party.txt)"
done

command -v qemu-system-x86_64 >/dev/null || { echo "skipped with QEMU as the peer outside: no qemu-system-x86_64"; exit 0; }
told=as,2,3,$common,$section
qemu-system-x86_64 -accel tcg -m 256 -display none -nodefaults -no-reboot -serial stdio -monitor none \
    -object memory-backend-file,id=window,share=on,mem-path=$file,size=$bytes -device ivshmem-plain,memdev=window \
    -kernel cloud/vmlinuz -initrd cloud/initrd.img \
    -append "console=ttyS0 quiet panic=-1 bp.role=window bp.words=$told,recv,0+$told,send,0,524288" >party.txt 2>&1 </dev/null &
party=$!
run_rack
wait $party || { cat party.txt; die "QEMU"; }
party=
same_sum alpha.txt '@@bpw: sent' 1048576 party.txt '@@bpw: received'
same_sum party.txt '@@bpw: sent' 524288 alpha.txt '@@bpw: received'
echo "with a guest of QEMU: $(grep -a '@@bpw' party.txt | tr -d '\r' | tr '\n' ';')"
