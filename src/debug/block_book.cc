#include "debug/block_book.h"

namespace backplane {

void BlockBook::made_block(NewBlock const& block) {
    blocks_.insert_or_assign(block.traces.front()->address, Kept{block.linear,
                                                                 block.view,
                                                                 {block.traces.begin(), block.traces.end()},
                                                                 block.host,
                                                                 {block.guest.begin(), block.guest.end()},
                                                                 block.marks});
}

std::optional<std::string> BlockBook::find(std::uint64_t physical) const {
    auto const found = blocks_.find(physical);
    if (found == blocks_.end()) return {};
    Kept const& kept = found->second;
    return text_.block({kept.linear, kept.view, kept.traces, kept.guest, kept.host, kept.marks});
}

}  // namespace backplane
