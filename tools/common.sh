# Shared by ./demo, ./test and the scripts below tests/ and bench/; sourced by bash, in the root of the tree.

# step TEXT: what happens next, on standard error when that is where the rest of the words go
step() { echo "== $*"; }

# quietly LOG COMMAND...: output into LOG; the end of it is shown only when the command fails
quietly() {
    local log=$1 status=0
    shift
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 || status=$?
    if [ $status -ne 0 ]; then
        tail -n "${BACKPLANE_LOG_LINES:-40}" "$log"
        echo "failed with exit code $status: $* (all output in $log)"
    fi
    return $status
}

# jobs: how many compilers at a time; the sanitizer and translation units with large tables want 1 GB each
jobs_for_build() {
    local cores memory_gb
    cores=$(nproc)
    memory_gb=$(awk '/^MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
    [ "$memory_gb" -ge 1 ] || memory_gb=1
    echo $((cores < memory_gb ? cores : memory_gb))
}

# build_preset PRESET FOLDER [TARGET...]
build_preset() {
    local preset=$1 folder=$2
    shift 2
    quietly "$folder/configure.log" cmake --preset "$preset" &&
        quietly "$folder/build.log" cmake --build "$folder" --parallel "$(jobs_for_build)" ${1:+--target "$@"}
}

# rack_folder FOLDER RACK_FILE: copies the rack file to where the guest images are beside it
rack_folder() {
    local images
    images=$(tools/guest-images) || return
    mkdir -p "$1"
    cp "$2" "$1/rack.toml"
    ln -sfnT "$images/full" "$1/full"
    ln -sfnT "$images/cloud" "$1/cloud"
}
