// The steps that take rights away, and the last one, which starts the command.
#include "raw.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <linux/sockios.h>
#include <linux/wait.h>
#include <sys/socket.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

static long write_file(const char *path, const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    long fd = RAW(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0, 0);
    if (fd < 0) return fd;
    long result = RAW(SYS_write, fd, text, length, 0, 0);
    RAW(SYS_close, fd, 0, 0, 0, 0);
    return result < 0 ? result : 0;
}

// path of a cgroup v1 `tasks` file. A thread that moves itself takes no lock of the whole system, so this costs
// microseconds where a move by the supervisor waits milliseconds for every processor.
long step_join(struct reader *in) {
    const char *path = read_text(in);
    return in->broken ? -EBADMSG : write_file(path, "0");
}

// Waits for the supervisor's word; a supervisor that is gone ends the launch.
long await_word(char expected) {
    for (;;) {
        char word;
        long got = RAW(SYS_read, FD_CONTROL, &word, 1, 0, 0);
        if (got == 1) return word == expected ? 0 : -ECANCELED;
        if (got != -EINTR) leave(1);
    }
}

long step_await(struct reader *in) {
    (void)in;
    return await_word('G');
}

// user, group, whether supplementary groups can be dropped.
long step_become(struct reader *in) {
    uint32_t user = read_number(in), group = read_number(in), groups = read_number(in);
    if (in->broken) return -EBADMSG;
    long result = groups ? RAW(SYS_setgroups, 0, NULL, 0, 0, 0) : 0;
    if (result >= 0) result = RAW(SYS_setresgid, group, group, group, 0, 0);
    if (result >= 0) result = RAW(SYS_setresuid, user, user, user, 0, 0);
    // A change of user hides this process from itself in /proc and forgets the parent's death signal.
    if (result >= 0) result = RAW(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (result >= 0) result = RAW(SYS_prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0);
    return result;
}

// A network namespace takes the kernel longer than all mounts together, so a child makes it beside them. The table of
// descriptors is shared: the child leaves the namespace in a place that is known beforehand, and its errno as exit code.
static long network_child, network_place;

static _Noreturn void make_network(long place) {
    long result = RAW(SYS_unshare, CLONE_NEWNET, 0, 0, 0, 0);
    if (result < 0) leave((int)-result);
    long fd = result = RAW(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0, 0, 0);
    if (result < 0) leave((int)-result);
    struct ifreq request = {0};
    request.ifr_name[0] = 'l';
    request.ifr_name[1] = 'o';
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    result = RAW(SYS_ioctl, fd, SIOCSIFFLAGS, &request, 0, 0);
    long made = -1;
    if (result >= 0) made = result = RAW(SYS_ioctl, fd, SIOCGSKNS, 0, 0, 0);
    if (result >= 0) result = RAW(SYS_dup3, made, place, O_CLOEXEC, 0, 0);
    if (made >= 0) RAW(SYS_close, made, 0, 0, 0, 0);
    RAW(SYS_close, fd, 0, 0, 0, 0);
    leave(result < 0 ? (int)-result : 0);
}

long step_make_network(struct reader *in) {
    (void)in;
    network_place = RAW(SYS_fcntl, FD_ERROR, F_DUPFD_CLOEXEC, 0, 0, 0);
    if (network_place < 0) return network_place;
    // Without a signal at its end: pid 1 waits for it by name.
    network_child = RAW(SYS_clone, CLONE_FILES, 0, 0, 0, 0);
    if (network_child == 0) make_network(network_place);
    return network_child < 0 ? network_child : 0;
}

long step_enter_network(struct reader *in) {
    (void)in;
    int status = 0;
    long reaped;
    do {
        reaped = RAW(SYS_wait4, network_child, &status, __WALL, NULL, 0);
    } while (reaped == -EINTR);
    if (reaped < 0) return reaped;
    if (status != 0) return (status & 0x7f) ? -ECHILD : -(status >> 8 & 0xff);
    long result = RAW(SYS_setns, network_place, CLONE_NEWNET, 0, 0, 0);
    RAW(SYS_close, network_place, 0, 0, 0, 0);
    return result;
}

// Hands a descriptor to the supervisor.
static long hand_out(int fd) {
    char word = 'D';
    struct iovec data = {&word, 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {{0}};
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    *(int *)(void *)CMSG_DATA(&control.header) = fd;
    struct msghdr message = {0};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control.bytes;
    long result = RAW(SYS_sendmsg, FD_CONTROL, &message, MSG_NOSIGNAL, 0, 0);
    return result < 0 ? result : 0;
}

// port: listens on the sandbox's own loopback and hands the socket to the supervisor, which answers there.
long step_listen(struct reader *in) {
    uint32_t port = read_number(in);
    if (in->broken) return -EBADMSG;
    long fd = RAW(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, 0, 0);
    if (fd < 0) return fd;
    struct {
        uint16_t family, port;
        uint8_t address[4], zero[8];
    } name = {AF_INET, (uint16_t)(port >> 8 | port << 8), {127, 0, 0, 1}, {0}};
    long result = RAW(SYS_bind, fd, &name, sizeof name, 0, 0);
    if (result >= 0) result = RAW(SYS_listen, fd, 64, 0, 0, 0);
    if (result >= 0) result = hand_out((int)fd);
    RAW(SYS_close, fd, 0, 0, 0, 0);
    return result;
}

long step_hostname(struct reader *in) {
    const char *name = read_text(in);
    size_t length = 0;
    while (name[length]) length++;
    return in->broken ? -EBADMSG : RAW(SYS_sethostname, name, length, 0, 0, 0);
}

long step_unshare(struct reader *in) {
    uint32_t flags = read_number(in);
    return in->broken ? -EBADMSG : RAW(SYS_unshare, flags, 0, 0, 0, 0);
}

// resource, soft, hard.
long step_rlimit(struct reader *in) {
    uint32_t resource = read_number(in);
    uint64_t limit[2];
    limit[0] = read_long(in);
    limit[1] = read_long(in);
    return in->broken ? -EBADMSG : RAW(SYS_prlimit64, 0, resource, limit, NULL, 0);
}

// All five sets, and the rule that gives user id 0 capabilities back at exec.
long step_drop_capabilities(struct reader *in) {
    (void)in;
    long result = RAW(
        SYS_prctl, PR_SET_SECUREBITS,
        SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
            SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED | SECBIT_KEEP_CAPS_LOCKED,
        0, 0, 0);
    if (result < 0) return result;
    for (int capability = 0; capability < 64; capability++) {
        result = RAW(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
        if (result == -EINVAL) break;
        if (result < 0) return result;
    }
    result = RAW(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (result < 0) return result;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    return RAW(SYS_capset, &header, none, 0, 0, 0);
}

long step_no_new_privileges(struct reader *in) {
    (void)in;
    return RAW(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

struct beneath {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));

// handled file rights, handled TCP rights, scopes, bytes of the attribute structure that this kernel knows,
// rules (path, rights), ports (rights, port). A path that is missing fails the launch: a rule must never be skipped.
long step_landlock(struct reader *in) {
    uint64_t attributes[3];
    for (int i = 0; i < 3; i++) attributes[i] = read_long(in);
    uint32_t size = read_number(in), rules = read_number(in);
    if (in->broken || size > sizeof attributes) return -EBADMSG;
    long set = RAW(SYS_landlock_create_ruleset, attributes, size, 0, 0, 0);
    if (set < 0) return set;
    long result = 0;
    for (uint32_t i = 0; i < rules && result >= 0; i++) {
        const char *path = read_text(in);
        struct beneath rule = {read_long(in), -1};
        if (in->broken) return -EBADMSG;
        result = RAW(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, 0);
        if (result < 0) break;
        rule.parent = (int)result;
        result = RAW(SYS_landlock_add_rule, set, 1, &rule, 0, 0);
        RAW(SYS_close, rule.parent, 0, 0, 0, 0);
    }
    uint32_t ports = read_number(in);
    for (uint32_t i = 0; i < ports && result >= 0; i++) {
        uint64_t rule[2];
        rule[0] = read_long(in);
        rule[1] = read_long(in);
        result = RAW(SYS_landlock_add_rule, set, 2, rule, 0, 0);
    }
    if (in->broken) return -EBADMSG;
    if (result >= 0) result = RAW(SYS_landlock_restrict_self, set, 0, 0, 0, 0);
    RAW(SYS_close, set, 0, 0, 0, 0);
    return result;
}

long step_session(struct reader *in) {
    (void)in;
    long result = RAW(SYS_setsid, 0, 0, 0, 0, 0);
    return result < 0 ? result : 0;
}

// text of the adjustment: when memory runs out, jobs go before the host's own programs.
long step_oom_score(struct reader *in) {
    const char *text = read_text(in);
    return in->broken ? -EBADMSG : write_file("/proc/self/oom_score_adj", text);
}

long step_close_descriptors(struct reader *in) {
    (void)in;
    long result = RAW(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC, 0, 0);
    if (result != -ENOSYS && result != -EINVAL) return result;
    // Older kernels: every descriptor that can be open, one by one.
    uint64_t limit[2] = {1024, 1024};
    RAW(SYS_prlimit64, 0, 7, NULL, limit, 0);
    for (uint64_t fd = 3; fd < limit[0] && fd < 1u << 20; fd++) RAW(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC, 0, 0);
    return 0;
}

// filter bytes, whether to hand the notification descriptor to the supervisor.
long step_seccomp(struct reader *in) {
    uint32_t length;
    const void *filter = read_blob(in, &length);
    uint32_t listen = read_number(in);
    if (in->broken) return -EBADMSG;
    struct sock_fprog program = {(unsigned short)(length / sizeof(struct sock_filter)), (struct sock_filter *)filter};
    long result = RAW(SYS_seccomp, SECCOMP_SET_MODE_FILTER, listen ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &program, 0, 0);
    if (result < 0 || !listen) return result < 0 ? result : 0;
    // Close-on-exec by birth; the supervisor's copy alone stays.
    return hand_out((int)result);
}

static const char **pointers(struct reader *in, uint32_t count) {
    long memory = raw6(SYS_mmap, 0, (long)(count + 1) * 8, 3, 0x22, -1, 0);
    if (memory < 0 && memory > -4096) {
        in->broken = 1;
        return NULL;
    }
    const char **list = (const char **)memory;
    for (uint32_t i = 0; i < count; i++) list[i] = read_text(in);
    return list;
}

// Candidates for the program, arguments, environment. The first candidate that is there and may be executed is it.
long step_exec(struct reader *in) {
    uint32_t candidates = read_number(in);
    if (in->broken || candidates > 64) return -EBADMSG;
    const char *paths[64];
    for (uint32_t i = 0; i < candidates; i++) paths[i] = read_text(in);
    uint32_t arguments = read_number(in);
    const char **argv = in->broken ? NULL : pointers(in, arguments);
    uint32_t variables = read_number(in);
    const char **envp = in->broken ? NULL : pointers(in, variables);
    if (in->broken) return -EBADMSG;
    long result = -ENOENT;
    for (uint32_t i = 0; i < candidates; i++) {
        long failed = RAW(SYS_execve, paths[i], argv, envp, 0, 0);
        if (failed != -ENOENT && failed != -ENOTDIR) result = failed;
    }
    return result;
}
