#include "debug/machine_target.h"

#include "debug/inspect.h"

namespace backplane {

DebugTarget::Life MachineTarget::life() const {
    switch (machine_.state()) {
        case Machine::State::powered_off:
        case Machine::State::stopped:
            return Life::powered_off;
        case Machine::State::crashed:
            return Life::crashed;
        case Machine::State::running:
            break;
    }
    return Life::running;
}

CpuState MachineTarget::state(unsigned cpu) const { return machine_.engine(cpu).state(); }
void MachineTarget::set_state(unsigned cpu, CpuState const& state) { machine_.engine(cpu).set_state(state); }

std::size_t MachineTarget::read_virtual(unsigned cpu, GuestVirt start, ByteSpan into) const {
    return peek(machine_.memory(), state(cpu), start, into);
}
std::optional<GuestPhys> MachineTarget::translate(unsigned cpu, GuestVirt address) const {
    return translate_quietly(machine_.memory(), state(cpu), address);
}
std::size_t MachineTarget::read_physical(GuestPhys start, ByteSpan into) const {
    return peek(machine_.memory(), start, into);
}
bool MachineTarget::write_virtual(unsigned cpu, GuestVirt start, ConstByteSpan from) {
    return poke(machine_.memory(), state(cpu), start, from);
}
bool MachineTarget::write_physical(GuestPhys start, ConstByteSpan from) { return poke(machine_.memory(), start, from); }

bool MachineTarget::set_points(DebugPoints const& points) {
    bool all = true;
    for (unsigned cpu = 0; cpu < cpu_count(); ++cpu) all = machine_.engine(cpu).set_debug_points(points) && all;
    return all;
}
void MachineTarget::raise_machine_check(unsigned cpu, std::uint64_t status, GuestPhys address) {
    machine_.engine(cpu).cpu().raise_machine_check(status, address.value());
}
void MachineTarget::step(unsigned cpu) { machine_.resume(Machine::Resume::step, cpu); }

}  // namespace backplane
