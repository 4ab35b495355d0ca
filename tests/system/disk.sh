#!/bin/bash
# A disk that Debian's virtio_blk and ext4 drivers mount: read, written, trimmed; in place, as a snapshot, read-only.
. "$(dirname "$0")/asserts"
PATH=$PATH:/usr/sbin:/sbin

mkdir content
head -c 3000000 /dev/urandom >content/file
sum=$(sha256sum <content/file | cut -d ' ' -f 1)
mke2fs -q -t ext4 -d content disk.img 24M || die "mke2fs"
cp disk.img original.img

boot_disk() { # boot_disk WORDS OPTION...
    expect_exit 0 "$backplane" boot --kernel "$images/full/vmlinuz" --initrd "$images/full/initrd.img" \
        --append "quiet panic=-1 bp.role=disk $1" --disk disk.img --timeout 120 "${@:2}"
    expect_line out "@@DISK sectors=49152 readonly=[01] id=machine.disk0 sha256=$sum"
}
boot_disk bp.bytes=2000000
written=$(sed -n 's/.*@@WROTE bytes=2000000 sha256=\([0-9a-f]*\).*/\1/p' out)
[ -n "$written" ] || die "no @@WROTE"
e2fsck -fn disk.img >fsck 2>&1 || { cat fsck; die "the file system is damaged"; }
debugfs -R 'dump /new new' disk.img 2>/dev/null
[ "$(sha256sum <new | cut -d ' ' -f 1)" = "$written" ] || die "the image has not what the guest wrote"

# A snapshot: the file stays, two runs are the same, to the last instruction, in both tiers.
cp original.img disk.img
boot_disk bp.bytes=2000000 --snapshot --report one.json
expect_line out "@@WROTE bytes=2000000"
boot_disk bp.bytes=2000000 --snapshot --report two.json --tier interpreter
cmp disk.img original.img || die "a snapshot wrote to the file"
python3 - <<'EOP' || die "two runs of one snapshot differ"
import json
one, two = (json.load(open(name)) for name in ("one.json", "two.json"))
assert one["rack"]["repeatable"] and two["rack"]["repeatable"]
assert one["machines"][0]["instructions"] == two["machines"][0]["instructions"]
disk, = one["machines"][0]["disks"]
assert disk == two["machines"][0]["disks"][0] and disk["bytes"] == 49152 * 512 and disk["failures"] == 0, disk
assert disk["reads"] > 0 and disk["read_bytes"] >= 3000000 and disk["written_bytes"] >= 2000000 and disk["flushes"] > 0, disk
EOP
boot_disk bp.mount=ro --readonly
expect_line out "readonly=1"

head -c 1000 /dev/zero >crooked.img
expect_exit 2 "$backplane" boot --kernel "$images/full/vmlinuz" --disk crooked.img
expect_line err 'crooked.img: 1000 bytes; expected a multiple of 512'
expect_exit 2 "$backplane" boot --kernel "$images/full/vmlinuz" --disk disk.img --disk disk.img
expect_line err "disk.img: another machine's disk"
printf '[machine.a]\nkernel = "%s"\n[[machine.a.disk]]\nimage = "crooked.img"\n' "$images/full/vmlinuz" >rack.toml
expect_exit 2 "$backplane" check rack.toml
expect_line err 'rack.toml:4:[0-9]+: machine.a.disk\[0\].image: crooked.img: 1000 bytes; expected a multiple of 512'
printf '[machine.a]\nkernel = "%s"\n[[machine.a.disk]]\nimage = "disk.img"\nsnapshot = true\n' "$images/full/vmlinuz" >rack.toml
expect_exit 0 "$backplane" check rack.toml
expect_line out 'disk0: disk.img, snapshot'
