// container-init: pid 1 of a container job. Without a C library, static, and of any image's opinion free.
//
//   container-init COMMAND [ARGUMENTS…]
//
// It connects to the agent's socket at CONTROL_PATH, runs the command, passes signals on, reaps everything, and tells the
// agent what no container engine tells: whether the command was executed, whether it exited or was killed (an engine says
// 137 for both), its processor time, peak memory and OOM kills. When the connection ends, the agent is dead, and so is all
// that runs here. Words on the socket, one a line:
//
//   exec                                                 the command runs
//   fail ERRNO                                           it could not be executed
//   end exit|signal N CPU_NANOSECONDS PEAK_BYTES OOM_KILLS
//
// and from the agent, one byte a signal for the command's process group.
#include "../cargo-init/raw.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/wait.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#define CONTROL_PATH "/.longshore/control"
#define SIGNAL_KILL 9
#define SIGNAL_TERMINATE 15
#define SIGNAL_CHILD 17
#define CLOSE_ON_EXEC 02000000

struct unix_address {
    unsigned short family;
    char path[108];
};

static _Noreturn void leave(int code) {
    for (;;) RAW(SYS_exit_group, code, 0, 0, 0, 0);
}

static _Noreturn void refuse(const char *sentence) {
    RAW(SYS_write, 2, sentence, length_of(sentence), 0, 0);
    leave(125);
}

static int connect_to_agent(void) {
    struct unix_address address = {AF_UNIX, CONTROL_PATH};
    int connection = (int)RAW(SYS_socket, AF_UNIX, SOCK_STREAM | CLOSE_ON_EXEC, 0, 0, 0);
    if (connection < 0) refuse("longshore: the container may not make the socket to its agent\n");
    if (RAW(SYS_connect, connection, &address, sizeof address, 0, 0) != 0)
        refuse("longshore: the agent of this container does not answer\n");
    return connection;
}

static int is_path(const char *name) {
    for (; *name; name++)
        if (*name == '/') return 1;
    return 0;
}

static const char *variable(char **environment, const char *name) {
    long length = length_of(name);
    for (; *environment; environment++) {
        long i = 0;
        while (i < length && (*environment)[i] == name[i]) i++;
        if (i == length && (*environment)[i] == '=') return *environment + i + 1;
    }
    return NULL;
}

// execvpe(3): tries each folder of PATH; an entry that may not be executed is remembered over one that is absent.
static long execute(char **arguments, char **environment) {
    if (is_path(arguments[0])) return RAW(SYS_execve, arguments[0], arguments, environment, 0, 0);
    const char *path = variable(environment, "PATH");
    if (!path) path = "/usr/local/bin:/usr/bin:/bin";
    long result = -ENOENT;
    while (*path) {
        char candidate[4096];
        long used = 0;
        while (*path && *path != ':' && used < 2048) candidate[used++] = *path++;
        while (*path && *path != ':') path++;
        if (*path == ':') path++;
        if (used == 0) candidate[used++] = '.';
        candidate[used++] = '/';
        for (const char *name = arguments[0]; *name && used < 4095; name++) candidate[used++] = *name;
        candidate[used] = 0;
        long tried = RAW(SYS_execve, candidate, arguments, environment, 0, 0);
        if (tried != -ENOENT && tried != -ENOTDIR && result == -ENOENT) result = tried;
    }
    return result;
}

// Kills and reaps what is left, so that its processor time is counted too.
static void sweep(struct usage *total) {
    RAW(SYS_kill, -1, SIGNAL_KILL, 0, 0, 0);
    for (;;) {
        struct usage one = {0};
        long reaped = RAW(SYS_wait4, -1, NULL, __WALL, &one, 0);
        if (reaped > 0) add_usage(total, &one);
        if (reaped < 0 && reaped != -EINTR) return;
    }
}

static void end_if_over(int command, int connection, struct usage *total) {
    for (;;) {
        int status;
        struct usage one = {0};
        long reaped = RAW(SYS_wait4, -1, &status, WNOHANG | __WALL, &one, 0);
        if (reaped <= 0) return;
        add_usage(total, &one);
        if (reaped != command) continue;
        sweep(total);
        int signal = status & 0x7f, code = (status >> 8) & 0xff;
        report_end(connection, signal, code, total);
        leave(signal ? 128 + signal : code);
    }
}

