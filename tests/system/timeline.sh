#!/bin/bash
# --trace: whole JSON with a track for each processor, port and queue, the same on one and two host threads; the same run as without;
# bounded, and whole after Ctrl-C too.
. "$(dirname "$0")/asserts"

machine() { # machine NAME CPUS WORDS
    cat <<EOP
[machine.$1]
memory = "128M"
cpus = $2
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 $3"
EOP
}
nic() { printf '[[machine.%s.nic]]\nmodel = "virtio-net"\nlink = "lan"\n' "$1"; }
{
    machine alpha 2 'bp.role=talk bp.bytes=65536 bp.pings=2 bp.ip=10.0.0.1 bp.peer=10.0.0.2'
    nic alpha
    machine beta 1 'bp.role=talk bp.bytes=65536 bp.pings=2 bp.ip=10.0.0.2 bp.peer=10.0.0.1'
    nic beta
    machine gamma 1 'bp.role=send bp.peer=delta bp.bytes=1048576'
    machine delta 1 'bp.role=receive'
    echo '[link.lan]'
    echo '[queue]'
} >rack.toml
for threads in 1 2; do
    expect_exit 0 "$backplane" run rack.toml --threads $threads --trace $threads.json --report report.$threads.json --timeout 300
done
cmp 1.json 2.json || die "the timeline depends on the number of threads"
expect_exit 0 "$backplane" run rack.toml --report plain.json --timeout 300

python3 - <<'EOP' || die "the timeline"
import collections
import json

events = json.load(open("1.json"))["traceEvents"]
report, plain = (json.load(open(name)) for name in ("report.1.json", "plain.json"))
assert report["rack"]["trace_hash"] == plain["rack"]["trace_hash"], "tracing changes the run"
process = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
thread = {(e["pid"], e["tid"]): process[e["pid"]] + "/" + e["args"]["name"] for e in events if e["name"] == "thread_name"}
assert set(thread.values()) == {"alpha/cpu0", "alpha/cpu1", "beta/cpu0", "gamma/cpu0", "delta/cpu0", "link lan/alpha.nic0", "link lan/beta.nic0", "link lan/services",
                                "queue/alpha", "queue/beta", "queue/gamma", "queue/delta"}, thread
tracks = collections.defaultdict(list)
for event in events:
    if event["ph"] != "M":
        tracks[thread[event["pid"], event["tid"]]].append(event)
machines = {machine["name"]: machine for machine in report["machines"]}
for name, track in tracks.items():
    slices = sorted((e for e in track if e["ph"] == "X"), key=lambda e: e["ts"])
    for one, next_one in zip(slices, slices[1:]):
        assert one["ts"] + one["dur"] <= next_one["ts"] + 0.0005, (name, one, next_one)
    kinds = collections.Counter(e["name"] if e["ph"] == "X" else e["cat"] for e in track)
    print(name, dict(kinds))
    if "cpu" not in name:
        continue
    machine, cpu = name.split("/cpu")
    assert min(kinds[kind] for kind in ("run", "halted", "interrupt")) > 1, name
    executed = sum(e["args"]["instructions"] for e in slices if e["name"] == "run")
    counted = machines[machine]["cpus"][int(cpu)]
    assert executed == counted["instructions"], (name, executed, counted)
    assert kinds["interrupt"] == counted["interrupts"], (name, kinds, counted)
    times = [e["ts"] for e in track if e["ph"] == "i"]
    assert times == sorted(times), name
frames = [e for name, track in tracks.items() if name.startswith("link") for e in track]
assert len(frames) == report["links"][0]["frames"], len(frames)
assert sum(e["args"]["bytes"] for e in frames) == report["links"][0]["bytes"]
messages = tracks["queue/gamma"]
assert messages and sum(e["args"]["pages"] for e in messages) == 256, len(messages)
assert all(e["args"]["landed_us"] >= e["ts"] and e["args"]["to"] == "delta" for e in messages)
EOP

expect_exit 0 "$backplane" boot --kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" --trace small.json --trace-limit 20K --timeout 100
"$backplane" run rack.toml --trace cut.json >out 2>&1 </dev/null &
sleep 2
kill -INT $!
wait $!
python3 - <<'EOP' || die "a timeline that ends early"
import json
import os
assert os.path.getsize("small.json") < 21000
assert any("limit" in e["name"] for e in json.load(open("small.json"))["traceEvents"])
assert json.load(open("cut.json"))["traceEvents"]
EOP
expect_exit 2 "$backplane" run rack.toml --trace /nonexistent/trace.json
expect_line err '/nonexistent/trace.json'
