// Lines 17 and 18: using up the machine. Each takes at most what its argument says, then reports how far it came.
#include "attempt.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static _Noreturn void stopped(long long reached, const char *unit) {
    const char *name = errno ? strerrorname_np(errno) : "short";
    dprintf(1, "denied: %s after %lld %s\n", name, reached, unit);
    _exit(0);
}

static void forks(long long most) {
    for (long long made = 0; made < most; made++) {
        pid_t child = fork();
        if (child < 0) {
            int error = errno;
            kill(0, SIGUSR1); // ends the children: we ignore it
            errno = error;
            stopped(made, "processes");
        }
        if (child == 0) {
            signal(SIGUSR1, SIG_DFL);
            for (;;) pause();
        }
    }
    kill(0, SIGUSR1);
    succeeded("%lld processes", most);
}
static void *wait_for_ever(void *unused) {
    for (;;) pause();
    return unused;
}
static void threads(long long most) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (long long made = 0; made < most; made++) {
        pthread_t thread;
        int error = pthread_create(&thread, &small, wait_for_ever, NULL);
        if (error) errno = error, stopped(made, "threads");
    }
    succeeded("%lld threads", most);
}
static void fork_bomb(void) {
    for (;;)
        if (fork() < 0) usleep(1000);
}
enum { step = 1 << 20 };
static void memory(long long most) {
    for (long long taken = 0; taken < most; taken += step) {
        char *block = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED) stopped(taken, "bytes");
        memset(block, 1, step);
    }
    succeeded("%lld bytes", most);
}
static void fill(int file, long long most) {
    static char block[step];
    memset(block, 'x', sizeof block);
    for (long long written = 0; written < most;) {
        ssize_t got = write(file, block, sizeof block);
        if (got < 0) stopped(written, "bytes");
        written += got;
    }
    succeeded("%lld bytes", most);
}
static void fill_path(const char *path, long long most) {
    signal(SIGXFSZ, SIG_IGN);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    need(file, path);
    fill(file, most);
}
static void anonymous_file(long long most) {
    signal(SIGXFSZ, SIG_IGN);
    int file = memfd_create("attempt", MFD_CLOEXEC);
    need(file, "memfd_create");
    fill(file, most);
}
static void descriptors(long long most) {
    for (long long made = 0; made < most; made++)
        if (open("/dev/null", O_RDONLY) < 0) stopped(made, "descriptors");
    succeeded("%lld descriptors", most);
}
/// Kernel memory behind sockets belongs to the job too.
static void socket_buffers(long long most) {
    static char block[65536];
    for (long long taken = 0; taken < most;) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair)) stopped(taken, "bytes");
        for (ssize_t got; (got = write(pair[0], block, sizeof block)) > 0;) taken += got;
    }
    succeeded("%lld bytes", most);
}
static void many_files(const char *folder, long long most) {
    if (chdir(folder)) denied(errno, folder);
    for (long long made = 0; made < most; made++) {
        char name[32];
        snprintf(name, sizeof name, "file-%lld", made);
        int file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (file < 0) stopped(made, "files");
        close(file);
    }
    succeeded("%lld files", most);
}
static void sparse(const char *path, long long most) {
    signal(SIGXFSZ, SIG_IGN);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    need(file, path);
    if (ftruncate(file, most)) stopped(0, "bytes");
    succeeded("a file of %lld bytes", most);
}
static void deep(const char *path, long long most) {
    if (chdir(path)) denied(errno, path);
    for (long long made = 0; made < most; made++)
        if (mkdir("d", 0700) || chdir("d")) stopped(made, "folders");
    int file = open("bottom", O_WRONLY | O_CREAT, 0600);
    need(file, "bottom");
    succeeded("%lld folders deep", most);
}
static void lines(long long most) {
    char text[64];
    for (long long written = 0; written < most; written++) {
        int length = snprintf(text, sizeof text, "line %lld\n", written);
        if (write(1, text, (size_t)length) < 0) _exit(9);
    }
    _exit(0);
}
static void long_line(long long most) {
    static char block[65536];
    memset(block, 'a', sizeof block);
    for (long long written = 0; written < most;) {
        ssize_t got = write(1, block, sizeof block);
        if (got < 0) _exit(9);
        written += got;
    }
    _exit(0);
}
/// A fixed piece of honest work, whose time is measured beside attacks.
static void work(long long rounds) {
    unsigned long long value = 88172645463325252ULL;
    for (long long at = 0; at < rounds * 1000000; at++) {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    printf("worked %llu\n", value & 1023);
    exit(0);
}

int exhaust(int count, char **words) {
    if (count < 1) return 2;
    const char *what = words[0];
    long long most = count > 1 ? atoll(words[1]) : 0;
    const char *path = count > 2 ? words[2] : "/job/output";
    signal(SIGUSR1, SIG_IGN);
    if (!strcmp(what, "forks")) setpgid(0, 0), forks(most);
    if (!strcmp(what, "threads")) threads(most);
    if (!strcmp(what, "fork-bomb")) fork_bomb();
    if (!strcmp(what, "memory")) memory(most);
    if (!strcmp(what, "memfd")) anonymous_file(most);
    if (!strcmp(what, "file")) fill_path(path, most);
    if (!strcmp(what, "descriptors")) descriptors(most);
    if (!strcmp(what, "sockets")) socket_buffers(most);
    if (!strcmp(what, "files")) many_files(path, most);
    if (!strcmp(what, "sparse")) sparse(path, most);
    if (!strcmp(what, "deep")) deep(path, most);
    if (!strcmp(what, "lines")) lines(most);
    if (!strcmp(what, "long-line")) long_line(most);
    if (!strcmp(what, "log-flood")) long_line(1LL << 60);
    if (!strcmp(what, "work")) work(most);
    return 2;
}
