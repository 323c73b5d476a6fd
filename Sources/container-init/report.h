// What pid 1 measures and says to its agent.
#ifndef LONGSHORE_REPORT_H
#define LONGSHORE_REPORT_H

#include <stddef.h>
#include <stdint.h>

// The kernel's struct rusage on 64-bit machines: two times, the peak in KiB, and counters.
struct usage {
    long user_seconds, user_microseconds, system_seconds, system_microseconds;
    long peak_kibibytes;
    long rest[13];
};

void *memcpy(void *restrict target, const void *restrict source, size_t count);
long length_of(const char *text);
void add_usage(struct usage *total, const struct usage *one);
// What was used before is the engine's making of the container, not the job's.
void measure_start(void);
void report_started(int connection);
void report_failure(int connection, int error);
// Somebody outside this container, who is not the agent, sent `signal`.
void report_told(int connection, int signal);
// `signal` 0: it exited with `code`.
void report_end(int connection, int signal, int code, const struct usage *total);

#endif
