/* nictest: a network driver's own test of its card, as `ethtool -t NIC offline` asks for it: registers, EEPROM, interrupts,
 * loopback, link. A line for each part, with the driver's result (0: passed); exit code 1 when one failed.
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void fail(char const *what) { perror(what), exit(2); }

static void ask(int socket, char const *nic, void *command, char const *what) {
    struct ifreq request = {.ifr_data = command};
    strncpy(request.ifr_name, nic, sizeof request.ifr_name - 1);
    if (ioctl(socket, SIOCETHTOOL, &request) != 0) fail(what);
}

int main(int count, char **words) {
    if (count != 2) return fprintf(stderr, "usage: nictest NIC\n"), 2;
    char const *const nic = words[1];
    int const any = socket(AF_INET, SOCK_DGRAM, 0);
    if (any < 0) fail("socket");

    struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
    ask(any, nic, &driver, "ETHTOOL_GDRVINFO");
    unsigned const parts = driver.testinfo_len;
    if (parts == 0) return fprintf(stderr, "%s: the driver %s has no test\n", nic, driver.driver), 2;
    struct ethtool_gstrings *const names = calloc(1, sizeof *names + parts * ETH_GSTRING_LEN);
    struct ethtool_test *const test = calloc(1, sizeof *test + parts * sizeof(__u64));
    if (names == NULL || test == NULL) fail("calloc");
    *names = (struct ethtool_gstrings){.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_TEST, .len = parts};
    ask(any, nic, names, "ETHTOOL_GSTRINGS");
    *test = (struct ethtool_test){.cmd = ETHTOOL_TEST, .flags = ETH_TEST_FL_OFFLINE, .len = parts};
    ask(any, nic, test, "ETHTOOL_TEST");
    for (unsigned i = 0; i < parts; ++i)
        printf("%.*s: %llu\n", ETH_GSTRING_LEN, (char *)&names->data[i * ETH_GSTRING_LEN], test->data[i]);
    return (test->flags & ETH_TEST_FL_FAILED) != 0;
}
