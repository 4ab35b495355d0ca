#include "debug/gdb_jit.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "debug/block_text.h"

// The names, layouts and values are GDB's.
extern "C" {

struct jit_code_entry {
    jit_code_entry* next_entry;
    jit_code_entry* prev_entry;
    char const* symfile_addr;
    std::uint64_t symfile_size;
};
struct jit_descriptor {
    std::uint32_t version;
    std::uint32_t action_flag;
    jit_code_entry* relevant_entry;
    jit_code_entry* first_entry;
};

/// GDB has a breakpoint here.
[[gnu::noinline, gnu::used]] void __jit_debug_register_code() { asm volatile("" ::: "memory"); }
/// Of the whole process, as GDB wants it: the one list that all translators share.
[[gnu::used]] jit_descriptor __jit_debug_descriptor{1, 0, nullptr, nullptr};

}  // extern "C"

namespace backplane {
namespace {

enum class Action : std::uint32_t { none, add, remove };

std::mutex descriptor_mutex;  // guards __jit_debug_descriptor; taken with no other held

void tell_gdb(Action action, jit_code_entry* entry) {
    __jit_debug_descriptor.action_flag = static_cast<std::uint32_t>(action);
    __jit_debug_descriptor.relevant_entry = entry;
    __jit_debug_register_code();
    __jit_debug_descriptor.action_flag = static_cast<std::uint32_t>(Action::none);
    __jit_debug_descriptor.relevant_entry = nullptr;
}

}  // namespace

/// One symbol file that GDB knows.
class GdbJit::Object {
  public:
    explicit Object(std::vector<CodeSymbol> symbols) : symbols_{std::move(symbols)}, file_{make_symbol_file(symbols_)} {
        entry_.symfile_addr = reinterpret_cast<char const*>(file_.data());
        entry_.symfile_size = file_.size();
        std::lock_guard const lock{descriptor_mutex};
        entry_.next_entry = __jit_debug_descriptor.first_entry;
        if (entry_.next_entry != nullptr) entry_.next_entry->prev_entry = &entry_;
        __jit_debug_descriptor.first_entry = &entry_;
        tell_gdb(Action::add, &entry_);
    }
    ~Object() {
        std::lock_guard const lock{descriptor_mutex};
        (entry_.prev_entry != nullptr ? entry_.prev_entry->next_entry : __jit_debug_descriptor.first_entry) =
            entry_.next_entry;
        if (entry_.next_entry != nullptr) entry_.next_entry->prev_entry = entry_.prev_entry;
        tell_gdb(Action::remove, &entry_);
    }
    Object(Object const&) = delete;
    Object& operator=(Object const&) = delete;

    [[nodiscard]] std::vector<CodeSymbol> const& symbols() const { return symbols_; }

  private:
    std::vector<CodeSymbol> symbols_;
    std::vector<std::byte> file_;
    jit_code_entry entry_{};
};

GdbJit::GdbJit(std::string processor) : processor_{std::move(processor)} {}
GdbJit::~GdbJit() = default;

namespace {

CodeSymbol symbol_of(HostCode code, std::string name, std::uint8_t pushed_bytes) {
    return {reinterpret_cast<std::uintptr_t>(code.data()), code.size(), std::move(name), pushed_bytes};
}

}  // namespace

// Thunks come one by one, and in the order of their addresses; there are few of them.
void GdbJit::made_thunk(Thunk const& thunk) {
    thunk_symbols_.push_back(
        symbol_of(thunk.code, "bp_thunk_" + std::string{thunk.name} + '@' + processor_, thunk.pushed_bytes));
    thunks_.reset();
    thunks_ = std::make_unique<Object>(thunk_symbols_);
}

void GdbJit::made_block(NewBlock const& block) {
    if (blocks_.empty()) blocks_.emplace_back();
    blocks_[0].push_back(
        std::make_unique<Object>(std::vector{symbol_of(block.host, block_name(block) + '@' + processor_, 0)}));
    merge();
}

void GdbJit::merge() {
    constexpr std::size_t kMerged = 16;
    for (std::size_t size = 0; size < blocks_.size() && blocks_[size].size() == kMerged; ++size) {
        std::vector<CodeSymbol> symbols;
        for (auto const& object : blocks_[size])
            symbols.insert(symbols.end(), object->symbols().begin(), object->symbols().end());
        blocks_[size].clear();
        if (size + 1 == blocks_.size()) blocks_.emplace_back();
        blocks_[size + 1].push_back(std::make_unique<Object>(std::move(symbols)));
    }
}

void GdbJit::flushed() { blocks_.clear(); }

}  // namespace backplane
