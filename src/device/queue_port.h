// What a queue device offers to whoever carries its messages, and nothing about who that is
// (docs/design/queue-device.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "clock/virtual_time.h"
#include "memory/page_window.h"

namespace backplane {

inline constexpr std::size_t kInlineMessageBytes = 48;

/// How the monitor learnt of a submission (claim S1.4).
enum class SendForm : std::uint8_t {
    natural,    ///< found in the control structure at an exit that happened anyway
    immediate,  ///< placed in the control structure, then the doorbell
    registers,  ///< the operands were in register writes, nothing was placed
};

enum class QueueOperation : std::uint16_t {
    none,
    send,
    donate,
    lend,
    share,
    post,
    populate,
    release,
    relinquish,
    reclaim,
    swap
};

/// What a completion says.
enum class QueueStatus : std::uint16_t {
    ok,
    invalid,  ///< nonsense in the entry
    denied,   ///< the pages' state or the rack's policy
    busy,     ///< a quota; "space available" is signalled later
    no_memory,
    not_found,  ///< no such machine or handle
    expired,    ///< the receiver took it not in time; the pages are back
    gone,       ///< the receiver ended or was reset; the pages are back
};

/// An entry of the submission ring, copied once; any bits may be set in it.
struct QueueSubmission {
    std::uint16_t operation{0};
    std::uint16_t flags{0};
    MachineId receiver{};
    std::uint16_t page_count{0};
    std::uint32_t bytes{0};
    std::uint32_t cookie{0};
    std::array<std::byte, kInlineMessageBytes> operand{};
    SendForm form{SendForm::natural};
    Ticks sent{};
};

/// A message as the receiver finds it.
struct QueueArrival {
    enum class Kind : std::uint16_t { none, in_line, donated, lent, shared };
    std::uint64_t sequence{0};  ///< counts this sender's messages to this receiver from 1
    Ticks sent{};
    std::uint64_t handle{0};  ///< lent, shared: what to relinquish
    MachineId sender{};
    MachineId receiver{};
    Kind kind{Kind::in_line};
    std::uint32_t bytes{0};
    std::uint32_t cookie{0};
    std::array<std::byte, kInlineMessageBytes> data{};
    std::vector<GuestPage> pages{};  ///< of the receiver's window
};

/// A machine that can be talked to, for the directory.
struct QueuePeer {
    static constexpr std::uint16_t kMayInline = 1, kMayDonate = 2, kMayLend = 4, kMayShare = 8;
    std::string name;
    std::uint16_t allowed{0};
};

class QueuePort;

/// Called while the machine runs.
class QueuePortObserver {
  public:
    virtual ~QueuePortObserver() = default;
    /// The submission ring has entries.
    virtual void submitted(QueuePort& port, SendForm form) = 0;
    /// A message whose operands were in registers. The answer is all that its sender hears.
    virtual QueueStatus submitted_registers(QueuePort& port, QueueSubmission const& submission) = 0;
    /// The guest starts over. At the next barrier every page, offer and message of this device is forgotten, and
    /// reset_done() called.
    virtual void port_reset(QueuePort& port) = 0;
};

class QueuePort {
  public:
    virtual ~QueuePort() = default;
    virtual void set_observer(QueuePortObserver* observer) = 0;
    /// The pages of the device; those from first_message_page() on can change hands.
    [[nodiscard]] virtual PageWindow& window() = 0;
    [[nodiscard]] virtual GuestPage first_message_page() const = 0;
    /// The machine's page map when all of these pages are its RAM, else null.
    [[nodiscard]] virtual PageMap* ram(GuestPage first, std::uint64_t count) = 0;
    virtual void set_directory(MachineId self, std::span<QueuePeer const> peers) = 0;

    /// The guest has enabled the device and not broken its rings.
    [[nodiscard]] virtual bool is_enabled() const = 0;
    /// The next entry of the submission ring; none also while there is no room for its completion.
    [[nodiscard]] virtual std::optional<QueueSubmission> take_submission(SendForm form) = 0;
    /// Exactly once for each submission taken from the ring.
    virtual void complete(QueueSubmission const& submission, QueueStatus status, std::uint64_t handle) = 0;
    [[nodiscard]] virtual bool has_receive_room() const = 0;
    /// Writes a receive entry and moves the index; has_receive_room() holds.
    virtual void receive(QueueArrival const& arrival) = 0;
    virtual void reset_done() = 0;
    /// What was refused as busy can be tried again.
    virtual void space_available() = 0;
};

}  // namespace backplane
