// Line 12: new namespaces, mounts, roots, nodes; and privileges that could grow.
#include "attempt.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#undef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80

static void leave(int flag, const char *what) { judge(syscall(SYS_unshare, flag), what); }
#define LEAVES(name, flag) static void name(void) { leave(flag, "unshare(" #flag ")"); }
LEAVES(new_users, CLONE_NEWUSER)
LEAVES(new_mounts, CLONE_NEWNS)
LEAVES(new_network, CLONE_NEWNET)
LEAVES(new_pids, CLONE_NEWPID)
LEAVES(new_ipc, CLONE_NEWIPC)
LEAVES(new_names, CLONE_NEWUTS)
LEAVES(new_cgroups, CLONE_NEWCGROUP)
LEAVES(new_time, CLONE_NEWTIME)

static _Noreturn void child_made(long child, const char *what) {
    if (child == 0) _exit(0);
    if (child > 0) waitpid((pid_t)child, NULL, 0);
    judge(child, what);
}
static void clone_users(void) {
    child_made(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), "clone(CLONE_NEWUSER)");
}
static void clone_users_upper(void) {
    child_made(syscall(SYS_clone, 0xffffffff00000000UL | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), "clone(upper half, CLONE_NEWUSER)");
}
/// The flags lie behind a pointer, where no filter can read them.
static void clone3_users(void) {
    struct clone_args arguments = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    child_made(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3(CLONE_NEWUSER)");
}
static void clone3_cgroup(void) {
    struct clone_args arguments = {.flags = 0x200000000ULL /* INTO_CGROUP */, .exit_signal = SIGCHLD, .cgroup = (__u64)-1};
    child_made(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3(CLONE_INTO_CGROUP)");
}

static void enter(const char *path, int flag) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    need(file, path);
    judge(setns(file, flag), path);
}
static void enter_own_network(void) { enter("/proc/self/ns/net", CLONE_NEWNET); }
static void enter_mounts_of_init(void) { enter("/proc/1/ns/mnt", CLONE_NEWNS); }
static void enter_users_of_init(void) { enter("/proc/1/ns/user", CLONE_NEWUSER); }
static void enter_by_handle(void) {
    int handle = (int)syscall(SYS_pidfd_open, 1, 0);
    need(handle, "pidfd_open");
    judge(setns(handle, CLONE_NEWIPC | CLONE_NEWNET), "setns(pidfd of pid 1)");
}

static const char *own_folder(void) {
    static char path[] = "/tmp/longshore-XXXXXX";
    if (!mkdtemp(path)) denied(errno, "mkdtemp in /tmp");
    return path;
}
static _Noreturn void mounted(long result, const char *path, const char *what) {
    int error = errno;
    if (result == 0) umount2(path, MNT_DETACH);
    rmdir(path);
    errno = error;
    judge(result, what);
}
static void mount_tmpfs(void) {
    const char *path = own_folder();
    mounted(mount("none", path, "tmpfs", 0, "size=4k"), path, "mount(tmpfs)");
}
static void mount_proc(void) {
    const char *path = own_folder();
    mounted(mount("none", path, "proc", 0, NULL), path, "mount(proc)");
}
static void mount_sysfs(void) {
    const char *path = own_folder();
    mounted(mount("none", path, "sysfs", 0, NULL), path, "mount(sysfs)");
}
static void mount_cgroup(void) {
    const char *path = own_folder();
    mounted(mount("none", path, "cgroup2", 0, NULL), path, "mount(cgroup2)");
}
static void mount_bind(void) {
    const char *path = own_folder();
    mounted(mount("/", path, NULL, MS_BIND, NULL), path, "mount(bind of /)");
}
static void remount(void) { judge(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL), "remount of / as writable"); }
static void share_mounts(void) { judge(mount(NULL, "/", NULL, MS_PRIVATE, NULL), "mount propagation of /"); }
static void unmount(void) { judge(umount2("/dev/shm", MNT_DETACH), "umount(/dev/shm)"); }
static void open_filesystem(void) { judge(syscall(SYS_fsopen, "tmpfs", 0), "fsopen"); }
static void copy_tree(void) { judge(syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1 /* CLONE */), "open_tree(CLONE)"); }
static void move_mount_call(void) { judge(syscall(SYS_move_mount, -1, "", -1, "", 0), "move_mount"); }
static void pick_filesystem(void) { judge(syscall(SYS_fspick, AT_FDCWD, "/", 0), "fspick"); }
static void set_mount(void) {
    struct mount_attr attribute = {.attr_clr = 1 /* RDONLY */};
    judge(syscall(SYS_mount_setattr, AT_FDCWD, "/tmp", 0, &attribute, sizeof attribute), "mount_setattr");
}
static void change_root(void) { judge(syscall(SYS_pivot_root, "/", "/"), "pivot_root"); }
static void chroot_out(void) { judge(chroot("/"), "chroot"); }

