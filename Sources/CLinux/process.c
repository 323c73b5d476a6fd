#include "include/process.h"
#include "../cargo-init/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
// MOUNT_ATTR_RDONLY, NOSUID, NODEV, IDMAP.
#define MAPPED_MOUNT (0x1ull | 0x2ull | 0x4ull | 0x100000ull)
#define CLONE_PIDFD_FLAG 0x00001000ull
#define CLONE_INTO_CGROUP_FLAG 0x200000000ull

struct arguments3 {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct child {
    const struct clinux_start_arguments *start;
    // errno of what failed before exec; 0 after it. Shared memory: the supervisor reads it when its thread resumes.
    volatile int failed;
};

// Capabilities that cargo-init needs inside its own user namespace: SETGID, SETUID, SETPCAP, NET_ADMIN, SYS_ADMIN.
static const int kept[] = {6, 7, 8, 12, 21};

static long keep_capabilities(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    long result = RAW(SYS_capget, &header, sets, 0, 0, 0);
    if (result < 0) return result;
    sets[0].inheritable = sets[0].permitted;
    sets[1].inheritable = sets[1].permitted;
    result = RAW(SYS_capset, &header, sets, 0, 0, 0);
    for (unsigned i = 0; i < sizeof kept / sizeof *kept && result >= 0; i++)
        result = RAW(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0);
    return result;
}

// Runs on a stack of its own in the supervisor's memory, with the supervisor's thread suspended: raw system calls
// only, nothing of the C library, whose locks and thread-local data belong to the suspended thread.
static void become(struct child *child) {
    const struct clinux_start_arguments *start = child->start;
    long result = 0;
    for (int i = 0; i < start->descriptor_count && result >= 0; i++)
        result = RAW(SYS_dup3, start->descriptors[i], i, 0, 0, 0);
    if (result >= 0) result = RAW(SYS_close_range, start->descriptor_count, ~0u, 4 /* CLOEXEC */, 0, 0);
    if (result >= 0 && (start->namespaces & CLONE_NEWUSER)) result = keep_capabilities();
    if (result >= 0) {
        char *argv[] = {"cargo-init", 0}, *envp[] = {0};
        result = RAW(SYS_execveat, start->program, "", argv, envp, AT_EMPTY_PATH);
    }
    child->failed = (int)-result;
    for (;;) RAW(SYS_exit_group, 127, 0, 0, 0, 0);
}

#if defined(__x86_64__)
static long clone_onto(struct arguments3 *arguments, struct child *child) {
    long result;
    register void (*entry)(struct child *) __asm__("r8") = become;
    register struct child *argument __asm__("r9") = child;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n xor %%ebp, %%ebp\n mov %%r9, %%rdi\n call *%%r8\n ud2\n1:"
                     : "=a"(result)
                     : "a"(SYS_clone3), "D"(arguments), "S"(sizeof *arguments), "r"(entry), "r"(argument)
                     : "rcx", "r11", "memory");
    return result;
}
#else
static long clone_onto(struct arguments3 *arguments, struct child *child) {
    register long x8 __asm__("x8") = SYS_clone3;
    register long x0 __asm__("x0") = (long)arguments;
    register long x1 __asm__("x1") = sizeof *arguments;
    register void (*entry)(struct child *) __asm__("x9") = become;
    register struct child *argument __asm__("x10") = child;
    __asm__ volatile("svc 0\n cbnz x0, 1f\n mov x29, #0\n mov x0, x10\n blr x9\n brk #0\n1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(entry), "r"(argument)
                     : "memory", "x30");
    return x0;
}
#endif

int clinux_start(const struct clinux_start_arguments *start, int *pidfd) {
    if (start->program < start->descriptor_count) {
        errno = EINVAL;
        return -1;
    }
    // 16 KiB: the child calls a handful of leaf functions.
    char stack[16384] __attribute__((aligned(16)));
    struct child child = {start, 0};
    struct arguments3 arguments;
    memset(&arguments, 0, sizeof arguments);
    arguments.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD_FLAG | start->namespaces;
    arguments.pidfd = (uint64_t)(uintptr_t)pidfd;
    arguments.exit_signal = SIGCHLD;
    arguments.stack = (uint64_t)(uintptr_t)stack;
    arguments.stack_size = sizeof stack;
    if (start->cgroup >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP_FLAG;
        arguments.cgroup = (uint64_t)start->cgroup;
    }
    // A handler of the supervisor must not run in the child: it would change the supervisor's memory.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = clone_onto(&arguments, &child);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        errno = (int)-pid;
        return -1;
    }
    if (child.failed) {
        int failed = child.failed;
        while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR) {}
        close(*pidfd);
        errno = failed;
        return -1;
    }
    return (int)pid;
}

