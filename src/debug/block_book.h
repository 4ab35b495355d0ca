// The blocks that a translator has made last, to be looked up by address.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "debug/block_text.h"
#include "jit/block.h"

namespace backplane {

class BlockBook final : public CodeListener {
  public:
    void made_thunk(Thunk const& thunk) override { text_.add_thunk(thunk); }
    void made_block(NewBlock const& block) override;
    void forgot_block(std::uint8_t const*, std::uint64_t physical, HostCode) override { blocks_.erase(physical); }
    void flushed() override { blocks_.clear(); }

    /// The block at a guest-physical address as text (debug/code_recorder.h); none: nothing is translated there.
    [[nodiscard]] std::optional<std::string> find(std::uint64_t physical) const;

  private:
    struct Kept {
        std::uint64_t linear;
        CodeView view;
        std::vector<Trace*> traces;
        HostCode host;
        std::vector<std::uint8_t> guest;
        jit::BlockMarks marks;
    };
    BlockText text_;
    std::map<std::uint64_t, Kept> blocks_;
};

}  // namespace backplane