static void make_node(mode_t kind, dev_t device, const char *what) {
    static const char *const folders[] = {"/tmp", "/job/output", "/dev/shm"};
    int error = 0;
    for (int at = 0; at < 3; at++) {
        char path[100];
        snprintf(path, sizeof path, "%s/node-%d", folders[at], getpid());
        if (mknod(path, kind | 0600, device) == 0) {
            unlink(path);
            succeeded("%s in %s", what, folders[at]);
        }
        if (errno != ENOENT) error = errno;
    }
    denied(error, what);
}
static void make_disk(void) { make_node(S_IFBLK, makedev(254, 0), "mknod(disk)"); }
static void make_device(void) { make_node(S_IFCHR, makedev(1, 1), "mknod(memory device)"); }

static void capabilities(void) {
    FILE *status = fopen("/proc/self/status", "re");
    if (!status) denied(errno, "/proc/self/status");
    char line[300];
    while (fgets(line, sizeof line, status)) {
        char name[20];
        unsigned long long bits;
        if (sscanf(line, "Cap%19[^:]: %llx", name, &bits) == 2 && bits) succeeded("Cap%s is %llx", name, bits);
    }
    denied(0, "capabilities");
}
static void privileges(void) {
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0) succeeded("no_new_privs is off");
    denied(EPERM, "new privileges");
}
static void ambient(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {0};
    need(syscall(SYS_capget, &header, sets), "capget");
    sets[0].inheritable |= 1U << 21;
    need(syscall(SYS_capset, &header, sets), "capset(inheritable SYS_ADMIN)");
    judge(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0), "prctl(PR_CAP_AMBIENT_RAISE, SYS_ADMIN)");
}
static void become_another(void) {
    uid_t other = getuid() + 1;
    // EINVAL: the user namespace has no such user.
    need(setresuid(other, other, other), "setresuid");
    succeeded("became user %u", geteuid());
}
static void leave_groups(void) {
    gid_t other = 7;
    judge(syscall(SYS_setgroups, 1, &other), "setgroups");
}
/// The bit on a file of another user's: does running it change who we are?
static void setuid_bit(void) {
    char path[200], self[400];
    snprintf(path, sizeof path, "%s/copy", own_folder());
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    need(length, "/proc/self/exe");
    self[length] = 0;
    int from = open(self, O_RDONLY | O_CLOEXEC), to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    need(from, self);
    need(to, path);
    static char block[65536];
    for (ssize_t got; (got = read(from, block, sizeof block)) > 0;)
        if (write(to, block, (size_t)got) != got) denied(errno, path);
    int owned = fchown(to, 12345, 12345), error = errno;
    fchmod(to, 04755);
    struct stat status;
    fstat(to, &status);
    close(to);
    if (owned < 0) unlink(path), denied(error, "chown of a setuid file");
    pid_t child = fork();
    need(child, "fork");
    if (child == 0) {
        execl(path, path, "misbehave", "tell-uid", NULL);
        _exit(200);
    }
    int end = 0;
    waitpid(child, &end, 0);
    unlink(path);
    if (WIFEXITED(end) && WEXITSTATUS(end) == 77) succeeded("a setuid file made us user 12345");
    denied(EPERM, "setuid execution");
}

const struct attempt namespaces[] = {
    {12, "unshares-users", new_users},
    {12, "unshares-mounts", new_mounts},
    {12, "unshares-the-network", new_network},
    {12, "unshares-processes", new_pids},
    {12, "unshares-ipc", new_ipc},
    {12, "unshares-names", new_names},
    {12, "unshares-cgroups", new_cgroups},
    {12, "unshares-time", new_time},
    {12, "clones-into-new-users", clone_users},
    {12, "clones-into-new-users-by-the-upper-half", clone_users_upper},
    {12, "clones-into-new-users-by-clone3", clone3_users},
    {12, "clones-into-a-cgroup", clone3_cgroup},
    {12, "enters-its-own-network", enter_own_network},
    {12, "enters-the-mounts-of-pid-1", enter_mounts_of_init},
    {12, "enters-the-users-of-pid-1", enter_users_of_init},
    {12, "enters-namespaces-by-pidfd", enter_by_handle},
    {12, "mounts-a-tmpfs", mount_tmpfs},
    {12, "mounts-proc", mount_proc},
    {12, "mounts-sysfs", mount_sysfs},
    {12, "mounts-cgroups", mount_cgroup},
    {12, "binds-the-root", mount_bind},
    {12, "remounts-the-root", remount},
    {12, "changes-mount-propagation", share_mounts},
    {12, "unmounts", unmount},
    {12, "opens-a-file-system", open_filesystem},
    {12, "copies-a-mount-tree", copy_tree},
    {12, "moves-a-mount", move_mount_call},
    {12, "picks-a-file-system", pick_filesystem},
    {12, "sets-mount-attributes", set_mount},
    {12, "changes-its-root", change_root},
    {12, "calls-chroot", chroot_out},
    {12, "makes-a-disk-node", make_disk},
    {12, "makes-a-memory-node", make_device},
    {15, "holds-capabilities", capabilities},
    {15, "may-gain-privileges", privileges},
    {15, "raises-an-ambient-capability", ambient},
    {15, "becomes-another-user", become_another},
    {15, "changes-its-groups", leave_groups},
    {15, "gains-by-a-setuid-file", setuid_bit},
    {0, NULL, NULL},
};
