// The monitor's side of the queue devices of a rack (claim S1.10): takes messages out of the senders' control
// structures, decides by policy and quota, and puts them into the receivers' queues, and from there into theirs.
//
// Messages land at barriers, in the order (sent time, machine, sequence), like frames (docs/design/crossover.md). What
// a machine's own submission does to its own pages happens at once. Machines may run on several threads, so this is done under
// Ownership::mutex(); at a barrier none runs.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "clock/virtual_time.h"
#include "crossover/message_recorder.h"
#include "crossover/vm_queue.h"
#include "device/queue_port.h"
#include "memory/frame_stock.h"
#include "memory/ownership.h"

namespace backplane {

/// What `send` does with the pages of a message.
enum class TransferMode : std::uint8_t {
    remap,   ///< DONATE: the page leaves the sender (claim S1.5)
    cow,     ///< read-only in both, copied at the first store (Bugnion)
    shared,  ///< SHARE until the receiver is done: memory that both reach (Shultz)
    copy,
};
[[nodiscard]] std::string_view transfer_mode_text(TransferMode mode);

/// The most of one machine's pages that may be away, and of others' that may be here.
struct QueueQuotas {
    std::uint64_t flight_pages{1024};  ///< on their way from the machine
    std::uint64_t lent_pages{1024};
    std::uint64_t borrowed_pages{1024};
    std::uint32_t handles{256};  ///< offers that are not finished
    bool operator==(QueueQuotas const&) const = default;
};

struct MessageExchangeOptions {
    TransferMode transfer{TransferMode::remap};
    /// How long a message waits for its receiver before its pages go back, from its first barrier.
    Ticks wait{milliseconds(1000)};
    /// How long a borrower may keep lent or shared pages.
    Ticks deadline{milliseconds(1000)};
    std::uint64_t queued_bytes{std::uint64_t{4} << 20};  ///< on their way from one machine to one other
    QueueQuotas quotas{};                                ///< of a machine that was attached without its own
};

struct QueueReport {
    std::string machine;
    std::uint64_t sent_messages{0};  ///< landed at their receivers
    std::uint64_t sent_bytes{0};
    std::uint64_t received_messages{0};
    std::uint64_t received_bytes{0};
    std::uint64_t natural{0};  ///< submissions by the form of claim S1.4
    std::uint64_t immediate{0};
    std::uint64_t registers{0};
    std::uint64_t denied{0};  ///< refused: policy, or the state of pages
    std::uint64_t busy{0};
    std::uint64_t expired{0};
};

class MessageExchange final : private QueuePortObserver {
  public:
    /// Frames that the pool must have for a machine with such a window, besides the device's own.
    [[nodiscard]] static std::uint64_t frames_needed(std::uint64_t window_pages, QueueQuotas const& quotas);

    /// The pool must outlive the exchange.
    MessageExchange(MessageExchangeOptions const& options, FramePool& pool);
    ~MessageExchange() override;
    MessageExchange(MessageExchange const&) = delete;
    MessageExchange& operator=(MessageExchange const&) = delete;

    /// Machines are numbered in the order of attaching. The port must outlive the exchange.
    /// Errors: the pool has no frames for its window.
    [[nodiscard]] Expected<MachineId, Error> attach(QueuePort& port, std::string name,
                                                    std::optional<QueueQuotas> const& quotas = {});
    /// `calls` are bits of QueuePeer. Nothing is allowed that was not said here. `queued_bytes`, when given, takes the
    /// place of the options'.
    void allow(MachineId from, MachineId to, std::uint16_t calls, std::optional<std::uint64_t> queued_bytes = {});
    /// To be called when all machines are attached and allowed: shows each of them its directory.
    void publish();

    /// Who wants to see the messages, and outlives the exchange; null: nobody.
    void set_recorder(MessageRecorder* recorder) { recorder_ = recorder; }
    /// Moves what is due. Called while no machine runs.
    void deliver(Ticks barrier);
    [[nodiscard]] Ticks next_deadline() const { return next_deadline_; }
    /// Something is left over for the next barrier.
    [[nodiscard]] bool has_work() const { return has_work_; }

