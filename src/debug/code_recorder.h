// What a rack's translators make, for `perf`, for GDB (debug/gdb_jit.h) and for people (docs/design/translator.md).
//
// The map for `perf report`, /tmp/perf-PID.map, has a line for each piece of host code: address, bytes, name. A block's
// name has the guest's linear address, the number of guest instructions, and the processor:
//
//     7f3c5a6010c0 b4 bp_kernel_0xffffffff81000130/7@alpha.cpu0
//     7f3c5a600040 31 bp_thunk_exit_rip@alpha.cpu0
//
// The dump has a record for each event; a block's ends with an empty line:
//
//     block alpha.cpu0 bp_kernel_0xffffffff81000130 physical 0x1000130 instructions 7 bytes 22 host 7f3c5a6010c0 180
//         7f3c5a6010c0  49 83 af e8 00 00 00 07  sub qword ptr [r15+0xE8], 0x07
//     ffffffff81000130  48 89 e5  mov rbp, rsp
//         7f3c5a6010d2  4c 89 c5  mov rbp, r8
//     out of line
//         7f3c5a601150  e9 eb ee ff ff  jmp 0x00007F3C5A600040  ; exit_rip
//
//     forget alpha.cpu0 physical 0x1000130 host 7f3c5a6010c0
//     flush alpha.cpu0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "jit/code_listener.h"
#include "machine/machine.h"

namespace backplane {

struct CodeRecords {
    bool perf_map{false};
    std::optional<std::filesystem::path> blocks;  ///< the dump

    bool gdb{false};                              ///< a GDB that debugs this process learns of the code
    [[nodiscard]] bool any() const { return perf_map || blocks || gdb; }
};

class CodeRecorder {
  public:
    /// Each file has at most `limit_bytes`.
    /// Errors: what the host says of a file, with its path.
    [[nodiscard]] static Expected<std::unique_ptr<CodeRecorder>, Error> create(CodeRecords const& records,
                                                                               std::uint64_t limit_bytes);
    ~CodeRecorder();

    /// Records what the machine's translators make from now on; to be called once, and never run after `this` is gone.
    void add(Machine& machine);

  private:
    CodeRecorder();
    struct SharedFile;
    class PerfMap;
    class Dump;
    std::unique_ptr<SharedFile> perf_map_, dump_;
    bool tells_gdb_{false};
    std::vector<std::unique_ptr<CodeListener>> listeners_;
};

}  // namespace backplane
