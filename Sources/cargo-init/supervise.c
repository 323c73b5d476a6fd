// Pid 1 inside: reaps everything, passes signals on, and ends when its supervisor does.
#include "raw.h"
#include "steps.h"

#include <errno.h>
#include <linux/wait.h>
#include <poll.h>
#include <sys/time.h>

#define CHILD_SIGNAL 17
#define KILL_SIGNAL 9

_Noreturn void leave(int code) {
    for (;;) RAW(SYS_exit_group, code, 0, 0, 0, 0);
}

// Kills and reaps what is left, so that its processor time is counted too.
static void sweep(void) {
    RAW(SYS_kill, -1, KILL_SIGNAL, 0, 0, 0);
    for (;;) {
        long reaped = RAW(SYS_wait4, -1, NULL, __WALL, NULL, 0);
        if (reaped < 0 && reaped != -EINTR) return;
    }
}

static void reap(int command) {
    for (;;) {
        int status;
        long reaped = RAW(SYS_wait4, -1, &status, WNOHANG | __WALL, NULL, 0);
        if (reaped <= 0) return;
        if (reaped != command) continue;
        sweep();
        RAW(SYS_write, FD_STATUS, &status, sizeof status, 0, 0);
        leave(0);
    }
}

_Noreturn void supervise(int command) {
    for (int fd = 0; fd <= FD_ERROR; fd++) RAW(SYS_close, fd, 0, 0, 0, 0);
    RAW(SYS_close_range, FD_EXTRA, ~0u, 0, 0, 0);
    uint64_t mask = 1ull << (CHILD_SIGNAL - 1);
    long signals = RAW(SYS_signalfd4, -1, &mask, sizeof mask, 04000 | 02000000, 0);
    struct pollfd watched[2] = {{(int)signals, POLLIN, 0}, {FD_CONTROL, POLLIN, 0}};
    for (;;) {
        reap(command);
        struct timespec_like {
            long seconds, nanoseconds;
        } limit = {1, 0};
        RAW(SYS_ppoll, watched, 2, signals < 0 ? &limit : NULL, NULL, 0);
        if (watched[0].revents) {
            char ignored[128];
            RAW(SYS_read, signals, ignored, sizeof ignored, 0, 0);
        }
        if (watched[1].revents) {
            unsigned char word;
            long got = RAW(SYS_read, FD_CONTROL, &word, 1, 0, 0);
            if (got == 0 || (got < 0 && got != -EINTR && got != -EAGAIN)) {
                sweep();
                leave(1);
            }
            if (got == 1 && word > 0 && word < 65) RAW(SYS_kill, -command, word, 0, 0, 0);
        }
    }
}