int clinux_mapped_tree(int file, int user_namespace) {
    struct {
        uint64_t set, clear, propagation, userns;
    } change = {MAPPED_MOUNT, 0, 0, (uint64_t)user_namespace};
    int tree = (int)syscall(SYS_open_tree, file, "", AT_EMPTY_PATH | 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC);
    if (tree < 0) return -1;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &change, sizeof change) == 0) return tree;
    int failed = errno;
    close(tree);
    errno = failed;
    return -1;
}

int clinux_open_file(const char *name, int executable) {
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int low = memfd_create(name, flags | (executable ? MFD_EXEC : MFD_NOEXEC_SEAL));
    if (low < 0 && errno == EINVAL) low = memfd_create(name, flags);
    if (low < 0) return -1;
    // Above the low numbers, which clinux_start gives to what the program inherits.
    int file = clinux_duplicate_high(low);
    close(low);
    return file;
}

int clinux_fill_and_seal(int file, const void *bytes, size_t count) {
    const char *at = bytes;
    while (count > 0) {
        ssize_t written = write(file, at, count);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return -1;
        at += written;
        count -= (size_t)written;
    }
    if (lseek(file, 0, SEEK_SET) < 0) return -1;
    return fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

int clinux_sealed_file(const char *name, const void *bytes, size_t count, int executable) {
    int file = clinux_open_file(name, executable);
    if (file < 0 || clinux_fill_and_seal(file, bytes, count) == 0) return file;
    int error = errno;
    close(file);
    errno = error;
    return -1;
}

int clinux_memory_file(const char *name) { return memfd_create(name, MFD_CLOEXEC); }

int clinux_pidfd_signal(int pidfd, int signal) { return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0); }

int clinux_pidfd_reap(int pidfd, int *status, struct rusage *usage) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    long result;
    do result = syscall(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | WNOHANG, usage);
    while (result < 0 && errno == EINTR);
    if (result < 0) return -1;
    if (info.si_pid == 0) return 0;
    *status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    return 1;
}

int clinux_landlock_abi(void) { return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1); }

int clinux_probe_open_tree(const char *path) {
    long tree = syscall(SYS_open_tree, AT_FDCWD, path, 1 | O_CLOEXEC);
    if (tree < 0) return errno;
    close((int)tree);
    return 0;
}

int clinux_pipe(int *ends) { return pipe2(ends, O_CLOEXEC); }

int clinux_socket_pair(int *ends) { return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends); }

int clinux_receive_descriptor(int socket) {
    char word;
    struct iovec data = {&word, 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    ssize_t got;
    do got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    struct cmsghdr *header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) {
        if (got >= 0) errno = ECONNRESET;
        return -1;
    }
    int received;
    memcpy(&received, CMSG_DATA(header), sizeof received);
    return received;
}

int clinux_notification_receive(int listener, struct clinux_notification *notification) {
    struct seccomp_notif received;
    memset(&received, 0, sizeof received);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &received) < 0) return -1;
    notification->id = received.id;
    notification->number = received.data.nr;
    memcpy(notification->arguments, received.data.args, sizeof notification->arguments);
    return 0;
}

int clinux_notification_refuse(int listener, uint64_t id, int error) {
    struct seccomp_notif_resp answer;
    memset(&answer, 0, sizeof answer);
    answer.id = id;
    answer.error = -error;
    return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

void clinux_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

int clinux_duplicate_high(int descriptor) { return fcntl(descriptor, F_DUPFD_CLOEXEC, 64); }

int clinux_exited(int status) { return WIFEXITED(status); }
int clinux_exit_code(int status) { return WEXITSTATUS(status); }
int clinux_term_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }
