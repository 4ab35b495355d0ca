// Writes AML, the byte code of ACPI's namespace, so that the tables read like ASL.
//
// Each function returns the code of one object; those with contents take the contents' code:
//
//   device("PCI0", {name("_HID", eisa_id("PNP0A03")), name("_UID", integer(0))})
//
// Source: [ACPI65] chapter 20 (AML), 6.4 (resource descriptors)
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace backplane::aml {

using Code = std::vector<std::byte>;

/// The codes one after the other.
[[nodiscard]] Code join(std::initializer_list<Code> parts);

// Data ([ACPI65] 20.2.3, 20.2.5.4).
[[nodiscard]] Code integer(std::uint64_t value);
[[nodiscard]] Code string(std::string_view text);  ///< ASCII without zeros
[[nodiscard]] Code eisa_id(std::string_view id);   ///< "PNP0A03": three upper-case letters, four hex digits
[[nodiscard]] Code package(std::initializer_list<Code> elements);
[[nodiscard]] Code package(std::vector<Code> const& elements);  ///< at most 255
[[nodiscard]] Code buffer(Code const& bytes);

// Named objects (20.2.5.1, 20.2.5.2). A path is "NAME", "\\_SB" or "\\_SB.PCI0"; a shorter name is padded with '_'.
[[nodiscard]] Code path(std::string_view text);
[[nodiscard]] Code name(std::string_view text, Code const& value);
[[nodiscard]] Code scope(std::string_view text, std::initializer_list<Code> contents);
[[nodiscard]] Code device(std::string_view text, std::initializer_list<Code> contents);

// Resources (6.4). A resource_template() is a buffer of descriptors with an end tag.
[[nodiscard]] Code resource_template(std::initializer_list<Code> descriptors);
/// Ports that a device has at a fixed place, all 16 address bits decoded (6.4.2.5).
[[nodiscard]] Code io_ports(std::uint16_t first, std::uint8_t count);
/// Memory that a device has at a fixed place, below 4 GiB (6.4.3.4).
[[nodiscard]] Code fixed_memory(std::uint32_t first, std::uint32_t bytes);
/// An input of the I/O APIC that belongs to one device: edge-triggered, active high (6.4.3.6).
[[nodiscard]] Code edge_interrupt(std::uint32_t number);
// What a bridge hands on to the bus below it (6.4.3.5), each as first and count.
[[nodiscard]] Code bus_window(std::uint16_t first, std::uint16_t count);
[[nodiscard]] Code io_window(std::uint16_t first, std::uint16_t count);
[[nodiscard]] Code memory_window32(std::uint32_t first, std::uint32_t bytes);
[[nodiscard]] Code memory_window64(std::uint64_t first, std::uint64_t bytes);

}  // namespace backplane::aml
