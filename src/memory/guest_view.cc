#include "memory/guest_view.h"

namespace backplane {

void GuestView::look(GuestMemory const& memory) {
    PageMap const& map = memory.map();
    std::uint64_t const pages = bytes_ == 0 ? 0 : (start_.page_offset() + bytes_ - 1) / kPageBytes + 1;
    PageRun const readable = map.run(page_of(start_), pages, Access::read);
    PageRun const writable = map.run(page_of(start_), pages, Access::read_write);
    bool const is_whole = pages != 0 && readable.count == pages;
    host_ = is_whole ? memory.pool().host(readable.first) + start_.page_offset() : nullptr;
    is_writable_ = is_whole && writable.count == pages && !writable.has_code;
    generation_ = map.generation();
}

}  // namespace backplane
