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

# A bare-metal guest with wild rings: it finds its NIC, lets it be bus master, points the rings where nothing is, at
# devices or at garbage, and moves the tails. It harms nobody else, and its own end names cause and RIP.
dword() { printf '%08x' $(($1)) | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/'; }
reg() { printf 'c783%s%s' "$(dword "$1")" "$(dword "$2")"; } # mov dword [ebx + offset], value
port=66baf80cef
enable_nic=b804180080${port}b80700000066bafc0cef                 # command register of slot 3: memory, ports, bus master
enable_nic+=b810180080${port}66bafc0ced83e0f089c3                # ebx = BAR 0
garbage=bf00002000b900400000b8ffffffff83c8fff3ab                 # 64 KiB of ones at 2 MiB
hostile() { # hostile LOW HIGH LENGTH TAIL
    local code=$enable_nic$garbage ring
    for ring in 0x2800 0x3800; do
        code+=$(reg $ring "$1")$(reg $((ring + 4)) "$2")$(reg $((ring + 8)) "$3")
    done
    code+=$(reg 0x100 0x0000801e)$(reg 0x400 0xa)$(reg 0x2818 "$4")$(reg 0x3818 "$4")
    echo "${code}faf4"
}
wild=0
for ring in '0xfffff000 0xffffffff 0xfff80 0x7fff' '0x00200000 0 0x10000 0xfff' '0xfee00000 0 0x1000 0x80' \
    '0xfffffff0 0 0x80 7' '0x01fffff0 0 0xfff80 0xffff' '0x00100000 0 0x1000 0xffffffff'; do
    wild=$((wild + 1))
    # shellcheck disable=SC2086
    python3 "$tests/tiny_kernel.py" "wild$wild" "$(hostile $ring)"
    machine "wild$wild" 32M "wild$wild"
    printf '[[machine.wild%s.nic]]\nmodel = "e1000"\nlink = "lan"\n' $wild
done >rack.toml
{ machine good 256M "$images/cloud/vmlinuz"
  printf 'initrd = "%s"\ncmdline = "console=ttyS0 quiet panic=-1 bp.role=off"\n' "$images/cloud/initrd.img"
  printf '[[machine.good.nic]]\nmodel = "e1000"\nlink = "lan"\n[link.lan]\n'; } >>rack.toml
expect_exit 1 "$backplane" run rack.toml --timeout 300 --report wild.json
expect_line out 'good .*powered off'
python3 - <<'EOP' || die "the wild rings were not reached"
import json
machines = json.load(open("wild.json"))["machines"]
moves = {m["name"]: m["nics"][0]["tail_moves"] for m in machines}
assert all(moves[f"wild{i}"] == 1 for i in (1, 2, 3, 4)), moves  # the other two tails lie beyond their rings
EOP
for number in $(seq $wild); do
    expect_line out "wild$number .*crashed: .*rip 0x1"
done

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
