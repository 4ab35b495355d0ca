#include "debug/block_text.h"

#include <fmt/format.h>

#include <iterator>

#include "jit/block.h"

namespace backplane {

std::string block_name(NewBlock const& block) {
    return fmt::format("bp_{}_{:#x}", block.view == CodeView::user ? "user" : "kernel", block.linear);
}

std::size_t count_of(NewBlock const& block) {
    std::size_t count = 0;
    for (Trace const* const trace : block.traces) count += trace->count;
    return count;
}

std::string BlockText::block(NewBlock const& block) const {
    std::string text =
        fmt::format("{} physical {:#x} instructions {} bytes {} host {:x} {}\n", block_name(block), block.traces.front()->address,
                    count_of(block), block.guest.size(), address_of_code(block.host), block.host.size());
    auto const& marks = block.marks.instructions;
    std::size_t const stubs = block.marks.stubs;
    add_host(text, block.host.first(marks.empty() ? stubs : marks.front()));
    std::vector<GuestInstruction> const instructions = instructions_of(block);
    for (std::size_t i = 0; i < instructions.size(); ++i) {
        add_guest(text, instructions[i]);
        if (i >= marks.size()) continue;  // run by the handler of one before it
        std::size_t const end = i + 1 < marks.size() ? marks[i + 1] : stubs;
        add_host(text, block.host.subspan(marks[i], end - marks[i]));
    }
    text += "out of line\n";
    add_host(text, block.host.subspan(stubs));
    return text;
}

std::vector<BlockText::GuestInstruction> BlockText::instructions_of(NewBlock const& block) {
    std::vector<GuestInstruction> instructions;
    std::span<std::uint8_t const> guest = block.guest;
    for (Trace const* const trace : block.traces) {
        std::uint64_t const at = block.linear + trace->address - block.traces.front()->address;  // in the same page
        for (unsigned i = 0; i < trace->count; ++i) {
            Op const& op = trace->ops[i];
            instructions.push_back({at + op.offset, guest.subspan(op.offset, op.length)});
        }
        guest = guest.subspan(trace->bytes);
    }
    return instructions;
}

void BlockText::add_guest(std::string& text, GuestInstruction const& instruction) const {
    auto const code = std::as_bytes(instruction.bytes);
    fmt::format_to(std::back_inserter(text), "{:016x}  {}  {}\n", instruction.linear, hex_bytes(code),
                   disassembler_.text(code, CodeMode::bits64, instruction.linear));
}

void BlockText::add_host(std::string& text, HostCode code) const {
    while (!code.empty()) {
        auto const line = disassembler_.line(std::as_bytes(code), CodeMode::bits64, address_of_code(code));
        if (line.bytes == 0) return;
        fmt::format_to(std::back_inserter(text), "    {:012x}  {}  {}", address_of_code(code),
                       hex_bytes(std::as_bytes(code.first(line.bytes))), line.text);
        if (auto const thunk = thunks_.find(line.target); thunk != thunks_.end()) text += "  ; " + thunk->second;
        text += '\n';
        code = code.subspan(line.bytes);
    }
}

}  // namespace backplane
