/* work: fixed work for measuring simulators (bench/items). Runs as the first process of a guest; the words behind "--" on the
 * kernel's command line are the items, each as often as the first word says. A line "@@B item" when one begins, "@@E item check"
 * when it ends: the check is the same wherever the item was done right.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char const text_file[] = "/text";

static uint64_t mix(uint64_t sum, uint64_t word) { return (sum ^ word) * UINT64_C(0x100000001b3); }
static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}
static void *memory(size_t bytes) {
    void *const at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) perror("mmap"), exit(1);
    return at;
}

/* --- computing --------------------------------------------------------------------------------------------------- */

static int compare(void const *a, void const *b) {
    uint32_t const x = *(uint32_t const *)a, y = *(uint32_t const *)b;
    return x < y ? -1 : x > y;
}
/* Sorting with a callback, a table-driven CRC, a product of integer matrices. */
static uint64_t do_int(void) {
    enum { COUNT = 200000, SIDE = 160 };
    static uint32_t numbers[COUNT], table[256], a[SIDE][SIDE], b[SIDE][SIDE];
    uint32_t state = 1, crc = ~0u, sum = 0;
    for (int i = 0; i < COUNT; ++i) numbers[i] = next_random(&state);
    qsort(numbers, COUNT, sizeof numbers[0], compare);
    for (uint32_t i = 0; i < 256; ++i) {
        table[i] = i;
        for (int bit = 0; bit < 8; ++bit) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
    }
    for (int round = 0; round < 20; ++round)
        for (size_t i = 0; i < sizeof numbers; ++i) crc = table[(crc ^ ((uint8_t *)numbers)[i]) & 255] ^ crc >> 8;
    for (int i = 0; i < SIDE; ++i)
        for (int j = 0; j < SIDE; ++j) a[i][j] = (uint32_t)(i * j), b[i][j] = (uint32_t)(i + j);
    for (int i = 0; i < SIDE; ++i)
        for (int j = 0; j < SIDE; ++j)
            for (int k = 0; k < SIDE; ++k) sum += a[i][k] * b[k][j];
    return mix(mix(numbers[COUNT / 2], crc), sum);
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static uint64_t do_fp(void) {
    enum { SIDE = 512 };
    static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
    for (int i = 0; i < SIDE; ++i)
        for (int j = 0; j < SIDE; ++j) a[i][j] = i + j, b[i][j] = i - j, c[i][j] = 0;
    for (int i = 0; i < SIDE; ++i)
        for (int k = 0; k < SIDE; ++k)
            for (int j = 0; j < SIDE; ++j) c[i][j] += a[i][k] * b[k][j];
    return mix(bits_of(c[3][5]), bits_of(c[SIDE - 1][7]));
}
static uint64_t do_nbody(void) {
    enum { BODIES = 5, STEPS = 150000 };
    double p[BODIES][3], v[BODIES][3] = {{0}};
    for (int i = 0; i < BODIES; ++i) p[i][0] = i, p[i][1] = i * i * 0.5, p[i][2] = 3 - i;
    for (int step = 0; step < STEPS; ++step) {
        for (int i = 0; i < BODIES; ++i)
            for (int j = i + 1; j < BODIES; ++j) {
                double const x = p[i][0] - p[j][0], y = p[i][1] - p[j][1], z = p[i][2] - p[j][2];
                double const square = x * x + y * y + z * z + 0.01, pull = 0.001 / (square * sqrt(square));
                v[i][0] -= x * pull, v[i][1] -= y * pull, v[i][2] -= z * pull;
                v[j][0] += x * pull, v[j][1] += y * pull, v[j][2] += z * pull;
            }
        for (int i = 0; i < BODIES; ++i)
            for (int k = 0; k < 3; ++k) p[i][k] += 0.001 * v[i][k];
    }
    return mix(bits_of(p[0][0]), bits_of(p[4][2]));
}

static uint64_t add(uint64_t x) { return x + 3; }
static uint64_t rotate(uint64_t x) { return x << 7 | x >> 57; }
static uint64_t flip(uint64_t x) { return x ^ 0x5555; }
static uint64_t multiply(uint64_t x) { return x * 5; }
static uint64_t do_icall(void) {
    static uint64_t (*volatile const table[4])(uint64_t) = {add, rotate, flip, multiply};
    uint32_t state = 7;
    uint64_t x = 1;
    for (int i = 0; i < 12000000; ++i) x = table[next_random(&state) >> 3 & 3](x);
    return x;
}

/* Calls and returns: a recursion, whose returns alternate between two places, and a function with eight callers in turn. */
static uint32_t __attribute__((noinline)) fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
static uint64_t __attribute__((noinline)) stir(uint64_t x) { return x * 0x9E3779B97F4A7C15u ^ x >> 29; }
static uint64_t do_call(void) {
    uint64_t x = 1;
    for (int i = 0; i < 1000000; ++i) {
        x = stir(x) + 1, x = stir(x) + 2, x = stir(x) + 3, x = stir(x) + 4;
        x = stir(x) + 5, x = stir(x) + 6, x = stir(x) + 7, x = stir(x) + 8;
    }
    return mix(x, fibonacci(32));
}
/* long double is the x87 on this architecture. */
static uint64_t do_x87(void) {
    long double sum = 0, product = 1, x = 0.3L;
    for (int i = 1; i <= 400000; ++i) {
        sum += 1 / (x * i + 0.5L);
        product = product * 1.0000001L - sum * 1e-9L;
        x = 3.7L * x * (1 - x);
        if (product > sqrtl(i)) product -= (int)product;
    }
    return mix(mix(bits_of((double)sum), bits_of((double)product)), bits_of((double)x));
}

/* --- memory ------------------------------------------------------------------------------------------------------ */

static uint64_t do_mem(void) {
    size_t const bytes = 2 << 20;
    uint8_t *const from = memory(bytes), *const to = memory(bytes);
    memset(from, 7, bytes);
    for (int i = 0; i < 600; ++i) from[i] = (uint8_t)i, memcpy(to, from, bytes);
    uint64_t const sum = mix(to[599], (uint64_t)((uint8_t *)memchr(to + 600, 6, bytes - 600) == NULL));
    munmap(from, bytes), munmap(to, bytes);
    return sum;
}
static uint64_t do_chase(void) {
    size_t const count = (8 << 20) / sizeof(uint32_t);
    uint32_t *const next = memory(count * sizeof *next), state = 3;
    uint32_t random = state;
    for (uint32_t i = 0; i < count; ++i) next[i] = i;
    for (uint32_t i = (uint32_t)count - 1; i > 0; --i) { /* one cycle (Sattolo) */
        uint32_t const j = next_random(&random) % i, kept = next[i];
        next[i] = next[j], next[j] = kept;
    }
    uint32_t at = 0;
    for (int i = 0; i < 3000000; ++i) at = next[at];
    munmap(next, count * sizeof *next);
    return at;
}
static uint64_t do_fault(void) {
    uint64_t sum = 0;
    for (int round = 0; round < 60; ++round) {
        uint8_t *const pages = memory(1024 * 4096);
        for (int i = 0; i < 1024; ++i) pages[i * 4096] = (uint8_t)round;
        sum = mix(sum, pages[4096]);
        munmap(pages, 1024 * 4096);
    }
    return sum;
}
/* New code in the same place each time: mov eax, N; ret. */
static uint64_t do_jit(void) {
    uint8_t *const code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) return 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 100000; ++i) {
        code[0] = 0xB8, code[5] = 0xC3;
        memcpy(code + 1, &i, sizeof i);
        uint32_t (*function)(void);
        memcpy(&function, &code, sizeof code);
        sum += function();
    }
    munmap(code, 4096);
    return sum;
}

