#include "rack/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace backplane {
namespace {

RackReport example() {
    RackReport report;
    report.ending = Ending::crashed;
    report.seed = 7;
    report.virtual_time = milliseconds(2500);
    report.quantum = microseconds(100);
    report.barriers = 77;
    report.trace_hash = 0xab;

    MachineReport alpha;
    alpha.name = "alpha";
    alpha.state = MachineState::powered_off;
    alpha.instructions = 1'500'000'000;
    alpha.cpus = {{1'000'000'000, 7, 1}, {500'000'000, 3, 0}};
    alpha.virtual_time = milliseconds(2500);
    alpha.idle_time = milliseconds(1000);
    alpha.stolen_time = milliseconds(50);
    alpha.unclaimed_accesses = 3;
    NicReport nic;
    nic.name = "nic0";
    nic.model = "e1000";
    nic.mac = {2, 0, 0, 0, 0, 1};
    nic.link = "lan";
    nic.counters = {10, 20, 5, 9};
    nic.sent_frames = 12;
    nic.sent_bytes = 1200;
    nic.received_frames = 20;
    nic.received_bytes = 2000;
    nic.queues = {{7, 12}, {5, 8}};
    alpha.nics.push_back(nic);
    alpha.disks.push_back({"disk0", "d.img", 8192, 4, 2048, 2, 1024, 1, 0});
    report.machines.push_back(alpha);

    MachineReport beta;
    beta.name = "beta";
    beta.state = MachineState::crashed;
    beta.cause = "triple fault\x1b]0;\"";
    beta.rip = 0xffffffff81000123;
    report.machines.push_back(beta);

    LinkSummary lan;
    lan.name = "lan";
    lan.completion = "landed";
    lan.frames = 30;
    lan.bytes = 3000;
    lan.deliveries = 32;
    lan.copies = 32;
    lan.whole_frames = 7;
    lan.unsummed_frames = 8;
    lan.cut_frames = 3;
    lan.cut_segments = 9;
    lan.waits = 2;
    lan.drops = {{"no buffer", 0}, {"no such station", 4}};
    lan.detected = {{"destination", 20}, {"default mapping", 0}, {"configuration", 2}};
    lan.outside_frames = 5;
    lan.remaps_to_uplink = 2;
    lan.remaps_to_peer = 1;
    lan.capture = CaptureSummary{"lan.pcapng", 30, "No space left on device"};
    report.links.push_back(lan);

    report.host = {1'250'000'000, 1'200'000'000, std::uint64_t{300} << 20, 2, 33, 500'000'000, 900'000'000};
    report.host.translators.push_back({.processor = "alpha.cpu0",
                                       .instructions = 900'000'000,
                                       .all_instructions = 1'000'000'000,
                                       .blocks = 2000,
                                       .guest_bytes = 10'000,
                                       .host_bytes = 45'000,
                                       .direct_jumps = 1000,
                                       .chained = 750,
                                       .entries = 77,
                                       .slow_accesses = 55,
                                       .split_groups = 4,
                                       .guesses_given_up = 2,
                                       .page_walks = 44,
                                       .flushes = 2,
                                       .longest_flush_ns = 1'500'000,
                                       .exits = {{"event", 70}, {"fault", 0}, {"not hot", 7}},
                                       .handlers = {{"swapgs", 9}, {"cli", 8}},
                                       .handler_calls = 20});
    return report;
}

TEST(Report, ForPeople) {
    EXPECT_EQ(human_report(example()),
              R"(rack: a machine crashed after 2.500000 s of virtual time; engine sim, seed 7, trace 00000000000000ab, repeatable

machine  instructions  virtual s  idle %  stolen %  unclaimed  state
alpha      1500000000   2.500000   40.00      2.00          3  powered off
beta                0   0.000000    0.00      0.00          0  crashed: triple fault\x1b]0;" at rip 0xffffffff81000123

processor   instructions  interrupts  exceptions
alpha.cpu0    1000000000           7           1
alpha.cpu1     500000000           3           0

nic         mac                link  tail moves  head moves  rx interrupts  tx-complete interrupts  sent  received
alpha.nic0  02:00:00:00:00:01  lan           10          20              5                       9    12        20

disk         size  reads  bytes read  writes  bytes written  flushes  failures  image
alpha.disk0  8192      4        2048       2           1024        1         0  d.img

link  completion  frames  bytes  deliveries  copies/frame  whole  cut  peak stored bytes  waits  drops
lan   landed          30   3000          32         1.000      7    3                  0      2  no such station 4
lan: detected by destination 20, configuration 2
lan: frames for outside 5, remaps to the uplink 2, remaps to a peer 1
lan: 30 frames captured in lan.pcapng; ended early: No space left on device

host: 1.25 s, 1.20 s of CPU time, at most 300 MiB; 2 threads shared 43 % of 77 quanta, and took 0.50 s for 0.90 s of work there: 1.80 times as fast

translator  instructions  of all %  blocks  bytes x  chained %  entries  TLB misses  page walks  handlers  flushes  longest ms
alpha.cpu0     900000000     90.00    2000     4.50      75.00       77          55          44        20        2       1.500
alpha.cpu0: exits by event 70, not hot 7
alpha.cpu0: handlers of swapgs 9, cli 8
)");
}

TEST(Report, ForPrograms) {
    EXPECT_EQ(json_report(example()), R"({
  "schema": 1,
  "ending": "crashed",
  "rack": {
    "engine": "sim",
    "processor": "avx2",
    "time": "virtual",
    "seed": 7,
    "repeatable": true,
    "virtual_ns": 2500000000,
    "quantum_ns": 100000,
    "barriers": 77,
    "trace_hash": "00000000000000ab"
  },
  "machines": [
    {
      "name": "alpha",
      "state": "powered_off",
      "instructions": 1500000000,
      "virtual_ns": 2500000000,
      "idle_ns": 1000000000,
      "stolen_ns": 50000000,
      "idle_share": 0.4,
      "unclaimed_accesses": 3,
      "cpus": [
        {
          "instructions": 1000000000,
          "interrupts": 7,
          "exceptions": 1
        },
        {
          "instructions": 500000000,
          "interrupts": 3,
          "exceptions": 0
        }
      ],
      "nics": [
        {
          "name": "nic0",
          "model": "e1000",
          "mac": "02:00:00:00:00:01",
          "link": "lan",
          "tail_moves": 10,
          "head_moves": 20,
          "receive_interrupts": 5,
          "transmit_complete_interrupts": 9,
          "sent_frames": 12,
          "sent_bytes": 1200,
          "received_frames": 20,
          "received_bytes": 2000,
          "queues": [
            {
              "sent_frames": 7,
              "received_frames": 12
            },
            {
              "sent_frames": 5,
              "received_frames": 8
            }
          ]
        }
      ],
      "disks": [
        {
          "name": "disk0",
          "image": "d.img",
          "bytes": 8192,
          "reads": 4,
          "read_bytes": 2048,
          "writes": 2,
          "written_bytes": 1024,
          "flushes": 1,
          "failures": 0
        }
      ]
    },
    {
      "name": "beta",
      "state": "crashed",
      "cause": "triple fault\\x1b]0;\"",
      "rip": "0xffffffff81000123",
      "instructions": 0,
      "virtual_ns": 0,
      "idle_ns": 0,
      "stolen_ns": 0,
      "idle_share": 0.0,
      "unclaimed_accesses": 0,
      "cpus": [],
      "nics": [],
      "disks": []
    }
  ],
  "links": [
    {
      "name": "lan",
      "completion": "landed",
      "frames": 30,
      "bytes": 3000,
      "deliveries": 32,
      "copies": 32,
      "copies_per_frame": 1.0,
      "peak_stored_bytes": 0,
      "whole_frames": 7,
      "unsummed_frames": 8,
      "cut_frames": 3,
      "cut_segments": 9,
      "waits": 2,
      "drops": {
        "no_buffer": 0,
        "no_such_station": 4
      },
      "detected": {
        "destination": 20,
        "default_mapping": 0,
        "configuration": 2
      },
      "outside_frames": 5,
      "remaps_to_uplink": 2,
      "remaps_to_peer": 1,
      "delayed_frames": 0,
      "doubled_frames": 0,
      "cuts": 0,
      "capture": {
        "file": "lan.pcapng",
        "frames": 30,
        "error": "No space left on device"
      }
    }
  ],
  "host": {
    "wall_ns": 1250000000,
    "cpu_ns": 1200000000,
    "peak_resident_bytes": 314572800,
    "threads": 2,
    "shared_barriers": 33,
    "shared_wall_ns": 500000000,
    "shared_work_ns": 900000000,
    "translators": [
      {
        "processor": "alpha.cpu0",
        "instructions": 900000000,
        "share": 0.9,
        "blocks": 2000,
        "guest_bytes": 10000,
        "host_bytes": 45000,
        "direct_jumps": 1000,
        "chained": 750,
        "entries": 77,
        "exits": {
          "event": 70,
          "fault": 0,
          "not_hot": 7
        },
        "slow_accesses": 55,
        "split_groups": 4,
        "guesses_given_up": 2,
        "page_walks": 44,
        "handler_calls": 20,
        "handlers": {
          "swapgs": 9,
          "cli": 8
        },
        "flushes": 2,
        "longest_flush_ns": 1500000
      }
    ]
  }
}
)");
}

TEST(Report, TheWindowOfSomeMachines) {
    RackReport report;
    report.window = WindowSummary{65536, 4096, {{"alpha", {.rung = 5, .merged = 2, .lost = 1, .heard = 4, .refused_stores = 3}}, {"beta", {}}}};
    std::string const text = human_report(report);
    EXPECT_NE(text.find("window  peer  section  doorbells rung  merged  lost  heard  refused stores\n"
                        "alpha      0      64K               5       2     1      4               3\n"
                        "beta       1      64K               0       0     0      0               0\n"
                        "in common: 4K\n"),
              std::string::npos)
        << text;
    auto const json = nlohmann::json::parse(json_report(report))["window"];
    EXPECT_EQ(json["section_bytes"], 65536);
    EXPECT_EQ(json["common_bytes"], 4096);
    EXPECT_EQ(json["peers"][0], (nlohmann::json{{"name", "alpha"}, {"doorbells_rung", 5}, {"doorbells_merged", 2}, {"doorbells_lost", 1},
                                                {"doorbells_heard", 4}, {"refused_stores", 3}}));
    EXPECT_EQ(json["peers"][1]["name"], "beta");
    EXPECT_FALSE(json.contains("backing"));
    report.window->backing = "/dev/shm/x\n";
    report.window->outside = 2;
    EXPECT_NE(human_report(report).find("the memory of /dev/shm/x\\x0a, with 2 peers outside\n"), std::string::npos);
    auto const backed = nlohmann::json::parse(json_report(report))["window"];
    EXPECT_EQ(backed["backing"], "/dev/shm/x\\x0a");
    EXPECT_EQ(backed["outside"], 2);
}

TEST(Report, OnlyTheHostPartDiffersBetweenTwoRuns) {
    RackReport again = example();
    again.host = {1, 2, 3};
    std::string const first = human_report(example());
    std::string const second = human_report(again);
    EXPECT_NE(first, second);
    EXPECT_EQ(first.substr(0, first.find("\nhost: ")), second.substr(0, second.find("\nhost: ")));
    std::string const json = json_report(again);
    EXPECT_EQ(json.substr(0, json.find("\"host\"")), json_report(example()).substr(0, json.find("\"host\"")));
}

TEST(Report, AnEmptyRackIsNoDivisionByZero) {
    RackReport report;
    report.machines.emplace_back();
    report.links.emplace_back();
    report.is_repeatable = false;
    EXPECT_NE(human_report(report).find("not repeatable"), std::string::npos);
    EXPECT_NE(json_report(report).find("\"copies_per_frame\": 0.0"), std::string::npos);
}

}  // namespace
}  // namespace backplane
