#!/bin/bash
# Out and in through user-space address translation: a machine fetches a file from a server of the host, and the host
# fetches it back through a forwarded port. Two more machines on the same link still cross over directly.
. "$(dirname "$0")/asserts"

command -v curl >/dev/null || { echo "no curl"; exit 77; }
ln -s "$images/full" full
mkdir served
head -c 300000 /dev/urandom >served/file
sum=$(sha256sum <served/file | cut -d ' ' -f 1)
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
server_port=$(free_port) web_port=$(free_port) end_port=$(free_port)
(cd served && exec python3 -m http.server --bind 127.0.0.1 "$server_port") >server.log 2>&1 &
server=$!
trap 'kill $server; rm -rf "$work"' EXIT

machine() { # machine NAME WORDS...
    cat <<EOP
[machine.$1]
memory = "128M"
kernel = "full/vmlinuz"
initrd = "full/initrd.img"
cmdline = "console=ttyS0 quiet panic=-1 ${*:2}"
nic = [{link = "lan"}]
EOP
}
{
    machine alpha bp.role=web "bp.url=http://10.77.0.2:$server_port/file"
    machine beta bp.role=talk bp.peer=gamma bp.bytes=32768
    machine gamma bp.role=talk bp.peer=beta bp.bytes=32768
    cat <<EOP
[link.lan]
uplink = "nat"
host-access = true
forward = ["tcp:$web_port:alpha:80", "tcp:$end_port:alpha:81"]
EOP
} >rack.toml

"$backplane" run rack.toml --report report.json --timeout 400 >run.out 2>run.err </dev/null &
rack=$!
said() { grep -aq "$1" run.out; }
for ((second = 0; second < 400; ++second)); do
    said '@@SERVING' && break
    kill -0 $rack 2>/dev/null || break
    sleep 1
done
said "@@FETCHED bytes=300000 sha256=$sum" || { tail -n 30 run.out run.err; die "the machine did not fetch the file"; }
fetched=$(curl -s --max-time 120 "http://127.0.0.1:$web_port/file" | sha256sum | cut -d ' ' -f 1)
[ "$fetched" = "$sum" ] || die "the host fetched $fetched instead of $sum"
curl -s --max-time 60 "http://127.0.0.1:$end_port/" >/dev/null # any connection ends the machine
wait $rack || { tail -n 30 run.out run.err; die "exit code $?"; }
[ "$(grep -ac '@@OK received 32768 bytes' run.out)" = 2 ] || die "beta and gamma did not talk"
python3 - <<'EOP' || die "the report"
import json
report = json.load(open("report.json"))
link, = report["links"]
assert not report["rack"]["repeatable"], report["rack"]
assert link["outside_frames"] > 40 and link["detected"]["destination"] > 40, link
EOP