/* --- the kernel -------------------------------------------------------------------------------------------------- */

static uint64_t do_syscall(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 200000; ++i) sum += (uint64_t)syscall(SYS_getppid) + 1;
    return sum;
}
static uint64_t do_fork(void) {
    uint64_t good = 0;
    for (int i = 0; i < 200; ++i) {
        pid_t const child = fork();
        if (child == 0) execl("/bin/busybox", "true", (char *)NULL), _exit(1);
        int status = 1;
        waitpid(child, &status, 0);
        good += status == 0;
    }
    return good;
}
static uint64_t do_pipe(void) {
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0) return 0;
    pid_t const child = fork();
    if (child == 0) {
        close(there[1]);
        for (uint8_t byte; read(there[0], &byte, 1) == 1;) {
            ++byte;
            if (write(back[1], &byte, 1) != 1) break;
        }
        _exit(0);
    }
    uint64_t sum = 0;
    for (int i = 0; i < 20000; ++i) {
        uint8_t byte = (uint8_t)i;
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) break;
        sum = mix(sum, byte);
    }
    close(there[1]), close(there[0]), close(back[0]), close(back[1]);
    waitpid(child, NULL, 0);
    return sum;
}

/* --- programs ---------------------------------------------------------------------------------------------------- */

/* Words with a number behind each, 4 MB. */
static void make_text(void) {
    FILE *const file = fopen(text_file, "w");
    if (file == NULL) perror(text_file), exit(1);
    uint32_t state = 11;
    for (size_t bytes = 0; bytes < (4u << 20);) {
        char word[9] = {0};
        uint32_t const random = next_random(&state);
        for (unsigned i = 0; i < 3 + random % 5; ++i) word[i] = (char)('a' + (random >> (3 * i) & 7));
        bytes += (size_t)fprintf(file, "%s %u\n", word, random % 1000);
    }
    fclose(file);
}
/* A sum over what a program writes; 0 if it fails. */
static uint64_t output_of(char const *program, char *const words[]) {
    int output[2];
    if (pipe(output) != 0) return 0;
    pid_t const child = fork();
    if (child == 0) {
        dup2(output[1], STDOUT_FILENO);
        close(output[0]), close(output[1]);
        char *const nothing_from_files[] = {"PYTHONHOME=/usr", "OPENSSL_CONF=/dev/null", NULL};
        execve(program, words, nothing_from_files);
        _exit(127);
    }
    close(output[1]);
    uint64_t sum = 1;
    static uint8_t buffer[65536];
    for (ssize_t got; (got = read(output[0], buffer, sizeof buffer)) > 0;)
        for (ssize_t i = 0; i < got; ++i) sum = mix(sum, buffer[i]);
    close(output[0]);
    int status = 1;
    waitpid(child, &status, 0);
    return status == 0 ? sum : 0;
}
static uint64_t busybox(char *const words[]) { return output_of("/bin/busybox", words); }
static uint64_t do_sha256(void) { return busybox((char *[]){"sha256sum", (char *)text_file, (char *)text_file, (char *)text_file, NULL}); }
static uint64_t do_gzip(void) { return busybox((char *[]){"gzip", "-c", (char *)text_file, NULL}); }
static uint64_t do_sort(void) { return busybox((char *[]){"sort", (char *)text_file, NULL}); }
static uint64_t do_awk(void) {
    return busybox((char *[]){"awk", "{ n[$1] += $2 } END { for (w in n) t += n[w]; print t, length(n) }", (char *)text_file, NULL});
}

