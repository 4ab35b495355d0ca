#!/bin/bash
# What a user can get wrong: exit code 2, one clear line on standard error, nothing on standard output, and no file left:
# no report, no capture, no socket.
. "$(dirname "$0")/asserts"

export XDG_RUNTIME_DIR=$work/run
mkdir "$XDG_RUNTIME_DIR"
files() { find . -mindepth 1 ! -name out ! -name err -printf '%p %s %T@\n' | sort; }

# refuses PATTERN WORDS...: `backplane WORDS...` is refused with one line like PATTERN
refuses() {
    local pattern=$1
    shift
    files >"$listing"
    expect_exit 2 "$backplane" "$@"
    [ "$(wc -l <err)" = 1 ] || { cat err; die "not one line: $*"; }
    expect_line err "$pattern"
    [ ! -s out ] || { cat out; die "something on standard output: $*"; }
    files | diff "$listing" - || die "a file was left or changed: $*"
}

listing=$(mktemp)
trap 'rm -rf "$work" "$listing"' EXIT
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

# windows PLACE PATTERN: a rack of two machines with a capture and a control socket, whose [window] is on standard input from line 9 on
windows() {
    {
        printf '[rack]\ncontrol = "./socket"\n'
        for name in alpha beta; do printf '[machine.%s]\nkernel = "%s"\n' $name "$kernel"; done
        printf '[link.lan]\ncapture = "lan.pcapng"\n'
        cat
    } >rack.toml
    refuses "^.*rack.toml:$1: window$2" run rack.toml --report report.json
    refuses "^.*rack.toml:$1: window$2" check rack.toml
}
windows 10:1 '.sections: unknown key; expected one of section, common, machines, vectors, backing, outside; did you mean "section"' <<<$'[window]\nsections = "4K"'
windows 9:9 '.alpha: unknown key; expected one of section' <<<$'[window.alpha]\nsection = "4K"'
windows 9:1 ': a list of tables; expected a table \[window\]' <<<'[[window]]'
for size in 3K 2K 512M -4K '' much 99999999999999999999K; do
    windows 10:11 ".section: \"$size\"; expected a power of two, \"4K\" to \"256M\"" <<<$'[window]\nsection = "'"$size"'"'
    windows 10:10 ".common: \"$size\"; expected a power of two, \"4K\" to \"256M\"" <<<$'[window]\ncommon = "'"$size"'"'
done
windows 10:11 '.section: a whole number; expected a string' <<<$'[window]\nsection = 65536'
windows 10:11 '.section: 256M for each of 2 machines; expected at most 256M in all' <<<$'[window]\nsection = "256M"'
windows 10:11 '.section: 128M for each of 2 machines, and the common part; expected at most 256M' <<<$'[window]\nsection = "128M"\ncommon = "4K"'
windows 10:12 '.machines: "bta"; expected one of alpha, beta; did you mean "beta"' <<<$'[window]\nmachines = ["alpha", "bta"]'
windows 10:12 '.machines: "alpha" twice; expected each machine once' <<<$'[window]\nmachines = ["alpha", "alpha"]'
windows 10:12 '.machines: 1 machines; expected 2 to 64' <<<$'[window]\nmachines = ["alpha"]'
windows 10:12 '.machines: 0 machines; expected 2 to 64' <<<$'[window]\nmachines = []'
windows 10:12 '.machines: a whole number; expected a list of strings' <<<$'[window]\nmachines = 2'
for count in 0 33; do windows 10:11 ".vectors: $count; expected 1 to 32" <<<$'[window]\nvectors = '$count; done
windows 10:11 '.vectors: a string; expected a whole number' <<<$'[window]\nvectors = "two"'
windows 10:11 '.vectors: a number with a fraction; expected a whole number' <<<$'[window]\nvectors = 1.5'
truncate -s 135167 short
mkfifo pipe
windows 10:11 '.backing: none: no such file; expected one that is there' <<<$'[window]\nbacking = "none"'
windows 10:11 '.backing: short: 135167 bytes; expected at least 135168, for the common part and all sections' <<<$'[window]\nbacking = "short"\ncommon = "4K"'
windows 10:11 '.backing: pipe: a pipe or socket; expected a file or character device that can be mapped' <<<$'[window]\nbacking = "pipe"'
windows 10:11 '.backing: /tmp: a folder; expected a file or character device' <<<$'[window]\nbacking = "/tmp"'
windows 10:11 '.backing: /dev/null: cannot be mapped: No such device; expected a file or character device that can be' <<<$'[window]\nbacking = "/dev/null"'
windows 10:11 '.backing: a whole number; expected a string' <<<$'[window]\nbacking = 1'
windows 10:11 '.outside: memory that nobody outside can reach; expected backing = "FILE"' <<<$'[window]\noutside = 1'
for count in 0 64; do windows 11:11 ".outside: $count; expected 1 to 63" <<<$'[window]\nbacking = "short"\noutside = '$count; done
windows 11:12 '.machines: 0 machines; expected 1 to 61' <<<$'[window]\nbacking = "short"\nmachines = []\noutside = 3'
windows 10:11 '.section: 128M for each of 3 peers; expected at most 256M in all' <<<$'[window]\nsection = "128M"\nbacking = "short"\noutside = 1'
racks "window.machines: 1 machines; expected 2 to 64" <<<"$good
[window]"
echo "all refused as they should be"
