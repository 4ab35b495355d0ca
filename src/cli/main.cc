#include <span>

#include "cli/commands.h"

int main(int argument_count, char** arguments) {
    std::span<char const* const> const all{arguments, static_cast<std::size_t>(argument_count)};
    return static_cast<int>(backplane::run_backplane(all.empty() ? all : all.subspan(1)));
}
