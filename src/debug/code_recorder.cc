#include "debug/code_recorder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <iterator>
#include <mutex>
#include <span>
#include <utility>

#include "debug/block_text.h"
#include "debug/gdb_jit.h"
#include "host/bounded_file.h"

namespace backplane {

/// One file for all processors, some of which may run in other threads. What was appended is in the file at once: the
/// last block before a crash of this process is the one that matters.
struct CodeRecorder::SharedFile {
    std::mutex mutex;  ///< guards `file`; taken with no other held
    BoundedFile file;

    explicit SharedFile(BoundedFile opened) : file{std::move(opened)} {}
    bool append(std::string_view text) {
        std::lock_guard const lock{mutex};
        bool const taken = file.append(text);
        file.flush();
        return taken;
    }
};

class CodeRecorder::PerfMap final : public CodeListener {
  public:
    PerfMap(SharedFile& file, std::string processor) : file_{file}, processor_{std::move(processor)} {}

    void made_thunk(Thunk const& thunk) override { add(fmt::format("bp_thunk_{}", thunk.name), thunk.code); }
    void made_block(NewBlock const& block) override {
        add(fmt::format("{}/{}", block_name(block), count_of(block)), block.host);
    }
    void forgot_block(std::uint8_t const*, std::uint64_t physical, HostCode forward) override {
        if (!forward.empty()) add(fmt::format("bp_forward_{:#x}", physical), forward);
    }
    void flushed() override {}

  private:
    void add(std::string const& name, HostCode code) {
        file_.append(fmt::format("{:x} {:x} {}@{}\n", reinterpret_cast<std::uintptr_t>(code.data()), code.size(), name,
                                 processor_));
    }
    SharedFile& file_;
    std::string processor_;
};

class CodeRecorder::Dump final : public CodeListener {
  public:
    Dump(SharedFile& file, std::string processor) : file_{file}, processor_{std::move(processor)} {}

    void made_thunk(Thunk const& thunk) override { text_.add_thunk(thunk); }
    void made_block(NewBlock const& block) override {
        if (open_) append("block " + processor_ + ' ' + text_.block(block) + '\n');
    }
    void forgot_block(std::uint8_t const* host, std::uint64_t physical, HostCode) override {
        append(fmt::format("forget {} physical {:#x} host {:x}\n", processor_, physical,
                           reinterpret_cast<std::uintptr_t>(host)));
    }
    void flushed() override { append("flush " + processor_ + '\n'); }

  private:
    void append(std::string_view text) {
        if (open_) open_ = file_.append(text);
    }
    SharedFile& file_;
    std::string processor_;
    BlockText text_;
    bool open_{true};
};

CodeRecorder::CodeRecorder() = default;
CodeRecorder::~CodeRecorder() = default;

Expected<std::unique_ptr<CodeRecorder>, Error> CodeRecorder::create(CodeRecords const& records,
                                                                    std::uint64_t limit_bytes) {
    std::unique_ptr<CodeRecorder> recorder{new CodeRecorder};
    auto const open = [&](std::filesystem::path const& path) -> Expected<std::unique_ptr<SharedFile>, Error> {
        return std::make_unique<SharedFile>(BACKPLANE_TRY(BoundedFile::create(path, limit_bytes)));
    };
    // The name is perf's, not ours.
    if (records.perf_map) recorder->perf_map_ = BACKPLANE_TRY(open(fmt::format("/tmp/perf-{}.map", ::getpid())));
    if (records.blocks) recorder->dump_ = BACKPLANE_TRY(open(*records.blocks));
    recorder->tells_gdb_ = records.gdb;
    return recorder;
}

void CodeRecorder::add(Machine& machine) {
    auto const listen = [&](unsigned cpu, std::unique_ptr<CodeListener> listener) {
        machine.engine(cpu).add_code_listener(*listener);
        listeners_.push_back(std::move(listener));
    };
    for (unsigned cpu = 0; cpu < machine.cpu_count(); ++cpu) {
        std::string const name = machine.name() + ".cpu" + std::to_string(cpu);
        if (perf_map_) listen(cpu, std::make_unique<PerfMap>(*perf_map_, name));
        if (dump_) listen(cpu, std::make_unique<Dump>(*dump_, name));
        if (tells_gdb_) listen(cpu, std::make_unique<GdbJit>(name));
    }
}

}  // namespace backplane
