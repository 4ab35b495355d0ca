#include "machine/boot_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

#include "base/host_mapping.h"

namespace backplane {

namespace {

// What the user got wrong has bad_input's kind, and still the system's word for it ("No such file or directory").
Error cannot_read(std::string const& path, int error_number) {
    return bad_input(path + ": cannot read: " + std::strerror(error_number));
}

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Expected<std::vector<std::byte>, Error> read_boot_file(std::string const& path, std::uint64_t max_bytes) {
    std::error_code error;
    std::filesystem::file_status const status = std::filesystem::status(path, error);
    if (status.type() == std::filesystem::file_type::not_found) return Unexpected{cannot_read(path, ENOENT)};
    if (error) return Unexpected{cannot_read(path, error.value())};
    if (std::filesystem::is_directory(status)) return Unexpected{bad_input(path + ": is a directory: expected a file")};
    // A pipe or a device could block or never end.
    if (!std::filesystem::is_regular_file(status)) return Unexpected{bad_input(path + ": expected a regular file")};

    std::unique_ptr<std::FILE, CloseFile> const file{std::fopen(path.c_str(), "rbe")};
    if (file == nullptr) return Unexpected{cannot_read(path, errno)};
    std::uint64_t const size = std::filesystem::file_size(path, error);
    if (error) return Unexpected{cannot_read(path, error.value())};
    if (size == 0) return Unexpected{bad_input(path + ": the file is empty")};
    if (size > max_bytes) {
        return Unexpected{bad_input(fmt::format("{}: {} bytes: expected at most {}", path, size, max_bytes))};
    }
    std::vector<std::byte> bytes;
    bytes.reserve(size);
    advise_huge_pages({bytes.data(), size});
    bytes.resize(size);
    if (std::fread(bytes.data(), 1, size, file.get()) != size) {
        return Unexpected{std::ferror(file.get()) != 0 ? cannot_read(path, errno)
                                                       : bad_input(path + ": became shorter while it was read")};
    }
    return bytes;
}

}  // namespace backplane
