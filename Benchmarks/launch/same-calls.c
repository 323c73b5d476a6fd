// same-calls spawn N COMMAND…          times N runs of a command, posix_spawn to reaped
// same-calls confined N FILTER CGROUP  times N runs of /bin/true under the same system calls as a confined launch
//
// The second is the peer of Longshore's own launch: the same namespaces, mounts, masks, limits, Landlock rules and
// filter (FILTER: compiled BPF), the same cgroups (CGROUP: 1 with, 0 without), made by a plain C supervisor and a
// plain C helper that is executed from a memory file. Prints the median and the 90th percentile in microseconds.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { plan_fd = 3, error_fd, status_fd, control_fd, filter_fd, inherited = 8 };
extern char **environ;

#define must(call) \
    ({ \
        __typeof__(call) result_ = (call); \
        if (result_ < 0) fprintf(stderr, "%s: %s\n", #call, strerror(errno)), _exit(1); \
        result_; \
    })

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

// The helper: what pid 1 of the sandbox does.

static void bind_at(int source, const char *target, uint64_t attributes) {
    int tree = must((int)syscall(SYS_open_tree, source, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    struct mount_attr change = {.attr_set = attributes};
    must(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &change, sizeof change));
    struct {
        uint64_t flags, mode, resolve;
    } how = {O_PATH | O_CLOEXEC, 0, 0x06};
    int at = must((int)syscall(SYS_openat2, AT_FDCWD, target, &how, sizeof how));
    must(syscall(SYS_move_mount, tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
    close(at);
    close(tree);
}
static void mask(const char *path, int null) {
    struct stat status;
    if (lstat(path, &status)) return;
    if (S_ISDIR(status.st_mode)) must(mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2"));
    else bind_at(null, path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}
static void small_file(const char *path, const char *text) {
    int file = must(open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444));
    if (*text) must(write(file, text, strlen(text)));
    close(file);
}
static void await_word(void) {
    char word;
    if (read(control_fd, &word, 1) != 1) _exit(1);
}
static void limit(int resource, rlim_t soft, rlim_t hard) {
    struct rlimit now, wanted = {soft, hard};
    getrlimit((__rlimit_resource_t)resource, &now);
    if (wanted.rlim_max > now.rlim_max) wanted.rlim_max = now.rlim_max;
    if (wanted.rlim_cur > wanted.rlim_max) wanted.rlim_cur = wanted.rlim_max;
    must(setrlimit((__rlimit_resource_t)resource, &wanted));
}
static void landlock(void) {
    struct {
        uint64_t files, tcp, scopes;
    } handled = {0xffff, 0, 3};
    int abi = (int)syscall(444, NULL, 0, 1);
    if (abi <= 0) return;
    if (abi < 5) handled.files = abi >= 3 ? 0x7fff : abi >= 2 ? 0x3fff : 0x1fff;
    if (abi < 6) handled.scopes = 0;
    int set = must((int)syscall(444, &handled, abi >= 6 ? 24 : abi >= 4 ? 16 : 8, 0));
    static const char *const paths[] = {"/", "/proc", "/tmp", "/dev/shm", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    for (size_t at = 0; at < sizeof paths / sizeof *paths; at++) {
        uint64_t rights = at == 0 ? 0xd : at == 1 ? 0xe : at < 4 ? 0x77bf : 0xc006;
        struct {
            uint64_t access;
            int32_t parent;
        } __attribute__((packed)) rule = {rights & handled.files, must(open(paths[at], O_PATH | O_CLOEXEC))};
        must(syscall(445, set, 1, &rule, 0));
        close(rule.parent);
    }
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    must(syscall(446, set, 0));
    close(set);
}

static _Noreturn void helper(void) {
    for (int number = 1; number < 65; number++) signal(number, SIG_DFL);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, "same-calls", 0, 0, 0);
    umask(0);
    char header[12];
    must(pread(plan_fd, header, sizeof header, 0));
    must((long)mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, plan_fd, 0));
    struct stat filter;
    must(fstat(filter_fd, &filter));
    struct sock_filter *code = mmap(NULL, (size_t)filter.st_size, PROT_READ, MAP_PRIVATE, filter_fd, 0);

    static const char *const devices[] = {"null", "zero", "full", "random", "urandom"};
    int device[5], usr = must(open("/usr", O_PATH | O_CLOEXEC));
    for (int at = 0; at < 5; at++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/%s", devices[at]);
        device[at] = must(open(path, O_PATH | O_CLOEXEC));
        struct stat status;
        must(fstatat(device[at], "", &status, AT_EMPTY_PATH));
    }
    static const char *const roots[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};
    static const char *const settings[] = {"/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/localtime"};
    int setting[4];
    for (int at = 0; at < 4; at++) setting[at] = open(settings[at], O_PATH | O_CLOEXEC);

    await_word();
    must(syscall(SYS_setgroups, 0, NULL));
    must(syscall(SYS_setresgid, 1000, 1000, 1000));
    must(syscall(SYS_setresuid, 1000, 1000, 1000));
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
    must(mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=4m,nr_inodes=4096"));
    must(chdir("/tmp"));
    static const char *const folders[] = {"usr", "etc", "etc/alternatives", "etc/ssl", "etc/ssl/certs", "dev", "cargo", "proc", "tmp", "dev/shm"};
    for (size_t at = 0; at < sizeof folders / sizeof *folders; at++) must(mkdir(folders[at], 0755));
    uint64_t sealed = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    for (int at = 0; at < 6; at++) {
        char path[16], target[64];
        snprintf(path, sizeof path, "/%s", roots[at]);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length <= 0) continue;
        target[length] = 0;
        must(symlink(target, roots[at]));
    }
    small_file("etc/ld.so.cache", "");
    small_file("etc/localtime", "");
    small_file("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\ncargo:x:1000:1000:cargo:/tmp:/bin/sh\n");
    small_file("etc/group", "root:x:0:\ncargo:x:1000:\n");
    small_file("etc/hosts", "127.0.0.1 localhost\n");
    small_file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    for (int at = 0; at < 5; at++) {
        char path[32];
        snprintf(path, sizeof path, "dev/%s", devices[at]);
        small_file(path, "");
    }
    must(symlink("/proc/self/fd", "dev/fd"));
    must(symlink("/proc/self/fd/0", "dev/stdin"));
    must(symlink("/proc/self/fd/1", "dev/stdout"));
    must(symlink("/proc/self/fd/2", "dev/stderr"));
    bind_at(usr, "usr", sealed);
    for (int at = 0; at < 4; at++)
        if (setting[at] >= 0) bind_at(setting[at], settings[at] + 1, sealed | MOUNT_ATTR_NOEXEC);
    for (int at = 0; at < 5; at++) {
        char path[32];
        snprintf(path, sizeof path, "dev/%s", devices[at]);
        bind_at(device[at], path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    }
    must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    static const char *const masked[] = {
        "acpi", "asound", "interrupts", "kcore", "keys", "key-users", "kallsyms", "kmsg", "kpagecgroup", "kpagecount",
        "kpageflags", "latency_stats", "sched_debug", "scsi", "sysrq-trigger", "timer_list", "vmallocinfo",
    };
    for (size_t at = 0; at < sizeof masked / sizeof *masked; at++) {
        char path[40];
        snprintf(path, sizeof path, "proc/%s", masked[at]);
        mask(path, device[0]);
    }
    static const char *const closed[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys"};
    for (int at = 0; at < 4; at++) {
        int folder = open(closed[at], O_PATH | O_CLOEXEC | O_NOFOLLOW);
        if (folder < 0) continue;
        bind_at(folder, closed[at], sealed | MOUNT_ATTR_NOEXEC);
        close(folder);
    }
    must(mount("tmpfs", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=256m,nr_inodes=65536"));
    must(mount("tmpfs", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=256m,nr_inodes=65536"));
    must(syscall(SYS_pivot_root, ".", "."));
    must(umount2(".", MNT_DETACH));
    must(chdir("/"));
    struct mount_attr root = {.attr_set = sealed};
    must(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &root, sizeof root));
    int loop = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    must(ioctl(loop, SIOCSIFFLAGS, &request));
    close(loop);
    must(sethostname("cargo", 5));
    await_word();
    must(unshare(CLONE_NEWCGROUP));
    limit(RLIMIT_CORE, 1, 1);
    limit(RLIMIT_NOFILE, 1024, 4096);
    limit(RLIMIT_MSGQUEUE, 0, 0);
    limit(RLIMIT_SIGPENDING, 4096, 4096);
    limit(RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
    limit(RLIMIT_NICE, 0, 0);
    limit(RLIMIT_RTPRIO, 0, 0);
    int score = must(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
    must(write(score, "500", 3));
    close(score);
    must(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED | SECBIT_KEEP_CAPS_LOCKED, 0, 0, 0));
    for (int capability = 0; capability < 64 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) continue;
    must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    struct __user_cap_header_struct version = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct empty[2] = {{0}, {0}};
    must(syscall(SYS_capset, &version, empty));
    landlock();
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    pid_t child = must((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &none, NULL);
        setsid();
        must(chdir("/cargo"));
        must(syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC));
        struct sock_fprog program = {(unsigned short)((size_t)filter.st_size / sizeof *code), code};
        must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
        char *words[] = {"/bin/true", NULL}, *nothing[] = {NULL};
        execve(words[0], words, nothing);
        _exit(127);
    }
    for (int fd = 0; fd <= error_fd; fd++) close(fd);
    syscall(SYS_close_range, filter_fd, ~0U, 0);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int signals = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
    struct pollfd watched[2] = {{signals, POLLIN, 0}, {control_fd, POLLIN, 0}};
    for (;;) {
        int status;
        if (wait4(-1, &status, WNOHANG | __WALL, NULL) == child) {
            kill(-1, SIGKILL);
            wait4(-1, NULL, __WALL, NULL);
            if (write(status_fd, &status, sizeof status) < 0) _exit(1);
            _exit(0);
        }
        ppoll(watched, 2, NULL, NULL);
    }
}

// The supervisor.

static const char *const controllers[] = {"memory", "pids", "cpu", "cpuacct"};
static char parents[4][300];

static void put(const char *folder, const char *name, const char *text, int needed) {
    char path[500];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 && !needed) return;
    must(file);
    if (write(file, text, strlen(text)) < 0 && needed) fprintf(stderr, "%s: %s\n", path, strerror(errno)), exit(1);
    close(file);
}
static void get(const char *folder, const char *name) {
    char path[500], text[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = must(open(path, O_RDONLY | O_CLOEXEC));
    while (must(read(file, text, sizeof text)) > 0) continue;
    close(file);
}
/// Where this process stands in each v1 hierarchy, with the jobs' folder below.
static void find_parents(void) {
    FILE *list = fopen("/proc/self/cgroup", "re");
    char line[500];
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        char *name = strchr(line, ':'), *path = name ? strchr(name + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        for (int at = 0; at < 4; at++)
            if (!strcmp(name + 1, controllers[at])) {
                snprintf(parents[at], sizeof parents[at], "/sys/fs/cgroup/%s%s/same-calls", controllers[at], strcmp(path, "/") ? path : "");
                mkdir(parents[at], 0755);
            }
    }
    if (list) fclose(list);
    if (!*parents[0] || !*parents[1]) fprintf(stderr, "no cgroup v1 hierarchies for memory and pids\n"), exit(3);
}

static int image, filter_file;
static char plan[8192];

static void launch(int number, int with_cgroup) {
    char folders[4][400];
    for (int at = 0; with_cgroup && at < 4; at++) {
        if (!*parents[at]) continue;
        mkdir(parents[at], 0755);
        snprintf(folders[at], sizeof folders[at], "%s/job-%d-%d", parents[at], (int)getpid(), number);
        must(mkdir(folders[at], 0755));
        if (at == 0) put(folders[at], "memory.limit_in_bytes", "67108864", 1), put(folders[at], "memory.memsw.limit_in_bytes", "67108864", 0);
        if (at == 1) put(folders[at], "pids.max", "33", 1);
        if (at == 2) put(folders[at], "cpu.cfs_period_us", "100000", 1), put(folders[at], "cpu.cfs_quota_us", "100000", 1);
    }
    int words = must(memfd_create("plan", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    must(write(words, plan, sizeof plan));
    must(lseek(words, 0, SEEK_SET));
    must(fcntl(words, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
    int input = must(open("/dev/null", O_RDONLY | O_CLOEXEC)), pipes[5][2];
    for (int at = 0; at < 5; at++) must(pipe2(pipes[at], O_CLOEXEC));
    int handed[inherited] = {input, pipes[0][1], pipes[1][1], words, pipes[2][1], pipes[3][1], pipes[4][0], filter_file};
    for (int at = 0; at < inherited; at++)
        if (handed[at] < inherited) handed[at] = must(fcntl(handed[at], F_DUPFD_CLOEXEC, 64));
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    int pidfd = -1;
    uint64_t flags = CLONE_VFORK | CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
    struct clone_args arguments = {.flags = flags, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    pid_t process = must((pid_t)syscall(SYS_clone3, &arguments, sizeof arguments));
    if (process == 0) {
        for (int at = 0; at < inherited; at++) must(dup3(handed[at], at, 0));
        must(syscall(SYS_close_range, inherited, ~0U, CLOSE_RANGE_CLOEXEC));
        struct __user_cap_header_struct version = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct sets[2];
        must(syscall(SYS_capget, &version, sets));
        sets[0].inheritable = sets[0].permitted;
        sets[1].inheritable = sets[1].permitted;
        must(syscall(SYS_capset, &version, sets));
        static const int kept[] = {6, 7, 8, 12, 21};
        for (int at = 0; at < 5; at++) must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[at], 0, 0));
        char *argv[] = {"same-calls-helper", NULL}, *envp[] = {NULL};
        syscall(SYS_execveat, image, "", argv, envp, AT_EMPTY_PATH);
        _exit(127);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(input), close(words), close(pipes[0][1]), close(pipes[1][1]), close(pipes[2][1]), close(pipes[3][1]), close(pipes[4][0]);
    for (int at = 0; at < inherited; at++)
        if (handed[at] >= 64 && handed[at] != filter_file) close(handed[at]);
    char folder[64];
    snprintf(folder, sizeof folder, "/proc/%d", process);
    put(folder, "uid_map", "1000 1879048192 1", 1);
    put(folder, "gid_map", "1000 1879048192 1", 1);
    must(write(pipes[4][1], "G", 1));
    char text[16];
    snprintf(text, sizeof text, "%d", process);
    for (int at = 0; with_cgroup && at < 4; at++)
        if (*parents[at]) put(folders[at], "cgroup.procs", text, 1);
    must(write(pipes[4][1], "G", 1));
    struct pollfd failure = {pipes[2][0], POLLIN, 0};
    must(poll(&failure, 1, 30000));
    char bytes[65536];
    if (must(read(pipes[2][0], bytes, 8)) != 0) fprintf(stderr, "the helper failed\n"), exit(1);
    close(pipes[2][0]);

    int stop = must(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), timer = must(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    int output = must(epoll_create1(EPOLL_CLOEXEC)), life = must(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN};
    for (int at = 0; at < 2; at++) {
        must(fcntl(pipes[at][0], F_SETFL, O_NONBLOCK));
        must(epoll_ctl(output, EPOLL_CTL_ADD, pipes[at][0], &event));
    }
    must(epoll_ctl(life, EPOLL_CTL_ADD, pidfd, &event));
    must(epoll_ctl(life, EPOLL_CTL_ADD, timer, &event));
    must(epoll_ctl(life, EPOLL_CTL_ADD, stop, &event));
    for (int open = 2; open > 0;) {
        must(epoll_wait(output, &event, 1, -1));
        for (int at = 0; at < 2; at++)
            if (read(pipes[at][0], bytes, sizeof bytes) == 0 && epoll_ctl(output, EPOLL_CTL_DEL, pipes[at][0], NULL) == 0) open--;
    }
    must(epoll_wait(life, &event, 1, -1));
    siginfo_t info;
    must(waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED));
    int status = -1;
    if (read(pipes[3][0], &status, sizeof status) != sizeof status || status) fprintf(stderr, "/bin/true ended with %x\n", status), exit(1);
    if (with_cgroup) {
        if (*parents[3]) get(folders[3], "cpuacct.usage");
        get(folders[0], "memory.oom_control");
        for (int at = 0; at < 4; at++)
            if (*parents[at])
                for (int tries = 0; rmdir(folders[at]) && tries < 200; tries++) usleep(tries > 2 ? 5000 : 0);
    }
    close(pidfd), close(stop), close(timer), close(output), close(life);
    close(pipes[0][0]), close(pipes[1][0]), close(pipes[3][0]), close(pipes[4][1]);
}

static int ascending(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return difference < 0 ? -1 : difference > 0;
}
static void tell(double *times, int count) {
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("%.0f %.0f\n", times[count / 2], times[count * 9 / 10]);
}

int main(int count, char **words) {
    if (!strcmp(words[0], "same-calls-helper")) helper();
    int rounds = count > 2 ? atoi(words[2]) : 0;
    double *times = calloc((size_t)rounds + 1, sizeof *times);
    if (count > 3 && !strcmp(words[1], "spawn")) {
        // Quiet: what the program prints is not measured.
        posix_spawn_file_actions_t quiet;
        posix_spawn_file_actions_init(&quiet);
        posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
        for (int at = -1; at < rounds; at++) {
            double begin = now();
            pid_t child;
            int status, error = posix_spawnp(&child, words[3], &quiet, NULL, words + 3, environ);
            if (error) return fprintf(stderr, "%s: %s\n", words[3], strerror(error)), 1;
            waitpid(child, &status, 0);
            if (status) return fprintf(stderr, "%s ended with status %x\n", words[3], status), 1;
            if (at >= 0) times[at] = now() - begin;
        }
    } else if (count == 5 && !strcmp(words[1], "confined")) {
        int with_cgroup = atoi(words[4]);
        if (with_cgroup) find_parents();
        int self = must(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        image = must(fcntl(must(memfd_create("helper", MFD_CLOEXEC | MFD_ALLOW_SEALING)), F_DUPFD_CLOEXEC, 100));
        char block[65536];
        for (ssize_t got; (got = must(read(self, block, sizeof block))) > 0;) must(write(image, block, (size_t)got));
        must(fcntl(image, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
        filter_file = must(fcntl(must(open(words[3], O_RDONLY | O_CLOEXEC)), F_DUPFD_CLOEXEC, 100));
        for (int at = -3; at < rounds; at++) {
            double begin = now();
            launch(at + 3, with_cgroup);
            if (at >= 0) times[at] = now() - begin;
        }
        for (int at = 0; at < 4; at++)
            if (*parents[at]) rmdir(parents[at]);
    } else {
        return fprintf(stderr, "usage: same-calls spawn N COMMAND… | confined N FILTER CGROUP\n"), 2;
    }
    tell(times, rounds);
}
