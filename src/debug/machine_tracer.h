// Text traces of a machine: every instruction, and every exit from its engine with the device accesses before it.
//
// Each line begins with the machine's name. Instructions:
//
//     alpha 1024 64 0 ffffffff81000000 48 89 e5  mov rbp, rsp
//           |    |  | |                |         the instruction, in Intel's notation
//           |    |  | |                its bytes
//           |    |  | linear address
//           |    |  privilege level
//           |    bits of the code segment
//           its number, counted from 0; an iteration of a repeated one counts
//
// Exits, and the accesses of registers that led to them:
//
//     alpha 1500 1500 port write 0x3f8 1 0x41 serial     direction, address, bytes, value, device ("-": nobody)
//     alpha 1500 1500 device 476                         the event, and how many instructions were executed
//           |    instructions so far
//           virtual time in nanoseconds
#pragma once

#include "debug/disassembler.h"
#include "host/bounded_file.h"
#include "machine/machine.h"

namespace backplane {

/// Traces one machine into files that several machines may share; null: not that one.
class MachineTracer final : private BusObserver, private MachineObserver {
  public:
    /// The machine and the files must outlive the tracer.
    MachineTracer(Machine& machine, BoundedFile* instructions, BoundedFile* exits);
    MachineTracer(MachineTracer const&) = delete;
    MachineTracer& operator=(MachineTracer const&) = delete;
    ~MachineTracer() override;

  private:
    [[nodiscard]] bool write_instruction(RetiredInstruction const& instruction);
    void accessed(BusAccess const& access) override;
    void executed(unsigned cpu, Ticks begin, VirtualizationEvent const& event) override;

    Machine& machine_;
    BoundedFile* instructions_;
    BoundedFile* exits_;
    Disassembler disassembler_;
};

}  // namespace backplane
