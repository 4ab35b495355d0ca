#include "base/error.h"

#include <cstring>

namespace backplane {

Error host_error(std::string message, int error_number) {
    return {Error::Kind::host, std::move(message) + ": " + std::strerror(error_number)};
}

}  // namespace backplane