/* --- Debian's programs, in the image with them (tools/guest-images --work) ------------------------------------------- */

static uint64_t do_xz(void) { return output_of("/usr/bin/xz", (char *[]){"xz", "-1", "-T1", "-c", (char *)text_file, NULL}); }
static uint64_t do_sqlite(void) {
    return output_of("/usr/bin/sqlite3", (char *[]){"sqlite3", ":memory:",
        "create table t(a integer primary key, b int, c text);"
        "with recursive k(x) as (select 1 union all select x + 1 from k where x < 60000) insert into t select x, x * 7919 % 10007, 'r' || x from k;"
        "create index i on t(b);"
        "select count(*), sum(b), max(c) from t where b between 100 and 5000;"
        "select sum(u.a) from t u join t v on u.b = v.b where v.a < 500;", NULL});
}
static uint64_t do_python(void) {
    return output_of("/usr/bin/python3.11", (char *[]){"python3", "-S", "-E", "-c",
        "counts = {}\n"
        "for i in range(400000):\n"
        "    key = i * 7919 % 4093\n"
        "    counts[key] = counts.get(key, 0) + i % 17\n"
        "order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))\n"
        "print(len(order), order[:3], sum(len(str(value)) for key, value in order))\n", NULL});
}
static uint64_t do_openssl(void) {
    char *const text = (char *)text_file;
    return output_of("/usr/bin/openssl", (char *[]){"openssl", "dgst", "-sha512", "-r", text, text, text, text, text, text, text, text, NULL});
}

static struct {
    char const *name;
    uint64_t (*run)(void);
} const items[] = {{"int", do_int},     {"fp", do_fp},         {"nbody", do_nbody}, {"icall", do_icall},   {"mem", do_mem},
                   {"chase", do_chase}, {"jit", do_jit},       {"syscall", do_syscall}, {"fork", do_fork}, {"fault", do_fault},
                   {"pipe", do_pipe},   {"sha256", do_sha256}, {"gzip", do_gzip},   {"sort", do_sort},     {"awk", do_awk},
                   {"xz", do_xz},       {"sqlite", do_sqlite}, {"python", do_python}, {"openssl", do_openssl}, {"call", do_call},    {"x87", do_x87}};

int main(int count, char **words) {
    int const repetitions = count > 1 ? atoi(words[1]) : 1;
    make_text();
    for (int w = 2; w < count; ++w)
        for (size_t i = 0; i < sizeof items / sizeof items[0]; ++i)
            for (int r = 0; r < repetitions && strcmp(items[i].name, words[w]) == 0; ++r) {
                printf("@@B %s\n", items[i].name), fflush(stdout), tcdrain(STDOUT_FILENO);
                uint64_t const check = items[i].run();
                printf("@@E %s %016" PRIx64 "\n", items[i].name, check), fflush(stdout), tcdrain(STDOUT_FILENO);
            }
    printf("@@OFF\n"), fflush(stdout), tcdrain(STDOUT_FILENO);
    if (getpid() == 1) reboot(RB_POWER_OFF);
    return 0;
}
