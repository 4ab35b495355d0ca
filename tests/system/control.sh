#!/bin/bash
# A rack is asked while it runs: paused, stepped to the quantum, its cable pulled, a console typed into, a button pressed; and what
# cannot be asked is refused in one line.
. "$(dirname "$0")/asserts"

export XDG_RUNTIME_DIR=$work
ln -s "$images/cloud" cloud
cat >lab.toml <<'EOP'
[machine.alpha]
memory = "128M"
kernel = "cloud/vmlinuz"
initrd = "cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=shell"
[machine.beta]
memory = "128M"
kernel = "cloud/vmlinuz"
initrd = "cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=idle bp.secs=100000000"
acpi = "full"
[[machine.beta.nic]]
model = "virtio-net"
link = "lan"
[link.lan]
EOP
"$backplane" run lab.toml --timeout 120 --report report.json >run.txt 2>&1 </dev/null &
run=$!
trap 'kill $run 2>/dev/null; rm -rf "$work"' EXIT
ctl() { "$backplane" ctl lab "$@"; }
wait_until() { for _ in $(seq 200); do "$@" && return; kill -0 $run || break; sleep 0.1; done; tail -n 20 run.txt; die "never: $*"; }
wait_until eval 'ctl stats >/dev/null 2>&1'

expect_exit 0 ctl pause
barriers() { ctl stats --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["result"]["rack"]["barriers"])'; }
before=$(barriers)
sleep 0.2
[ "$(barriers)" = "$before" ] || die "time went on"
expect_exit 0 ctl step 25
[ "$(barriers)" = $((before + 25)) ] || die "a step of 25 quanta: from $before to $(barriers)"
expect_exit 0 ctl cut lan
expect_exit 0 ctl heal lan
expect_exit 0 ctl resume

expect_exit 2 ctl stop gamma
expect_line err 'machine "gamma"; expected one of alpha, beta'
expect_exit 2 ctl cut wan
expect_line err 'link "wan"; expected one of lan'
expect_exit 2 ctl step many
expect_line err 'ctl step: "many"; expected a number of quanta'
expect_exit 2 ctl power-button alpha
expect_line err 'no power button; expected acpi = "full"'
expect_exit 2 "$backplane" ctl other stats
expect_line err 'no rack "other"'
"$backplane" run lab.toml --timeout 1 >second.txt 2>&1 </dev/null
expect_line second.txt 'no control socket: cannot listen at .*/backplane/lab.sock'

# The console: type into the shell, see its answer; the shell's end is the machine's.
wait_until grep -aq 'built-in shell' run.txt
(sleep 2; echo; echo 'echo $((6 * 7)) is it'; sleep 2; echo exit; sleep 2) | timeout 30 "$backplane" ctl ./lab.toml console alpha >console.txt
expect_line console.txt '42 is it'
wait_until eval 'ctl stats | grep -q "alpha: powered_off"'

# The button of the other one, by SIGTERM: an event that a kernel without a listener only counts; then the rack ends.
expect_exit 0 ctl power-button beta
ctl stop beta
status=0
wait $run || status=$?
[ $status = 0 ] || die "exit code $status"
python3 - <<'EOP' || die "the report"
import json
report = json.load(open("report.json"))
assert not report["rack"]["repeatable"] and report["links"][0]["cuts"] == 1, report
assert [machine["state"] for machine in report["machines"]] == ["powered_off", "stopped"], report["machines"]
EOP
[ ! -e "$work/backplane/lab.sock" ] || die "the socket is still there"
