// What it costs to hand pages to another machine: by a change of owner, with the invalidation of both machines' TLBs,
// and beside it by memcpy and through a socket pair between two processes, all in one run.
//
//   cmake --build build --target bench_pages && build/bench_pages [REPETITIONS, 31]
//
// Prints the median, the quartiles and the number of repetitions. "Cold" is memory that a sweep over 64 MiB has driven
// out of the caches. Each repetition refills the TLBs before the clock starts, so that there is something to
// invalidate: in each machine a working set of 256 pages, or, as the worst case, every entry that there is.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "memory/ownership.h"
#include "mmu/tlb.h"

namespace backplane {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kBatch = 64;
constexpr std::uint64_t kMessagePages = 256;  // 1 MiB
constexpr std::uint64_t kWindow = 4096;
constexpr std::uint64_t kWorkingSet = 256;  // half of it user's, half the kernel's

/// What a processor keeps: the TLBs of its three views, flushed as a whole, as Cpu::drop_pages() does.
class Tlbs final : public TranslationObserver {
  public:
    enum class Fill : std::uint8_t { working_set, all };
    void refill(Fill fill) {
        std::uint64_t const pages = fill == Fill::all ? sets_[0].read.kSize : kWorkingSet / 2;
        for (TlbSet* set : {&sets_[0], &sets_[1]})
            for (std::uint64_t i = 0; i < pages; ++i) {
                set->read.insert(i << kPageShift, i, false);
                set->write.insert(i << kPageShift, i, false);
            }
    }
    void drop_pages(GuestPage, std::uint64_t) override {
        for (TlbSet& set : sets_) set.flush();
    }
    void watch_stores(GuestPage) override {}
    void code_written(GuestPhys, std::uint64_t) override {}

  private:
    TlbSet sets_[3];
};

struct Machines {
    Machines() {
        for (int i = 0; i < 2; ++i) {
            ids[i] = ownership.join({.pages = &maps[i],
                                     .page_count = kWindow,
                                     .quota = {.pages = 2 * kWindow,
                                               .lent_pages = kWindow,
                                               .borrowed_pages = kWindow,
                                               .pages_per_call = kMessagePages}});
            maps[i].add_observer(tlbs[i]);
        }
        for (std::uint64_t page = 0; page < kWindow; page += kMessagePages)
            (void)ownership.populate(ids[0], list(page, kMessagePages));
    }
    static std::vector<GuestPage> list(std::uint64_t first, std::uint64_t count) {
        std::vector<GuestPage> pages;
        for (std::uint64_t i = 0; i < count; ++i) pages.push_back(GuestPage{first + i});
        return pages;
    }
    FramePool pool{std::move(*FramePool::create(4 * kWindow))};
    FrameStock stock{pool};
    bool grown{stock.grow(4 * kWindow).has_value()};
    PageMap maps[2];
    Tlbs tlbs[2];
    Ownership ownership{stock};
    MachineId ids[2]{};
};

void evict() {
    static std::vector<char> sweep(std::size_t{64} << 20);
    for (std::size_t i = 0; i < sweep.size(); i += 64) ++sweep[i];
}

struct Spread {
    double low, median, high;
};

Spread measure(int repetitions, std::function<void()> const& prepare, std::function<void()> const& work) {
    std::vector<double> ns;
    for (int i = 0; i < repetitions; ++i) {
        prepare();
        auto const start = Clock::now();
        work();
        ns.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count());
    }
    std::sort(ns.begin(), ns.end());
    return {ns[ns.size() / 4], ns[ns.size() / 2], ns[3 * ns.size() / 4]};
}

void print(char const* what, Spread const& spread, double pages) {
    std::printf("%-52s %9.1f ns/page  (%.1f to %.1f)  %11.0f ns\n", what, spread.median / pages, spread.low / pages,
                spread.high / pages, spread.median);
}

/// One message there and, not measured, its pages back.
Spread donate(Machines& m, int repetitions, std::uint64_t count, Remainder remainder,
              Tlbs::Fill fill = Tlbs::Fill::working_set) {
    auto const pages = Machines::list(0, count);
    auto const move = [&](int from, int to, Remainder what) {
        auto const handle = m.ownership.offer({.sender = m.ids[from],
                                               .kind = TransferKind::donate,
                                               .remainder = what,
                                               .message_bytes = count * kPageBytes},
                                              pages, {&m.ids[to], 1});
        if (!handle ||
            m.ownership.retrieve(m.ids[to], *handle, TransferKind::donate, Access::read, pages) != OwnershipStatus::ok)
            std::abort();
    };
    bool there = false;
    auto const prepare = [&] {
        if (there) move(1, 0, Remainder::hole);
        there = true;
        for (Tlbs& tlbs : m.tlbs) tlbs.refill(fill);
    };
    Spread const spread = measure(repetitions, prepare, [&] { move(0, 1, remainder); });
    move(1, 0, Remainder::hole);
    return spread;
}

