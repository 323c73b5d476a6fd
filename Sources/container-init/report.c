// The figures are the control group's where it can be read inside (they count every process and the page cache as the
// limit does); else those of the processes that were reaped.
#include "../cargo-init/raw.h"
#include "report.h"

#include <fcntl.h>

// One line, assembled; the longest is far below its bound.
struct line {
    char text[256];
    long used;
};

long length_of(const char *text) {
    long length = 0;
    while (text[length]) length++;
    return length;
}

static void put(struct line *line, const char *text) {
    for (; *text && line->used < (long)sizeof line->text; text++) line->text[line->used++] = *text;
}

static void put_number(struct line *line, uint64_t number) {
    char digits[24];
    int at = sizeof digits - 1;
    digits[at] = 0;
    do digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put(line, digits + at);
}

static void send_line(int connection, struct line *line) {
    put(line, "\n");
    RAW(SYS_sendto, connection, line->text, line->used, 0x4000 /* MSG_NOSIGNAL */, 0);
}

void add_usage(struct usage *total, const struct usage *one) {
    total->user_seconds += one->user_seconds + one->system_seconds;
    total->user_microseconds += one->user_microseconds + one->system_microseconds;
    if (one->peak_kibibytes > total->peak_kibibytes) total->peak_kibibytes = one->peak_kibibytes;
}

// The number behind `key` (or the first one, without a key) of a small kernel file; -1 when it is not there.
static int64_t number_in(const char *path, const char *key) {
    char text[4096];
    long file = RAW(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0, 0);
    if (file < 0) return -1;
    long length = RAW(SYS_read, file, text, sizeof text - 1, 0, 0);
    RAW(SYS_close, file, 0, 0, 0, 0);
    if (length <= 0) return -1;
    text[length] = 0;
    const char *at = text;
    if (key) {
        for (; *at; at++) {
            long i = 0;
            while (key[i] && at[i] == key[i]) i++;
            if (!key[i] && at[i] == ' ' && (at == text || at[-1] == '\n')) {
                at += i + 1;
                break;
            }
        }
    }
    if (*at < '0' || *at > '9') return -1;
    int64_t number = 0;
    for (; *at >= '0' && *at <= '9'; at++) number = number * 10 + (*at - '0');
    return number;
}

static int64_t first_known(int64_t first, int64_t second, int64_t last) {
    return first >= 0 ? first : second >= 0 ? second : last;
}

void report_started(int connection) {
    struct line line = {.used = 0};
    put(&line, "exec");
    send_line(connection, &line);
}

void report_told(int connection, int signal) {
    struct line line = {.used = 0};
    put(&line, "told ");
    put_number(&line, (uint64_t)signal);
    send_line(connection, &line);
}

void report_failure(int connection, int error) {
    struct line line = {.used = 0};
    put(&line, "fail ");
    put_number(&line, (uint64_t)error);
    send_line(connection, &line);
}

// Nanoseconds that the whole control group has used, or -1.
static int64_t group_cpu(void) {
    int64_t microseconds = number_in("/sys/fs/cgroup/cpu.stat", "usage_usec");
    return microseconds >= 0 ? microseconds * 1000 : number_in("/sys/fs/cgroup/cpuacct/cpuacct.usage", NULL);
}

static int64_t cpu_before;

void measure_start(void) { cpu_before = group_cpu(); }

void report_end(int connection, int signal, int code, const struct usage *total) {
    int64_t reaped = (total->user_seconds * 1000000 + total->user_microseconds) * 1000;
    int64_t now = group_cpu();
    int64_t cpu = now >= 0 && cpu_before >= 0 ? now - cpu_before : reaped;
    int64_t peak = first_known(
        number_in("/sys/fs/cgroup/memory.peak", NULL), number_in("/sys/fs/cgroup/memory/memory.max_usage_in_bytes", NULL),
        total->peak_kibibytes * 1024);
    int64_t kills = first_known(
        number_in("/sys/fs/cgroup/memory.events", "oom_kill"), number_in("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"), 0);
    struct line line = {.used = 0};
    put(&line, signal ? "end signal " : "end exit ");
    put_number(&line, (uint64_t)(signal ? signal : code));
    put(&line, " ");
    put_number(&line, (uint64_t)cpu);
    put(&line, " ");
    put_number(&line, (uint64_t)peak);
    put(&line, " ");
    put_number(&line, (uint64_t)kills);
    send_line(connection, &line);
}

// The compiler calls these two for large assignments, with or without a C library.
void *memset(void *target, int byte, size_t count) {
    volatile unsigned char *at = target;
    while (count--) *at++ = (unsigned char)byte;
    return target;
}

void *memcpy(void *restrict target, const void *restrict source, size_t count) {
    volatile unsigned char *to = target;
    const unsigned char *from = source;
    while (count--) *to++ = *from++;
    return target;
}