static _Noreturn void supervise(int command, int signals, int connection) {
    struct usage total = {0};
    struct pollfd watched[2] = {{signals, POLLIN, 0}, {connection, POLLIN, 0}};
    for (;;) {
        end_if_over(command, connection, &total);
        RAW(SYS_ppoll, watched, 2, NULL, NULL, 0);
        if (watched[0].revents) {
            unsigned char information[128];
            long got = RAW(SYS_read, signals, information, sizeof information, 0, 0);
            if (got == sizeof information && information[0] != SIGNAL_CHILD) {
                // Sender 0 (ssi_pid) is outside this pid namespace: the engine, which ends or restarts.
                uint32_t sender;
                memcpy(&sender, information + 12, sizeof sender);
                if (sender == 0 && information[0] == SIGNAL_TERMINATE) report_told(connection, SIGNAL_TERMINATE);
                RAW(SYS_kill, -command, information[0], 0, 0, 0);
            }
        }
        if (watched[1].revents) {
            unsigned char signal;
            long got = RAW(SYS_read, connection, &signal, 1, 0, 0);
            if (got == 0 || (got < 0 && got != -EINTR && got != -EAGAIN)) {
                sweep(&total);
                leave(125);
            }
            if (got == 1 && signal > 0 && signal < 65) RAW(SYS_kill, -command, signal, 0, 0, 0);
        }
    }
}

static _Noreturn void start(int count, char **arguments) {
    char **environment = arguments + count + 1;
    if (count < 2) refuse("longshore: the image names no command and the job gives none\n");
    int connection = connect_to_agent();
    // One byte comes when the agent has taken the socket's name away.
    unsigned char go;
    long welcome;
    do welcome = RAW(SYS_read, connection, &go, 1, 0, 0);
    while (welcome == -EINTR);
    if (welcome != 1) leave(125);
    // HUP INT QUIT USR1 USR2 TERM CHLD CONT WINCH are read from a descriptor; pid 1 would lose them otherwise.
    uint64_t mask = 1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 9 | 1ull << 11 | 1ull << 14 | 1ull << 16 | 1ull << 17 | 1ull << 27;
    uint64_t none = 0;
    RAW(SYS_rt_sigprocmask, 2, &mask, NULL, sizeof mask, 0);
    int signals = (int)RAW(SYS_signalfd4, -1, &mask, sizeof mask, 04000 | CLOSE_ON_EXEC, 0);
    int failure[2];
    if (signals < 0 || RAW(SYS_pipe2, failure, CLOSE_ON_EXEC, 0, 0, 0) != 0)
        refuse("longshore: the system call filter leaves no room for pid 1\n");
    measure_start();
    long command = RAW(SYS_clone, SIGNAL_CHILD, 0, 0, 0, 0);
    if (command < 0) refuse("longshore: pid 1 could not start a process; allow the job at least 2\n");
    if (command == 0) {
        RAW(SYS_setsid, 0, 0, 0, 0, 0);
        RAW(SYS_rt_sigprocmask, 2, &none, NULL, sizeof none, 0);
        int result = (int)execute(arguments + 1, environment);
        RAW(SYS_write, failure[1], &result, sizeof result, 0, 0);
        leave(127);
    }
    RAW(SYS_close, failure[1], 0, 0, 0, 0);
    int result = 0;
    long got;
    do got = RAW(SYS_read, failure[0], &result, sizeof result, 0, 0);
    while (got == -EINTR);
    if (got == sizeof result) {
        report_failure(connection, -result);
        leave(result == -ENOENT || result == -ENOTDIR ? 127 : 126);
    }
    RAW(SYS_close, failure[0], 0, 0, 0, 0);
    report_started(connection);
    // The command's alone, so that a reader sees their end when the command's processes have closed them.
    for (int fd = 0; fd < 3; fd++) RAW(SYS_close, fd, 0, 0, 0, 0);
    supervise((int)command, signals, connection);
}

_Noreturn void begin(long *stack) { start((int)stack[0], (char **)(stack + 1)); }

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#else
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x30, #0\n mov x0, sp\n bl begin\n brk #0\n");
#endif
