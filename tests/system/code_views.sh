#!/bin/bash
# What translated code can be looked at with: --dump-blocks and --perf-map, each whole and true to the report, also after
# Ctrl-C; the run stays the same. And perf, where the host lets it.
. "$(dirname "$0")/asserts"

debian=(--kernel "$images/cloud/vmlinuz" --initrd "$images/cloud/initrd.img" --append "quiet panic=-1 bp.role=off" --memory 128M)
boot() { # boot NAME OPTIONS...: the perf map, if there is one, goes to NAME.map
    local name=$1
    shift
    "$backplane" boot "${debian[@]}" --timeout 300 --report "$name.json" "$@" >"$name.out" 2>&1 </dev/null &
    local pid=$!
    wait $pid || { tail -n 20 "$name.out"; die "$name"; }
    [ ! -e /tmp/perf-$pid.map ] || mv /tmp/perf-$pid.map "$name.map"
}
boot plain
[ ! -e plain.map ] || die "a map that nobody asked for"
boot views --cpus 1 --perf-map --dump-blocks blocks

python3 - <<'EOP' || die "the files"
import json
import re

plain, views = (json.load(open(name)) for name in ("plain.json", "views.json"))
assert plain["rack"]["trace_hash"] == views["rack"]["trace_hash"], "looking changes the run"
translator = views["host"]["translators"][0]

in_map = {}
for line in open("views.map"):
    address, size, name = re.fullmatch(r"([0-9a-f]+) ([0-9a-f]+) (bp_\S+)@machine\.cpu0\n", line).groups()
    in_map.setdefault(name.split("_")[1], []).append((int(address, 16), int(size, 16), name))
assert len(in_map["thunk"]) >= 10, in_map["thunk"]
assert len(in_map["user"]) > 100 and len(in_map["kernel"]) > 1000
assert len(in_map["user"]) + len(in_map["kernel"]) == translator["blocks"], translator["blocks"]

HEAD = r"block machine\.cpu0 (bp_(?:user|kernel)_0x([0-9a-f]+)) physical (0x[0-9a-f]+) instructions (\d+) bytes (\d+) host ([0-9a-f]+) (\d+)"
known = {(address, size, name) for kind in ("user", "kernel") for address, size, name in in_map[kind]}
blocks = forgotten = guest_bytes = host_bytes = flushes = 0
for record in open("blocks").read().split("\n\n"):
    lines = record.split("\n")
    while lines and lines[0].startswith(("forget", "flush")):
        forgotten += lines[0].startswith("forget machine.cpu0 physical 0x")
        flushes += lines.pop(0) == "flush machine.cpu0"
    if lines == [""]:
        continue
    name, linear, _, instructions, size, host, host_size = re.fullmatch(HEAD, lines[0]).groups()
    assert (int(host, 16), int(host_size), f"{name}/{instructions}") in known, lines[0]
    parts = {"guest": [], "host": []}
    for line in lines[1:]:
        if line != "out of line":
            parts["host" if line.startswith("    ") else "guest"].append(re.fullmatch(r" *([0-9a-f]+)  ((?:[0-9a-f]{2} ?)+)  (\S+).*", line).groups())
    for part, at, count in (("guest", int(linear, 16), int(size)), ("host", int(host, 16), int(host_size))):
        jumped = False
        for address, code, mnemonic in parts[part]:
            # A block goes on where a jump or call leads.
            assert int(address, 16) == at or part == "guest" and jumped, (record, address)
            at = int(address, 16) + len(bytes.fromhex(code))
            jumped = mnemonic.startswith(("j", "call"))
            count -= len(bytes.fromhex(code))
        assert count == 0, (part, record)
    assert len(parts["guest"]) == int(instructions), record
    blocks += 1
    guest_bytes += int(size)
    host_bytes += int(host_size)
counted = {key: translator[key] for key in ("blocks", "guest_bytes", "host_bytes", "flushes")}
assert counted == {"blocks": blocks, "guest_bytes": guest_bytes, "host_bytes": host_bytes, "flushes": flushes}, (counted, blocks, guest_bytes, host_bytes, flushes)
assert forgotten > 0, "Linux patches its code"
print(blocks, "blocks,", forgotten, "forgotten,", flushes, "flushes")
EOP

# Ctrl-C (a rack: in `boot` it is the guest's): whole records up to the last.
cat >rack.toml <<EOP
[machine.one]
memory = "128M"
kernel = "$images/cloud/vmlinuz"
initrd = "$images/cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=idle"
EOP
"$backplane" run rack.toml --dump-blocks cut >out 2>&1 </dev/null &
until [ -s cut ] || ! kill -0 $!; do sleep 0.1; done
kill -INT $!
wait $!
[ $? = 130 ] || { cat out; die "not ended by Ctrl-C"; }
[ -z "$(tail -n 1 cut)" ] || grep -qE '^(forget|flush) ' <(tail -n 1 cut) || die "a record that is cut off"

expect_exit 0 "$backplane" boot "${debian[@]}" --timeout 300 --dump-blocks small --trace-limit 20K
[ "$(stat -c %s small)" -lt 21000 ] && expect_line small '^# the limit is reached'
expect_exit 2 "$backplane" boot "${debian[@]}" --dump-blocks /nonexistent/blocks
expect_line err '/nonexistent/blocks'
[ "$(wc -l <err)" = 1 ] || die "not one line"
expect_exit 2 "$backplane" boot "${debian[@]}" --tier interpreter --perf-map
expect_line err 'expected the translator'

if perf record -q -e cpu-clock -o perf.data true 2>/dev/null; then
    # The shell tells its number, which then is the program's.
    perf record -q -e cpu-clock -o perf.data bash -c 'echo $$ >pid; exec "$@"' - "$backplane" boot "${debian[@]}" --timeout 300 --perf-map \
        >perf.out 2>&1 </dev/null || die "perf record"
    perf report --stdio -q -i perf.data -s symbol >perf.report 2>/dev/null
    rm "/tmp/perf-$(cat pid).map"
    expect_line perf.report 'bp_kernel_0x[0-9a-f]+/[0-9]+@machine\.cpu0'
    expect_line perf.report 'bp_thunk_'
else
    echo "skipped perf: it is missing, or the host does not let it count"
fi
