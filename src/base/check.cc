#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace backplane {

void check_failed(char const* what, char const* file, int line) {
    std::fprintf(stderr, "backplane: a rule of its own broke: %s (%s:%d). This is a bug in Backplane.\n", what, file, line);
    std::abort();
}

}  // namespace backplane