    /// The machine has stopped for good: what it holds goes back, what it sent still arrives.
    void machine_left(MachineId machine);

    [[nodiscard]] TransferMode transfer() const { return options_.transfer; }
    [[nodiscard]] QueueReport const& report(MachineId machine) const { return ports_[machine.value()]->report; }
    [[nodiscard]] std::size_t machine_count() const { return ports_.size(); }
    [[nodiscard]] Ownership const& ownership() const { return ownership_; }
    [[nodiscard]] FrameStock const& stock() const { return stock_; }
    /// Messages that wait in the monitor for a machine.
    [[nodiscard]] std::size_t waiting_count(MachineId machine) const { return ports_[machine.value()]->queue.size(); }

  private:
    struct Port {
        QueuePort* device;
        MachineId id;
        std::string name;
        std::vector<std::uint16_t> allowed{};  // by receiver
        std::deque<QueuedMessage> outgoing{};  // taken from the sender, not yet at a barrier
        VmQueue queue{};
        std::deque<GuestPage> posted{};
        std::vector<bool> is_posted{};
        std::vector<std::pair<QueueSubmission, TransferHandle>> relinquished{};  // until the barrier
        std::vector<std::uint64_t> sequences{};                                  // of messages, by receiver
        std::vector<std::uint64_t> queued_bytes{};                               // likewise
        std::map<std::size_t, std::uint64_t> most_queued_bytes{};                // likewise, where it is not the options'
        std::uint32_t in_transit{0};
        bool wants_space{false};
        bool is_resetting{false};
        bool has_left{false};
        QueueReport report{};
    };
    struct Return {  // mode `shared`
        MachineId sender;
        QueueSubmission submission;
        bool is_silent;
    };

    void submitted(QueuePort& port, SendForm form) override;
    QueueStatus submitted_registers(QueuePort& port, QueueSubmission const& submission) override;
    void port_reset(QueuePort& port) override;

    [[nodiscard]] Port& port_of(QueuePort& device);
    Port& port(MachineId machine) { return *ports_[machine.value()]; }
    void fill(Port& port);

    void take_submissions(QueuePort& port, SendForm form);
    void handle(Port& port, QueueSubmission const& submission);
    void complete(Port& port, QueueSubmission const& submission, QueueStatus status, std::uint64_t handle = 0);
    [[nodiscard]] QueueStatus send(Port& port, QueueSubmission const& submission);
    [[nodiscard]] QueueStatus check_send(Port const& port, QueueSubmission const& submission) const;
    [[nodiscard]] QueueStatus make_offer(Port& port, QueuedMessage& message);
    [[nodiscard]] QueueStatus post(Port& port, QueueSubmission const& submission);
    [[nodiscard]] QueueStatus swap(Port& port, QueueSubmission const& submission);
    [[nodiscard]] std::uint64_t most_queued(Port const& port, std::size_t to) const;
    [[nodiscard]] std::vector<GuestPage> pages_of(QueueSubmission const& submission) const;
    [[nodiscard]] TransferOffer offer_of(Port const& port, QueuedMessage const& message) const;

    void begin_barrier(Ticks barrier);
    void relinquish_all();
    void bring_back_shares();
    void enqueue(Ticks barrier);
    void dequeue(Port& receiver, Ticks barrier);
    [[nodiscard]] bool land(Port& receiver, QueuedMessage const& message);
    [[nodiscard]] bool take_posted(Port& receiver, std::size_t count, std::vector<GuestPage>& pages);
    void settle(QueuedMessage const& message, QueueStatus status);
    void give_back(Port& receiver, QueuedMessage const& message, QueueStatus status);
    void forget(Port& port);
    void make_silent(MachineId sender);

    MessageExchangeOptions options_;
    FrameStock stock_;
    Ownership ownership_;
    std::vector<std::unique_ptr<Port>> ports_;
    std::map<std::uint64_t, Return> returns_;  // by handle
    Ticks now_{};
    Ticks next_deadline_{Ticks::never()};
    bool has_work_{false};
    MessageRecorder* recorder_{nullptr};
};

}  // namespace backplane
