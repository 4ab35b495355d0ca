#!/bin/bash
# Debian's iPXE, started by SeaBIOS and SYSLINUX from a disk image, with its own drivers of both network cards: it gets its
# address from the link, and boots Debian with what it fetches from a web server of the host.
. "$(dirname "$0")/asserts"
bios=/usr/share/seabios/bios-256k.bin
[ -e $bios ] || { echo "the package seabios is not installed"; exit 77; }
[ -e /boot/ipxe.lkrn ] || { echo "the package ipxe is not installed"; exit 77; }
for tool in syslinux mformat mcopy; do
    command -v $tool >/dev/null || { echo "$tool is not installed (packages syslinux, mtools)"; exit 77; }
done

make_disk() { # make_disk FILE WORDS: iPXE, and what it shall do
    truncate -s 40M "$1"
    mformat -i "$1" -F :: || die "mformat"
    printf 'DEFAULT ipxe\nPROMPT 0\nLABEL ipxe\nKERNEL ipxe.krn\nAPPEND %s\n' "$2" >syslinux.cfg
    mcopy -i "$1" /boot/ipxe.lkrn ::ipxe.krn && mcopy -i "$1" syslinux.cfg :: || die "mcopy"
    syslinux --install "$1" || die "syslinux"
}
# iPXE waits for time to pass by reading port 0x61: the fewer instructions a second has, the sooner it has passed.
machine() { # machine NAME MODEL DISK
    printf '[machine.%s]\nmemory = "128M"\nfirmware = "%s"\nacpi = "full"\ndisk = [{image = "%s", snapshot = true}]\n' "$1" $bios "$3"
    printf 'nic = [{link = "lan", model = "%s"}]\n' "$2"
}

make_disk lease.img 'ifstat ; dhcp net0 && route ; reboot'
{
    printf '[rack]\nips = 20_000_000\n'
    machine alpha e1000 lease.img
    machine beta virtio-net lease.img
    printf '[link.lan]\n'
} >rack.toml
expect_exit 1 "$backplane" run rack.toml --timeout 300
for name in 'alpha' 'beta '; do
    expect_line out "^$name \\| iPXE initialising devices\\.\\.\\.ok"
    expect_line out "^$name \\| Configuring \\(net0 .*\\)\\.* ok"
    expect_line out "^$name \\| net0: 10\\.77\\.0\\.1[01]/255\\.255\\.255\\.0"
done
[ "$(grep -ac 'net0: 10\.77\.0\.1' out)" = 2 ] || die "not two leases"
expect_line out 'using 82540em on'
expect_line out 'using virtio-net on'
expect_line out 'reset by the guest'

command -v python3 >/dev/null || { echo "no python3"; exit 77; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$images/cloud" && exec python3 -m http.server --bind 127.0.0.1 "$port") >server.log 2>&1 &
server=$!
trap 'kill $server; rm -rf "$work"' EXIT
url=http://10.77.0.2:$port
make_disk boot.img "dhcp net0 && kernel $url/vmlinuz console=ttyS0 quiet panic=-1 bp.role=off && initrd $url/initrd.img && boot"
{
    printf '[rack]\nips = 50_000_000\n'
    machine alpha e1000 boot.img
    printf '[link.lan]\nuplink = "nat"\nhost-access = true\n'
} >rack.toml
expect_exit 0 "$backplane" run rack.toml --timeout 300
expect_line out "vmlinuz\\.\\.\\. ok"
expect_line out '@@OFF '
