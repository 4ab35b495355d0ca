#!/bin/bash
# A window whose memory is a PCI device's, as Linux gives it out in sysfs: in a Debian guest runs another Backplane, whose rack's [window]
# has the memory BAR of the guest's own window device as its backing. The machine in it and the other machine of the outer rack
# send each other what no monitor or kernel in between copies. A second rack in that guest has a file of hugetlbfs. All of it is one
# run that is the same again.
. "$(dirname "$0")/asserts"

# The program with its libraries, the images of the inner machine, and what bp.role=net does here.
mkdir -p own/inner
for file in $(ldd "$backplane" | grep -o '/[^ ]*'); do cp --parents -L "$file" own/; done
cp "$backplane" own/inner/backplane
strip own/inner/backplane
cp "$images/cloud/vmlinuz" "$images/cloud/initrd.img" own/inner/
cat >own/net <<'EOP'
function=$(grep -l 0x1110 /sys/bus/pci/devices/*/device)
function=${function%/device}
echo 1 >"$function/enable" || fail "enabling the device"
mkdir -p /tmp /huge
mount -t hugetlbfs none /huge || fail "no hugetlbfs"
truncate -s 2M /huge/file

run_inner() { # run_inner MACHINE BACKING WORDS
    cat >/inner/rack.toml <<EOF_RACK
[window]
section = "64K"
common = "4K"
backing = "$2"
outside = 1

[machine.$1]
memory = "128M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=window bp.words=$3"
EOF_RACK
    /inner/backplane run /inner/rack.toml >/tmp/inner 2>&1 </dev/null
    status=$?
    cat /tmp/inner
    [ $status = 0 ] || fail "the inner rack: exit code $status"
}
run_inner huge /huge/file info+poke,1
say "HUGE free=$(sed -n 's/HugePages_Free: *//p' /proc/meminfo) size=$(stat -c %s /huge/file)"
run_inner inner "$function/resource2" info+poke,1+poll,send,1,262144+poll,recv,1
EOP
{
    cat "$images/cloud/initrd.img"
    head -c $((-$(stat -c %s "$images/cloud/initrd.img") & 3)) /dev/zero
    (cd own && find . -mindepth 1 | cpio -o -H newc --quiet)
} >initrd.img

ln -s "$images/cloud" cloud
cat >rack.toml <<EOP
[window]
section = "64K"
common = "4K"

[machine.alpha]
memory = "768M"
kernel = "cloud/vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 hugepages=4 bp.role=net"

[machine.beta]
memory = "128M"
kernel = "cloud/vmlinuz"
initrd = "cloud/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 bp.role=window bp.words=poll,recv,0+poll,send,0,131072"
EOP
for run in first second; do
    expect_exit 0 "$backplane" run rack.toml --report $run.json --timeout 900
    cp out $run.txt
done
"$tests/../../tools/compare-runs" first second || die "the two runs differ"
for name in huge inner; do
    expect_line out "^alpha +\| $name +\| @@bpw: peer 0 of 2, common 4096, section 65536"
    expect_line out "^alpha +\| $name +\| @@bpw: 512 of 512 stores refused"
done
expect_line out '^alpha +\| the memory of /huge/file, with 1 peers outside'
expect_line out '^alpha +\| @@HUGE free=3 size=2097152'
expect_line out '^alpha +\| the memory of /sys/[^ ]*/resource2, with 1 peers outside'
sum_in() { grep -aoE "^$1 +\| $2@@bpw: $3 $4 bytes sum=[0-9a-f]{16}" out | grep -oE '[0-9a-f]{16}$'; }
for way in "sent received 262144" "received sent 131072"; do
    read -r inner beta bytes <<<"$way"
    one=$(sum_in alpha 'inner \| ' "$inner" "$bytes") other=$(sum_in beta '' "$beta" "$bytes")
    [ -n "$one" ] && [ "$one" = "$other" ] || { grep -a '@@' out; die "$bytes bytes: sums $one and $other"; }
done
grep -a '@@' out
