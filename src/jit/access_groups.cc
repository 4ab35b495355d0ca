#include "jit/access_groups.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "base/address.h"
#include "jit/layout.h"

namespace backplane::jit {

namespace {

/// What the addresses of a group have in common, at some place of the block.
struct Key {
    ZydisRegister base, index, segment;
    std::uint8_t scale;
    std::int64_t page;  // RIP-relative: the page, counted from the block's

    bool operator==(Key const&) const = default;
    [[nodiscard]] bool names(ZydisRegister reg) const { return base == reg || index == reg; }
    [[nodiscard]] bool is_in_known_page() const { return base == ZYDIS_REGISTER_RIP; }
};

struct Member {
    Access* access;
    std::size_t instruction;
    std::int64_t displacement;
};

struct Group {
    std::vector<Member> members;
    std::int64_t lowest, behind;
    bool write;
};

/// A name for a group's addresses: those of `key` have moved by `shift` since the leader.
struct View {
    Key key;
    std::int64_t shift;
    std::size_t group;
};

struct Place {
    Key key;
    std::int64_t displacement;
    std::uint32_t bytes;
    bool write;
};

ZydisRegister whole(ZydisRegister reg) { return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg); }

class Grouping {
  public:
    Grouping(std::span<Instruction> instructions, std::function<bool(Instruction const&)> const& may_lead)
        : instructions_{instructions}, may_lead_{may_lead} {}

    void run() {
        for (index_ = 0; index_ < instructions_.size(); ++index_) visit(instructions_[index_]);
        assign();
    }

