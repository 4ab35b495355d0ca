#!/bin/bash
# The example of a parser: it checks and then uses messages where they lie, while their sender goes on writing into them. With
# pages that change owner, nothing changes under it; with shared memory (the prior art) it does, which shows that the
# test can see it.
. "$(dirname "$0")/asserts"

ln -s "$images/cloud" cloud
for transfer in remap cow copy shared; do
    sed "s/^transfer = .*/transfer = \"$transfer\"/" "$tests/../../examples/03-parser/rack.toml" >rack.toml
    expect_exit 0 "$backplane" run rack.toml --timeout 300
    expect_line out "^mallory +\| @@bpq: raced 20 messages"
    changed=0
    [ $transfer != shared ] || changed='([1-9]|1[0-9]|20)'
    expect_line out "^parser +\| @@bpq: parsed 20 messages in place, $changed changed meanwhile"
    grep -a 'changed meanwhile' out
done
