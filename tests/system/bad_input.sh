#!/bin/bash
# What a user can get wrong: exit code 2, one clear line on standard error, nothing on standard output, no report left.
. "$(dirname "$0")/asserts"

# refuses PATTERN WORDS...: `backplane WORDS...` is refused with one line like PATTERN
refuses() {
    local pattern=$1
    shift
    expect_exit 2 "$backplane" "$@"
    [ "$(wc -l <err)" = 1 ] || { cat err; die "not one line: $*"; }
    expect_line err "$pattern"
    [ ! -s out ] || { cat out; die "something on standard output: $*"; }
    [ ! -e report.json ] || die "a report was left: $*"
}

kernel=$images/cloud/vmlinuz
: >empty
head -c 100000 "$kernel" >truncated
head -c 5000 /dev/urandom >noise
truncate -s 300M large

boots() { refuses "$1" boot --kernel "${@:2}"; }
boots 'none: no such file' none
boots 'empty' empty
boots 'truncated' truncated
boots 'noise' noise
boots 'folder' /tmp
boots 'none: no such file' "$kernel" --initrd none
boots 'large' "$kernel" --initrd large --memory 256M
boots 'memory' "$kernel" --memory 0
boots 'memory' "$kernel" --memory '3 bananas'
boots 'memory' "$kernel" --memory 99999999T
boots 'timeout' "$kernel" --timeout soon

refuses 'rnu' rnu rack.toml
refuses 'none.toml: no such file' run none.toml
refuses '.--frobnicate' run --frobnicate

# racks PATTERN: the rack file on standard input is refused, by run and by check
racks() {
    cat >rack.toml
    refuses "rack.toml:[0-9]+:[0-9]+: .*$1" run rack.toml --report report.json
    refuses "rack.toml:[0-9]+:[0-9]+: .*$1" check rack.toml
}
good="[machine.a]
kernel = \"$kernel\""
nic='[[machine.a.nic]]
model = "e1000"
link = "lan"'
racks 'machine' <<<''
racks '' <<<'[machine.a'
racks 'memroy' <<<"$good
memroy = \"1G\""
racks 'memory' <<<"$good
memory = \"3 bananas\""
racks 'memory' <<<"$good
memory = \"1K\""
racks 'kernel' <<<'[machine.a]
kernel = "none"'
racks 'kernel' <<<'[machine.a]'
racks 'link' <<<"$good
$nic"
racks 'a' <<<"$good
$good"
racks 'mac' <<<"$good
$nic
mac = \"02:00:00:00:00:01\"
$nic
mac = \"02:00:00:00:00:01\"
[link.lan]"
racks 'nic\[0\].queues: 17; expected 1 to 16' <<<"$good
nic = [{link = \"lan\", model = \"virtio-net\", queues = 17}]
[link.lan]"
racks 'nic\[0\].queues: an e1000 .*expected model = "virtio-net"' <<<"$good
$nic
queues = 2
[link.lan]"
racks 'nic\[0\].mtu: 67; expected 68 to 65535' <<<"$good
nic = [{link = \"lan\", model = \"virtio-net\", mtu = 67}]
[link.lan]"
racks 'engine' <<<"$good
[rack]
engine = \"warp\""
racks 'expected 1 to 16' <<<"$good
cpus = 17"
echo "all refused as they should be"