  private:
    void visit(Instruction& at) {
        switch (at.effects.treatment) {
            case Treatment::copy:
                if (auto const place = operand_of(at)) join(*place, at.operand);
                return follow_registers(at);
            case Treatment::push_memory:
                if (auto const place = operand_of(at)) join(*place, at.operand);
                [[fallthrough]];
            case Treatment::push:
            case Treatment::push_flags:
                join(on_stack(-8, true), at.stack);
                return shift(ZYDIS_REGISTER_RSP, -8);
            case Treatment::pop:
                join(on_stack(0, false), at.stack);
                shift(ZYDIS_REGISTER_RSP, 8);
                return forget(whole(at.operands[0].reg.value));
            case Treatment::leave:
                join(plain(ZYDIS_REGISTER_RBP, 0, false), at.stack);
                forget(ZYDIS_REGISTER_RSP);
                name(ZYDIS_REGISTER_RSP, ZYDIS_REGISTER_RBP, 8);
                return forget(ZYDIS_REGISTER_RBP);
            case Treatment::ret:
                return join(on_stack(0, false), at.stack);
            case Treatment::call:
                if (at.operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
                    if (auto const place = operand_of(at)) join(*place, at.operand);
                join(on_stack(-8, true), at.stack);
                return shift(ZYDIS_REGISTER_RSP, -8);
            case Treatment::lea:
            case Treatment::load_control:
            case Treatment::load_selector:
            case Treatment::time_stamp:
            case Treatment::divide:
            case Treatment::bit_string:
                return follow_registers(at);
            case Treatment::jmp:
                if (at.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
                    if (auto const place = operand_of(at)) join(*place, at.operand);
                return;
            case Treatment::nop:
            case Treatment::pause:
            case Treatment::jcc:
                return;
            default:
                views_.clear();
        }
    }

    // --- places ---------------------------------------------------------------------------------------------------
    static Place plain(ZydisRegister base, std::int64_t displacement, bool write) {
        return {{base, ZYDIS_REGISTER_NONE, ZYDIS_REGISTER_NONE, 0, 0}, displacement, 8, write};
    }
    static Place on_stack(std::int64_t displacement, bool write) { return plain(ZYDIS_REGISTER_RSP, displacement, write); }

    std::optional<Place> operand_of(Instruction const& at) const {
        if (at.effects.needs_alignment) return {};
        ZydisDecodedOperand const* const found = at.memory();
        if (found == nullptr || found->mem.type != ZYDIS_MEMOP_TYPE_MEM || found->size == 0) return {};
        ZydisDecodedOperandMem const& memory = found->mem;
        bool const has_base = memory.segment == ZYDIS_REGISTER_FS || memory.segment == ZYDIS_REGISTER_GS;
        Place place{{memory.base, memory.index, has_base ? memory.segment : ZYDIS_REGISTER_NONE, memory.index == ZYDIS_REGISTER_NONE ? std::uint8_t{0} : memory.scale, 0},
                    memory.disp.has_displacement ? memory.disp.value : 0,
                    found->size / 8U,
                    (found->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0};
        if (memory.base == ZYDIS_REGISTER_RIP) {
            if (has_base) return {};
            place.displacement += static_cast<std::int64_t>(at.offset) + at.decoded.length;
            place.key.page = place.displacement >> kPageShift;
            place.displacement -= place.key.page << kPageShift;
            if (place.displacement + place.bytes > static_cast<std::int64_t>(kPageBytes)) return {};
        }
        // The leader's address is computed from another displacement.
        constexpr std::int64_t kFar = std::int64_t{1} << 30;
        return place.displacement > -kFar && place.displacement < kFar ? std::optional{place} : std::nullopt;
    }

    // --- groups ---------------------------------------------------------------------------------------------------
    void join(Place const& place, Access& access) {
        for (View const& view : views_) {
            if (view.key != place.key) continue;
            Group& group = groups_[view.group];
            if (place.write && !group.write) continue;
            std::int64_t const displacement = place.displacement + view.shift;
            std::int64_t const lowest = std::min(group.lowest, displacement);
            std::int64_t const behind = std::max(group.behind, displacement + place.bytes);
            if (behind - lowest > (place.key.is_in_known_page() ? static_cast<std::int64_t>(kPageBytes) : kMostGroupBytes)) continue;
            group.lowest = lowest, group.behind = behind;
            group.members.push_back({&access, index_, displacement});
            return;
        }
        if (!may_lead_(instructions_[index_])) return;
        // What a store has asked for serves loads as well.
        if (place.write) std::erase_if(views_, [&](View const& view) { return view.key == place.key && !groups_[view.group].write; });
        views_.push_back({place.key, 0, groups_.size()});
        groups_.push_back({{{&access, index_, place.displacement}}, place.displacement, place.displacement + place.bytes, place.write});
    }

    /// A group of one is no group; of the others those get pins that are alive together, the earlier ones first.
    void assign() {
        std::array<std::size_t, kPins> free_from{};  // by pin: the first instruction that may lead with it
        for (Group const& group : groups_) {
            std::size_t const first = group.members.front().instruction, last = group.members.back().instruction;
            if (group.members.size() < 2) continue;
            auto const pin = std::find_if(free_from.begin(), free_from.end(), [&](std::size_t from) { return from <= first; });
            if (pin == free_from.end()) continue;
            *pin = last + 1;
            for (Member const& member : group.members)
                *member.access = {&member == &group.members.front() ? Access::Role::leads : Access::Role::follows,
                                  static_cast<std::uint8_t>(pin - free_from.begin()),
                                  static_cast<std::uint16_t>(group.behind - group.lowest),
                                  static_cast<std::uint16_t>(member.displacement - group.lowest)};
        }
    }

    // --- registers ------------------------------------------------------------------------------------------------
    void follow_registers(Instruction const& at) {
        if (auto const moved = constant_move(at)) return shift(moved->first, moved->second);
        auto const named = copy_of(at);
        ZydisRegister const into = named ? whole(at.operands[0].reg.value) : ZYDIS_REGISTER_NONE;
        for (unsigned i = 0; i < at.decoded.operand_count; ++i) {
            ZydisDecodedOperand const& operand = at.operands[i];
            if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER || (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) continue;
            forget(whole(operand.reg.value));
        }
        if (named) name(into, named->first, named->second);
    }

    /// The register that a constant is added to, and the constant.
    static std::optional<std::pair<ZydisRegister, std::int64_t>> constant_move(Instruction const& at) {
        if (at.operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER || at.operands[0].size != 64) return {};
        ZydisRegister const reg = at.operands[0].reg.value;
        bool const immediate = at.decoded.operand_count_visible == 2 && at.operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
        switch (at.decoded.mnemonic) {
            case ZYDIS_MNEMONIC_ADD:
                return immediate ? std::optional{std::pair{reg, at.operands[1].imm.value.s}} : std::nullopt;
            case ZYDIS_MNEMONIC_SUB:
                return immediate ? std::optional{std::pair{reg, -at.operands[1].imm.value.s}} : std::nullopt;
            case ZYDIS_MNEMONIC_INC:
                return std::pair{reg, std::int64_t{1}};
            case ZYDIS_MNEMONIC_DEC:
                return std::pair{reg, std::int64_t{-1}};
            case ZYDIS_MNEMONIC_LEA: {
                auto const source = copy_of(at);
                return source && source->first == reg ? source : std::nullopt;
            }
            default:
                return {};
        }
    }

    /// MOV from a register, or LEA with one register: that, and what is added.
    static std::optional<std::pair<ZydisRegister, std::int64_t>> copy_of(Instruction const& at) {
        if (at.operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER || at.operands[0].size != 64) return {};
        if (at.decoded.mnemonic == ZYDIS_MNEMONIC_MOV && at.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
            return at.operands[0].reg.value == at.operands[1].reg.value ? std::nullopt : std::optional{std::pair{at.operands[1].reg.value, std::int64_t{0}}};
        if (at.decoded.mnemonic != ZYDIS_MNEMONIC_LEA) return {};
        ZydisDecodedOperandMem const& memory = at.operands[1].mem;
        if (memory.base == ZYDIS_REGISTER_NONE || memory.base == ZYDIS_REGISTER_RIP || memory.index != ZYDIS_REGISTER_NONE) return {};
        return std::pair{memory.base, memory.disp.has_displacement ? memory.disp.value : std::int64_t{0}};
    }

    void shift(ZydisRegister reg, std::int64_t by) {
        std::erase_if(views_, [&](View const& view) { return view.key.index == reg; });
        for (View& view : views_)
            if (view.key.base == reg) view.shift += by;
    }
    void forget(ZydisRegister reg) {
        std::erase_if(views_, [&](View const& view) { return view.key.names(reg); });
    }
    /// `reg` is `source` + `added` from now on.
    void name(ZydisRegister reg, ZydisRegister source, std::int64_t added) {
        for (std::size_t i = 0, count = views_.size(); i < count; ++i) {
            View view = views_[i];
            if (view.key.base != source || view.key.index != ZYDIS_REGISTER_NONE) continue;
            view.key.base = reg;
            view.shift += added;
            views_.push_back(view);
        }
    }

    std::span<Instruction> instructions_;
    std::function<bool(Instruction const&)> const& may_lead_;
    std::size_t index_{0};
    std::vector<View> views_;
    std::vector<Group> groups_;
};

}  // namespace

void group_accesses(std::span<Instruction> instructions, std::function<bool(Instruction const&)> const& may_lead) {
    Grouping{instructions, may_lead}.run();
}

}  // namespace backplane::jit
