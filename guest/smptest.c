/* smptest: what programs rely on when a machine has several processors. Threads on all of them; a line for each test;
 * exit code 1 when one failed. The checks hold on every x86 processor: run it on the host as well.
 */
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

enum { most_threads = 16, rounds = 20000 };

static int cpus;
static int failures;
static int turn_of;  /* the thread's number, for tests with two */

static void die(char const *what) { perror(what), exit(2); }
static void report(char const *name, int good, char const *detail, unsigned long value) {
    printf("%s: %s (%s %lu)\n", name, good ? "ok" : "FAILED", detail, value);
    if (!good) ++failures;
}
static void run_on(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % cpus, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) die("sched_setaffinity");
}
/* Runs `body` in `count` threads, each on a processor of its own as far as there are any. */
static void in_threads(int count, void *(*body)(void *)) {
    pthread_t threads[most_threads];
    for (intptr_t i = 0; i < count; ++i)
        if (pthread_create(&threads[i], NULL, body, (void *)i) != 0) die("pthread_create");
    for (int i = 0; i < count; ++i) pthread_join(threads[i], NULL);
}
static int all(void) { return cpus < most_threads ? cpus : most_threads; }

/* --- each processor is itself ------------------------------------------------------------------------------------------ */

static atomic_int seen[most_threads];
static void *look_where(void *number) {
    int const cpu = (int)(intptr_t)number;
    run_on(cpu);
    unsigned tsc_aux = 0;
    __rdtscp(&tsc_aux);  /* Linux: the processor's number in bits 11:0 */
    if (sched_getcpu() == cpu && (int)(tsc_aux & 0xfff) == cpu) atomic_store(&seen[cpu], 1);
    return NULL;
}
static void test_affinity(void) {
    in_threads(all(), look_where);
    unsigned long right = 0;
    for (int i = 0; i < all(); ++i) right += (unsigned long)seen[i];
    report("affinity", right == (unsigned long)all(), "processors", right);
}

/* --- atomics ------------------------------------------------------------------------------------------------------------- */

static volatile unsigned long locked, plain, swapped;
static void *count_locked(void *number) {
    run_on((int)(intptr_t)number);
    for (int i = 0; i < rounds; ++i) {
        __asm__ volatile("lock incq %0" : "+m"(locked) : : "cc", "memory");
        for (;;) {  /* LOCK CMPXCHG */
            unsigned long const old = swapped;
            if (__sync_bool_compare_and_swap(&swapped, old, old + 3)) break;
        }
    }
    return NULL;
}
static void test_atomics(void) {
    in_threads(all(), count_locked);
    unsigned long const expected = (unsigned long)all() * rounds;
    report("lock inc", locked == expected, "count", locked);
    report("lock cmpxchg", swapped == 3 * expected, "sum", swapped);
}

/* Peterson's lock for two: right only when a store is visible before the load behind MFENCE. */
static volatile int wants[2];
static volatile int whose;
static void *take_peterson(void *number) {
    int const me = (int)(intptr_t)number;
    run_on(me);
    for (int i = 0; i < rounds; ++i) {
        wants[me] = 1;
        whose = 1 - me;
        _mm_mfence();
        while (wants[1 - me] && whose == 1 - me) _mm_pause();
        plain = plain + 1;
        wants[me] = 0;
    }
    return NULL;
}
static void test_peterson(void) {
    in_threads(2, take_peterson);
    report("peterson", plain == 2UL * rounds, "count", plain);
}

/* --- memory order -------------------------------------------------------------------------------------------------------- */

static volatile int left, right, result[2];
static atomic_int at_start[2], at_end[2];
static volatile unsigned long both_old;
static void meet(atomic_int *places, int me, int round) {
    atomic_store(&places[me], round);
    while (atomic_load(&places[1 - me]) < round) _mm_pause();
}
/* Store buffering with MFENCE: both loads may not see the old value ([SDM3A] 8.2.3.4). */
static void *store_then_load(void *number) {
    int const me = (int)(intptr_t)number;
    run_on(me);
    for (int i = 1; i <= rounds / 10; ++i) {
        meet(at_start, me, i);
        if (me == 0) left = i; else right = i;
        _mm_mfence();
        result[me] = me == 0 ? right : left;
        meet(at_end, me, i);
        if (me == 0 && result[0] != i && result[1] != i) ++both_old;
    }
    return NULL;
}
/* Message passing: who sees the flag sees the data ([SDM3A] 8.2.3.2). */
static volatile int data, flag;
static volatile unsigned long too_old;
static void *pass_message(void *number) {
    int const me = (int)(intptr_t)number;
    run_on(me);
    for (int i = 1; i <= rounds / 10; ++i) {
        if (me == 0) {
            data = i;
            flag = i;
            while (flag != -i) _mm_pause();
        } else {
            while (flag != i) _mm_pause();
            if (data != i) ++too_old;
            flag = -i;
        }
    }
    return NULL;
}
static void test_order(void) {
    in_threads(2, store_then_load);
    report("store buffering", both_old == 0, "violations", both_old);
    in_threads(2, pass_message);
    report("message passing", too_old == 0, "violations", too_old);
}