/// Mode `shared`: SHARE, RETRIEVE, and when the receiver is done RELINQUISH and RECLAIM.
Spread share(Machines& m, int repetitions, std::uint64_t count) {
    auto const pages = Machines::list(0, count);
    auto const targets = Machines::list(kWindow / 2, count);
    auto const refill = [&] {
        for (Tlbs& tlbs : m.tlbs) tlbs.refill(Tlbs::Fill::working_set);
    };
    return measure(repetitions, refill, [&] {
        auto const handle = m.ownership.offer({.sender = m.ids[0],
                                               .kind = TransferKind::share,
                                               .access = Access::read,
                                               .message_bytes = count * kPageBytes},
                                              pages, {&m.ids[1], 1});
        if (!handle ||
            m.ownership.retrieve(m.ids[1], *handle, TransferKind::share, Access::read, targets) != OwnershipStatus::ok ||
            m.ownership.relinquish(m.ids[1], *handle) != OwnershipStatus::ok ||
            m.ownership.reclaim(m.ids[0], *handle) != OwnershipStatus::ok)
            std::abort();
    });
}

/// Mode `cow`: the pages are read-only in both; then, when `stores`, the receiver writes into each.
Spread copy_on_write(int repetitions, std::uint64_t count, bool stores) {
    Machines m;
    auto const pages = Machines::list(0, count);
    auto const refill = [&] {
        // The receiver's copies go away, and the sender's pages are its own again.
        for (MachineId const id : m.ids) (void)m.ownership.release(id, pages);
        if (m.ownership.populate(m.ids[0], pages) != OwnershipStatus::ok) std::abort();
        for (Tlbs& tlbs : m.tlbs) tlbs.refill(Tlbs::Fill::working_set);
    };
    return measure(repetitions, refill, [&] {
        auto const handle = m.ownership.offer({.sender = m.ids[0],
                                               .kind = TransferKind::donate,
                                               .remainder = Remainder::copy_on_write,
                                               .message_bytes = count * kPageBytes},
                                              pages, {&m.ids[1], 1});
        if (!handle ||
            m.ownership.retrieve(m.ids[1], *handle, TransferKind::donate, Access::read, pages) != OwnershipStatus::ok)
            std::abort();
        if (!stores) return;
        for (GuestPage const page : pages)
            if (!m.maps[1].resolve_write(page)) std::abort();
    });
}

Spread copy(int repetitions, std::uint64_t bytes, bool is_cold) {
    std::vector<char> from(bytes, 1), to(bytes, 2);
    auto const prepare = [&] {
        if (is_cold) evict();
    };
    return measure(repetitions, prepare, [&] { std::memcpy(to.data(), from.data(), bytes); });
}

bool write_all(int descriptor, char const* data, std::size_t bytes) {
    while (bytes != 0) {
        ssize_t const done = ::write(descriptor, data, bytes);
        if (done <= 0) return false;
        data += done;
        bytes -= static_cast<std::size_t>(done);
    }
    return true;
}
bool read_all(int descriptor, char* data, std::size_t bytes) {
    while (bytes != 0) {
        ssize_t const done = ::read(descriptor, data, bytes);
        if (done <= 0) return false;
        data += done;
        bytes -= static_cast<std::size_t>(done);
    }
    return true;
}

/// 1 MiB to another process, and one byte back when it has all of it.
Spread socket_pair(int repetitions) {
    constexpr std::size_t kBytes = kMessagePages * kPageBytes;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
    std::vector<char> data(kBytes, 1);
    pid_t const child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        while (read_all(ends[1], data.data(), kBytes) && write_all(ends[1], data.data(), 1)) {
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    char answer = 0;
    Spread const spread = measure(
        repetitions, [] {},
        [&] {
            if (!write_all(ends[0], data.data(), kBytes) || !read_all(ends[0], &answer, 1)) std::abort();
        });
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    return spread;
}

int run(int repetitions) {
    Machines machines;
    std::printf("medians (quartiles) of %d repetitions\n", repetitions);
    print("remap, hole, 64 pages, invalidation included", donate(machines, repetitions, kBatch, Remainder::hole), kBatch);
    print("the same with full TLBs", donate(machines, repetitions, kBatch, Remainder::hole, Tlbs::Fill::all), kBatch);
    print("remap, exchange, 64 pages", donate(machines, repetitions, kBatch, Remainder::exchange), kBatch);
    print("cow, 64 pages, nobody stores", copy_on_write(repetitions, kBatch, false), kBatch);
    print("cow, 64 pages, the receiver stores into each", copy_on_write(repetitions, kBatch, true), kBatch);
    print("shared, 64 pages, and back", share(machines, repetitions, kBatch), kBatch);
    print("copy, 64 pages", donate(machines, repetitions, kBatch, Remainder::copy), kBatch);
    Spread const remap = donate(machines, repetitions, kMessagePages, Remainder::hole);
    print("remap, hole, 1 MiB", remap, kMessagePages);
    print("memcpy of a page, in the caches", copy(repetitions, kPageBytes, false), 1);
    print("memcpy of a page, cold", copy(repetitions, kPageBytes, true), 1);
    Spread const cold = copy(repetitions, kMessagePages * kPageBytes, true);
    print("memcpy of 1 MiB, cold", cold, kMessagePages);
    print("socket pair, 1 MiB between two processes", socket_pair(repetitions), kMessagePages);
    std::printf("1 MiB: a change of owner is %.1f times as fast as a cold memcpy\n", cold.median / remap.median);
    return 0;
}

}  // namespace
}  // namespace backplane

int main(int count, char** words) { return backplane::run(count > 1 ? std::max(1, std::atoi(words[1])) : 31); }
