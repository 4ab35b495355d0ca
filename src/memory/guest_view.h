// A range of a machine's memory that a device looks at again and again, such as a ring: where it lies in the host is
// found once, and anew only after a change of the page map. What is no single range of host memory, or has code, is
// reached page by page as through GuestMemory.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/address.h"
#include "memory/guest_memory.h"

namespace backplane {

class GuestView {
  public:
    GuestView() = default;
    /// Any range is legal; what of it is no RAM fails when it is used.
    GuestView(GuestPhys start, std::uint64_t bytes) : start_{start}, bytes_{bytes} {}

    /// Copies an object out, `offset` bytes from the start and within the range. A view is used with one memory only.
    /// \return false when a byte of it is not readable RAM
    template <typename T>
    [[nodiscard]] bool read(GuestMemory const& memory, std::uint64_t offset, T& object) {
        follow(memory);
        check(offset + sizeof(T) <= bytes_, "an object lies within its view");
        if (host_ == nullptr) return memory.read_object(start_ + offset, object);
        std::memcpy(&object, host_ + offset, sizeof(T));
        return true;
    }
    /// The same inwards. \return false when a byte is not writable RAM
    template <typename T>
    [[nodiscard]] bool write(GuestMemory& memory, std::uint64_t offset, T const& object) {
        follow(memory);
        check(offset + sizeof(T) <= bytes_, "an object lies within its view");
        if (!is_writable_) return memory.write_object(start_ + offset, object);
        std::memcpy(host_ + offset, &object, sizeof(T));
        return true;
    }

  private:
    static constexpr std::uint64_t kNever = ~std::uint64_t{0};

    void follow(GuestMemory const& memory) {
        if (generation_ != memory.map().generation()) look(memory);
    }
    void look(GuestMemory const& memory);

    GuestPhys start_{};
    std::uint64_t bytes_{0};
    std::uint64_t generation_{kNever};
    std::byte* host_{nullptr};  // null: no single range of host memory
    bool is_writable_{false};   // and nobody has to be told of stores
};

}  // namespace backplane