/* --- time ---------------------------------------------------------------------------------------------------------------- */

static volatile uint64_t last_tsc;
static volatile int token;
static volatile unsigned long backwards;
static void *pass_time(void *number) {
    int const me = (int)(intptr_t)number;
    run_on(me);
    for (int i = 0; i < 500; ++i) {
        while (token != me) _mm_pause();
        _mm_lfence();  /* RDTSC does not wait for the load ([SDM2] RDTSC) */
        uint64_t const now = __rdtsc();
        if (now < last_tsc) ++backwards;
        last_tsc = now;
        token = (me + 1) % all();
    }
    return NULL;
}
static void test_time(void) {
    in_threads(all(), pass_time);
    report("tsc", backwards == 0, "steps back", backwards);
}

/* --- sleeping and waking ------------------------------------------------------------------------------------------------- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned long volleys;
static void *play(void *number) {
    int const me = (int)(intptr_t)number;
    run_on(me);
    for (int i = 0; i < 500; ++i) {
        pthread_mutex_lock(&mutex);
        while (turn_of != me) pthread_cond_wait(&changed, &mutex);
        turn_of = 1 - me;
        ++volleys;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}
static void test_futex(void) {
    in_threads(2, play);
    report("futex", volleys == 1000, "volleys", volleys);
}

/* --- code that another processor patches --------------------------------------------------------------------------------- */

static unsigned char *code;  /* mov eax, imm32 (the imm32 aligned); ret */
static atomic_int version, done_with;
static volatile unsigned long stale;
static void *call_patched(void *number) {
    int const me = (int)(intptr_t)number;
    run_on(me);
    int (*const function)(void) = (int (*)(void))(uintptr_t)(code + 3);
    if (me == 0) {
        for (int i = 1; i <= 300; ++i) {
            *(volatile int *)(code + 4) = i;
            if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0) die("membarrier");
            atomic_store(&version, i);  /* from here on all see the new code */
            if (function() != i) ++stale;
            for (int spin = 0; spin < 50; ++spin) _mm_pause();
        }
        atomic_store(&done_with, 1);
        return NULL;
    }
    while (!atomic_load(&done_with)) {
        int const at_least = atomic_load(&version);
        int const found = function();
        if (found < at_least || found > 300) ++stale;
    }
    return NULL;
}
static void test_patching(void) {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0) die("membarrier");
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) die("mmap");
    code[3] = 0xb8, code[8] = 0xc3;
    in_threads(all(), call_patched);
    report("cross-modifying code", stale == 0, "stale", stale);
}

/* --- page tables that another processor changes -------------------------------------------------------------------------- */

static volatile unsigned long *page;
static atomic_int is_over;
static __thread sigjmp_buf after_fault;
static volatile unsigned long faults;
static void on_fault(int signal) { (void)signal; siglongjmp(after_fault, 1); }
static void *store_for_ever(void *number) {
    run_on((int)(intptr_t)number);
    while (!atomic_load(&is_over)) {
        if (sigsetjmp(after_fault, 1) != 0) __sync_fetch_and_add(&faults, 1), sched_yield();
        while (!atomic_load(&is_over)) __sync_fetch_and_add(page, 1);
    }
    return NULL;
}
static void test_shootdown(void) {
    signal(SIGSEGV, on_fault);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) die("mmap");
    pthread_t threads[most_threads];
    int const count = all() - 1;
    for (intptr_t i = 0; i < count; ++i) pthread_create(&threads[i], NULL, store_for_ever, (void *)(i + 1));
    run_on(0);
    unsigned long leaked = 0;
    for (int i = 0; i < 50; ++i) {
        usleep(100);
        if (mprotect((void *)page, 4096, PROT_READ) != 0) die("mprotect");
        unsigned long const before = *page;  /* nobody may store from here on */
        for (int spin = 0; spin < 2000; ++spin) _mm_pause();
        if (*page != before) ++leaked;
        if (mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) != 0) die("mprotect");
    }
    atomic_store(&is_over, 1);
    for (int i = 0; i < count; ++i) pthread_join(threads[i], NULL);
    report("shootdown", leaked == 0 && faults != 0 && *page != 0, "stores through stale translations", leaked);
}

int main(void) {
    cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    printf("%d processors\n", cpus);
    if (cpus < 2) return fprintf(stderr, "smptest: one processor; expected at least two\n"), 2;
    test_affinity();
    test_atomics();
    test_peterson();
    test_order();
    test_time();
    test_futex();
    test_patching();
    test_shootdown();
    printf("%d failed\n", failures);
    return failures != 0;
}
