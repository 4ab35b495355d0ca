#!/bin/bash
# The rack of examples/04-four-machines: two e1000 and two virtio-net cards on one link, Debian's iperf3, netcat, curl and ping in
# the guests. All pairs reach each other and what they fetch is whole; a machine goes in the middle of a transfer, and to the others
# it is as on a real network. First without the host, where one and two host threads give the same run; then with a way out:
# the machines fetch from the host's loopback, the host fetches from a machine, and `ctl stop` pulls the plug.
. "$(dirname "$0")/asserts"

command -v curl >/dev/null || { echo "no curl"; exit 77; }
net=$("$tests/../../tools/guest-images" --net 2>images.log) || { cat images.log; die "no net image"; }
ln -s "$net/net" net
example=$tests/../../examples/04-four-machines/rack.toml
others() { for other in alpha beta gamma delta; do [ "$other" = "$1" ] || echo "$other"; done; }

# shows FILE: what any run of this rack shows on its consoles
shows() {
    local machine other sum
    for machine in alpha beta gamma delta; do
        sum=$(grep -aoE "^$machine +\| @@SERVE bytes=1048576 sha256=[0-9a-f]{64}" "$1" | tail -c 65)
        for other in $(others $machine); do expect_line "$1" "^$other +\| @@MET $machine pings=3 sha256=$sum sent=1048576 received=[1-9]"; done
    done
    expect_line "$1" '^alpha +\| @@LOST iperf3: error - .*(Connection timed out|No route to host)'
    expect_line "$1" '^beta +\| @@DRAINED bytes=[1-9][0-9]{4}'
    expect_line "$1" '^gamma +\| @@UNDISTURBED rounds='
    grep -a "@@LOST\|@@DRAINED\|@@UNDIST" "$1"
    ! grep -aq '@@FAIL' "$1" || die "$(grep -a @@FAIL "$1")"
}

# Without the host: delta switches itself off.
sed '/^uplink/d; /^forward/d; s/bp.secs=86400/bp.secs=5/' "$example" >alone.toml
for threads in 1 2; do
    expect_exit 0 "$backplane" run alone.toml --threads $threads --report alone$threads.json --timeout 600
    mv out alone$threads.txt
    shows alone$threads.txt
    expect_line alone$threads.txt '^delta +\| @@OFF'
done
"$tests/../../tools/compare-runs" alone1 alone2 || die "the two runs differ"

# With the host.
export XDG_RUNTIME_DIR=$work
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
server_port=$(free_port) web_port=$(free_port)
mkdir served
head -c 300000 /dev/urandom >served/file
served=$(sha256sum <served/file | cut -d ' ' -f 1)
(cd served && exec python3 -m http.server --bind 127.0.0.1 "$server_port") >server.log 2>&1 &
server=$!
sed "s/tcp:8080:/tcp:$web_port:/; s/^uplink.*/uplink = \"nat\"\nhost-access = true/
    s#bp.words=serve,#bp.url=http://10.77.0.2:$server_port/file bp.words=serve,fetch,#" "$example" >four.toml
"$backplane" run four.toml --report four.json --timeout 600 >four.txt 2>four.err </dev/null &
rack=$!
trap 'kill $server $rack 2>/dev/null; rm -rf "$work"' EXIT
said() { grep -aqE "$1" four.txt; }
wait_for() {
    while ! said "$1"; do
        kill -0 $rack 2>/dev/null || { tail -n 30 four.txt four.err; die "never: $1"; }
        sleep 0.2
    done
}
wait_for '^alpha +\| @@POURING'
wait_for '^beta +\| @@DRAINING'
wait_for '^gamma +\| @@ROUND 2'
fetched=$(curl -s --max-time 120 "http://127.0.0.1:$web_port/file" | sha256sum | cut -d ' ' -f 1)
expect_line four.txt "^alpha +\| @@SERVE bytes=1048576 sha256=$fetched"
! said '@@(LOST|DRAINED)' || die "a transfer was over too early"
expect_exit 0 "$backplane" ctl four stop delta
wait $rack || { tail -n 30 four.txt four.err; die "exit code $?"; }
shows four.txt
for machine in alpha beta gamma delta; do expect_line four.txt "^$machine +\| @@FETCHED bytes=300000 sha256=$served"; done

python3 - <<'EOP' || die "the report"
import json
for name, state in {"alone1": "powered_off", "four": "stopped"}.items():
    report = json.load(open(f"{name}.json"))
    assert report["rack"]["repeatable"] == (name == "alone1"), report["rack"]
    assert [machine["state"] for machine in report["machines"]] == ["powered_off"] * 3 + [state], report["machines"]
    assert [machine["nics"][0]["model"] for machine in report["machines"]] == ["e1000"] * 2 + ["virtio-net"] * 2, report["machines"]
    link, = report["links"]
    assert link["frames"] > 10000 and link["cut_frames"] > 0 and link["whole_frames"] > 0, link
    assert link["copies_per_frame"] == 1.0, link
assert link["outside_frames"] > 100, link
EOP
