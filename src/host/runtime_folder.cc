#include "host/runtime_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace backplane {

std::filesystem::path runtime_folder() {
    char const* const given = std::getenv("XDG_RUNTIME_DIR");
    if (given != nullptr && *given == '/') return std::filesystem::path{given} / "backplane";
    return "/tmp/backplane-" + std::to_string(::getuid());
}

// In /tmp anybody may have made the folder first, so it is looked at without following links.
Expected<void, Error> make_runtime_folder(std::filesystem::path const& folder) {
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
        return Unexpected{host_error("cannot make " + folder.string(), errno)};
    struct stat status {};
    if (::lstat(folder.c_str(), &status) != 0) return Unexpected{host_error("cannot look at " + folder.string(), errno)};
    bool const is_ours = S_ISDIR(status.st_mode) && status.st_uid == ::getuid() && (status.st_mode & 022) == 0;
    if (!is_ours) return Unexpected{bad_input(folder.string() + ": not a folder of this user alone")};
    return {};
}

}  // namespace backplane
