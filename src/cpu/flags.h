// The arithmetic flags, kept lazily: two words from which each flag is computed when somebody asks.
//
// Most flag writes are overwritten unread, so an operation stores its result and the vector of carries out of each
// bit, and nothing is decided. docs/design/interpreter.md shows the derivation.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace backplane {

namespace rflags {
inline constexpr std::uint64_t kCarry = 1 << 0;
inline constexpr std::uint64_t kFixed = 1 << 1;
inline constexpr std::uint64_t kParity = 1 << 2;
inline constexpr std::uint64_t kAuxiliary = 1 << 4;
inline constexpr std::uint64_t kZero = 1 << 6;
inline constexpr std::uint64_t kSign = 1 << 7;
inline constexpr std::uint64_t kTrap = 1 << 8;
inline constexpr std::uint64_t kInterrupt = 1 << 9;
inline constexpr std::uint64_t kDirection = 1 << 10;
inline constexpr std::uint64_t kOverflow = 1 << 11;
inline constexpr std::uint64_t kIopl = 3 << 12;
inline constexpr std::uint64_t kNestedTask = 1 << 14;
inline constexpr std::uint64_t kResume = 1 << 16;
inline constexpr std::uint64_t kVirtual8086 = 1 << 17;
inline constexpr std::uint64_t kAlignmentCheck = 1 << 18;
inline constexpr std::uint64_t kIdentification = 1 << 21;
inline constexpr std::uint64_t kArithmetic = kCarry | kParity | kAuxiliary | kZero | kSign | kOverflow;
}  // namespace rflags

class LazyFlags {
  public:
    [[nodiscard]] bool carry() const { return aux_ >> 63 != 0; }
    [[nodiscard]] bool overflow() const { return (aux_ ^ aux_ << 1) >> 63 != 0; }
    [[nodiscard]] bool zero() const { return result_ == 0; }
    [[nodiscard]] bool sign() const { return (result_ >> 63 ^ (aux_ >> 4 & 1)) != 0; }
    [[nodiscard]] bool parity() const {
        return (std::popcount(static_cast<std::uint8_t>(result_ ^ aux_ >> 8)) & 1) == 0;
    }
    [[nodiscard]] bool auxiliary() const { return (aux_ >> 3 & 1) != 0; }

    [[nodiscard]] std::uint64_t value() const {
        return (carry() ? rflags::kCarry : 0) | (parity() ? rflags::kParity : 0) |
               (auxiliary() ? rflags::kAuxiliary : 0) | (zero() ? rflags::kZero : 0) | (sign() ? rflags::kSign : 0) |
               (overflow() ? rflags::kOverflow : 0);
    }

    /// Sets all six from a flags image.
    void set(std::uint64_t flags) {
        result_ = (flags & rflags::kZero) != 0 ? 0 : 0x100;
        bool const cf = (flags & rflags::kCarry) != 0;
        bool const of = (flags & rflags::kOverflow) != 0;
        aux_ = std::uint64_t{cf} << 63 | std::uint64_t{cf != of} << 62 |
               ((flags & rflags::kAuxiliary) != 0 ? 8 : 0) | ((flags & rflags::kSign) != 0 ? 16 : 0) |
               ((flags & rflags::kParity) != 0 ? 0 : 0x100);
    }

    /// After a logical operation: CF = OF = 0, AF (undefined) = 0.
    template <typename T>
    void set_logic(T result) {
        result_ = sign_extend(result);
        aux_ = 0;
    }

    /// After an addition or subtraction, `carries` holds the carry (or borrow) out of every bit.
    template <typename T>
    void set_arithmetic(T result, T carries) {
        result_ = sign_extend(result);
        if constexpr (sizeof(T) == 8) {
            aux_ = carries & 0xc000'0000'0000'0008;
        } else {
            aux_ = std::uint64_t{carries} << (64 - 8 * sizeof(T)) | (carries & 8);
            aux_ &= 0xc000'0000'0000'0008;
        }
    }

    /// After a shift, rotate or multiplication: CF and OF as given, AF (undefined) = 0.
    template <typename T>
    void set_result(T result, bool cf, bool of) {
        result_ = sign_extend(result);
        aux_ = std::uint64_t{cf} << 63 | std::uint64_t{cf != of} << 62;
    }

    /// CF alone (CLC, STC, CMC, BT): the others keep their values.
    void set_carry(bool cf) {
        bool const of = overflow();
        aux_ = (aux_ & ~(std::uint64_t{3} << 62)) | std::uint64_t{cf} << 63 | std::uint64_t{cf != of} << 62;
    }
    /// CF and OF (rotates): the others keep their values.
    void set_carry_overflow(bool cf, bool of) {
        aux_ = (aux_ & ~(std::uint64_t{3} << 62)) | std::uint64_t{cf} << 63 | std::uint64_t{cf != of} << 62;
    }
    /// ZF alone (BSF, CMPXCHG8B, LAR...): the others keep their values.
    void set_zero(bool zf) { set(zf ? value() | rflags::kZero : value() & ~rflags::kZero); }

    /// Of the word whose bit 63 is CF, for code that reads it without us.
    static constexpr std::size_t carry_word_offset();

  private:
    template <typename T>
    static constexpr std::uint64_t sign_extend(T value) {
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(value)));
    }

    std::uint64_t result_{0x100};  // sign-extended; ZF = (result_ == 0)
    std::uint64_t aux_{0x100};     // 63: CF, 62: CF ^ OF, 15:8: parity correction, 4: sign correction, 3: AF
};

constexpr std::size_t LazyFlags::carry_word_offset() { return offsetof(LazyFlags, aux_); }

}  // namespace backplane
