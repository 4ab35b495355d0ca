// A predecoded instruction and the trace it stands in (docs/design/interpreter.md).
#pragma once

#include <cstdint>
#include <iterator>

namespace backplane {

class Cpu;
struct Op;

/// Carries out one instruction. Returns the next one, or null to go back to the dispatcher (Cpu::leave_reason()).
using Handler = Op const* (*)(Cpu&, Op const*);

/// How an effective address is formed.
enum class AddressForm : std::uint8_t {
    flat64,   ///< 64-bit mode, 64-bit address size
    far64,    ///< as flat64, relative to RIP so far that 4 GiB have to be added to Op::disp
    wrap32,   ///< 64-bit mode, 32-bit address size: the offset wraps at 32 bits
    legacy32, ///< outside 64-bit mode, 32-bit address size
    legacy16, ///< 16-bit address size
};

/// 32 bytes. Registers are byte offsets into the register file (Cpu::slot), so that AL, AH and RAX need no cases.
struct Op {
    Handler run;
    std::int64_t imm;         ///< immediate, sign-extended; jump targets: distance from the trace's start
    std::int32_t disp;        ///< displacement; RIP-relative: from the trace's start
    std::uint8_t dst;         ///< first register operand
    std::uint8_t src;         ///< second register operand
    std::uint8_t base;        ///< address: base register, kZeroSlot or kCodeSlot
    std::uint8_t index;       ///< address: index register or kZeroSlot
    std::uint8_t scale : 2;   ///< address: log2 of the index's factor
    std::uint8_t repeat : 2;  ///< 0 none, 1 REP/REPE, 2 REPNE
    std::uint8_t lock : 1;
    std::uint8_t stack : 1;   ///< the memory operand is in the stack segment: #SS instead of #GP
    std::uint8_t extra : 2;   ///< for the handler's own use
    AddressForm form : 3;
    std::uint8_t access : 5;  ///< memory operand: index into kAccessBytes, and kAccessWrites; looked at outside 64-bit mode
    std::uint8_t segment;     ///< slot of the segment base to add: SegmentName, or kFlatSegment
    std::uint8_t length;      ///< bytes of the instruction
    std::uint16_t offset;     ///< bytes from the trace's start to this instruction
    std::uint8_t position;    ///< instructions before this one in the trace
    std::uint8_t aux;         ///< for the handler's own use (third register, condition, count)
};
static_assert(sizeof(Op) == 32);

inline constexpr std::uint8_t kZeroSlot = 16;  ///< always 0
inline constexpr std::uint8_t kCodeSlot = 17;  ///< RIP of the running trace's first byte (an offset in the code segment)
inline constexpr std::uint8_t kFlatSegment = 6;

/// Op.access: the sizes that memory operands have, in bytes. A size in between counts as the next larger one.
inline constexpr std::uint16_t kAccessBytes[] = {1, 2, 4, 6, 8, 10, 14, 16, 28, 32, 64, 94, 108, 512, 832, 4096};
inline constexpr std::uint8_t kAccessWrites = 16;
[[nodiscard]] constexpr std::uint8_t access_index(std::uint32_t bytes) {
    std::uint8_t index = 0;
    while (index + 1U < std::size(kAccessBytes) && kAccessBytes[index] < bytes) ++index;
    return index;
}

/// What decoding depends on. `bits32_bounded` is 32-bit code whose segment is not flat: its traces, like those of
/// 16-bit code, are never linked, so that each branch is compared with the segment's limit.
enum class CodeMode : std::uint8_t { bits16, bits32, bits64, bits32_bounded };

struct Trace;
/// One of a list that the second tier keeps.
struct TraceUser {
    Trace* trace;
    TraceUser* next;
};

/// Consecutive instructions of one page (the last may reach into the next page), decoded once.
struct Trace {
    static constexpr std::uint32_t kInvalid = 0xffff'ffff;

    std::uint64_t address;      ///< guest-physical address of the first byte
    std::uint64_t second_page;  ///< guest-physical address of the page its last bytes are in, or kNoPage
    std::uint32_t cost;         ///< instructions in it; kInvalid once it must not be entered any more
    std::uint32_t bytes;        ///< of guest code
    CodeMode mode;
    std::uint8_t count;         ///< instructions in it (also when invalid)
    Trace* bucket_next;         ///< trace cache
    void* code;                 ///< host code of the second tier, or null
    void* code_exit;            ///< where an entry into forgotten code is sent
    TraceUser* users;           ///< traces whose code the second tier made it part of
    static constexpr std::uint16_t kGivenUp = 0xffff;
    std::uint16_t uses;         ///< entries by the dispatcher, until it is translated or given up
    std::uint8_t code_view;     ///< CodeView that the code was made for
    std::uint8_t code_count;    ///< instructions that the code takes off the quota: those of traces behind it as well
    Trace* links[2];            ///< traces at the direct successors: [0] fall-through, [1] taken
    Op ops[1];                  ///< count of them (more storage follows)

    static constexpr std::uint64_t kNoPage = ~std::uint64_t{0};
};

}  // namespace backplane
