// Lines 10, 11 and 16: out of the job through files, descriptors, /proc, /sys and what was left lying about.
#include "attempt.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

extern char **environ;

/// A masked file gives nothing back: an open that reads no byte is a denial.
static void read_file(const char *path) {
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    need(file, path);
    static char block[8192]; // some files answer only whole records
    ssize_t length = read(file, block, sizeof block);
    if (length < 0 && errno != EAGAIN) denied(errno, path);
    if (length == 0) denied(0, path);
    succeeded("read %s", path);
}

/// Opens for writing and writes nothing; /dev/null standing in for the file is a denial.
static void open_for_writing(const char *path) {
    int file = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    need(file, path);
    struct stat status;
    need(fstat(file, &status), path);
    if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3)) denied(0, path);
    succeeded("opened %s for writing", path);
}

static void open_folder(const char *path) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    need(folder, path);
    DIR *list = fdopendir(folder);
    if (!list) denied(errno, path);
    int entries = 0;
    for (struct dirent *entry; (entry = readdir(list));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) entries++;
    if (entries == 0) denied(0, path);
    succeeded("listed %d entries of %s", entries, path);
}

#define READS(name, path) static void name(void) { read_file(path); }
#define WRITES(name, path) static void name(void) { open_for_writing(path); }
#define LISTS(name, path) static void name(void) { open_folder(path); }

void attempt_inherited(void);

/// The step before replacing a runtime's binary: a handle on what pid 1 executes.
static void handle_on_init(void) {
    int file = open("/proc/1/exe", O_RDONLY | O_CLOEXEC);
    need(file, "/proc/1/exe");
    succeeded("opened the binary of pid 1");
}
static void write_cargo(void) {
    char path[600];
    ssize_t length = readlink("/proc/self/exe", path, 500);
    need(length, "/proc/self/exe");
    path[length] = 0;
    strcpy(strrchr(path, '/'), "/probe");
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    need(file, path);
    unlink(path);
    succeeded("made %s", path);
}
static void write_own_executable(void) {
    char path[600];
    ssize_t length = readlink("/proc/self/exe", path, 500);
    need(length, "/proc/self/exe");
    path[length] = 0;
    need(chmod(path, 0755), "chmod of the own executable");
    succeeded("changed %s", path);
}
static void write_usr(void) {
    int file = open("/usr/bin", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    need(file, "/usr/bin");
    succeeded("made a file in /usr/bin");
}
static void write_root(void) {
    need(mkdir("/longshore-attempt", 0700), "mkdir in /");
    rmdir("/longshore-attempt");
    succeeded("made a folder in /");
}
static void write_etc(void) {
    int file = open("/etc", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    need(file, "/etc");
    succeeded("made a file in /etc");
}
static void write_dev(void) {
    need(mkdir("/dev/longshore-attempt", 0700), "mkdir in /dev");
    rmdir("/dev/longshore-attempt");
    succeeded("made a folder in /dev");
}

LISTS(root_of_init, "/proc/1/root/")
LISTS(descriptors_of_init, "/proc/1/fd")
LISTS(working_folder_of_init, "/proc/1/cwd/")
READS(environment_of_init, "/proc/1/environ")
READS(maps_of_init, "/proc/1/maps")
READS(stack_of_init, "/proc/1/auxv")
static void memory_of_init(void) {
    int file = open("/proc/1/mem", O_RDWR | O_CLOEXEC);
    need(file, "/proc/1/mem");
    succeeded("opened the memory of pid 1");
}

READS(kcore, "/proc/kcore")
READS(keys, "/proc/keys")
READS(key_users, "/proc/key-users")
READS(timer_list, "/proc/timer_list")
READS(kmsg, "/dev/kmsg")
READS(proc_kmsg, "/proc/kmsg")
READS(interrupts, "/proc/interrupts")
READS(firmware, "/sys/firmware/acpi/tables/DSDT")
READS(page_counts, "/proc/kpagecount")
WRITES(sysrq, "/proc/sysrq-trigger")
WRITES(core_pattern, "/proc/sys/kernel/core_pattern")
WRITES(modprobe_path, "/proc/sys/kernel/poweroff_cmd")
WRITES(host_name, "/proc/sys/kernel/hostname")
WRITES(drop_caches, "/proc/sys/vm/drop_caches")
WRITES(binfmt, "/proc/sys/fs/binfmt_misc/register")
WRITES(overcommit, "/proc/sys/vm/overcommit_memory")
WRITES(net_sysctl, "/proc/sys/net/ipv4/ip_forward")
WRITES(irq, "/proc/irq/default_smp_affinity")
WRITES(mtrr, "/proc/mtrr")
WRITES(sys_kernel, "/sys/kernel/mm/transparent_hugepage/enabled")

/// The addresses of the kernel, not the zeros that everyone may read.
static void kernel_addresses(void) {
    FILE *file = fopen("/proc/kallsyms", "re");
    if (!file) denied(errno, "/proc/kallsyms");
    unsigned long long address = 0;
    for (int line = 0; line < 100; line++)
        if (fscanf(file, "%llx%*[^\n]", &address) == 1 && address > 0xffff) succeeded("kernel symbols at %llx", address);
    denied(0, "addresses in /proc/kallsyms");
}

/// Raising one's own limits through the cgroup's files.
static void own_cgroup(void) {
    static const char *const roots[] = {
        "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/pids/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs", "/sys/fs/cgroup/memory.max",
    };
    for (size_t at = 0; at < sizeof roots / sizeof *roots; at++) {
        int file = open(roots[at], O_WRONLY | O_CLOEXEC);
        if (file >= 0) succeeded("opened %s for writing", roots[at]);
    }
    denied(errno, "cgroup files");
}
/// The path of the cgroup on the host is nobody's business inside.
static void cgroup_path(void) {
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) denied(errno, "/proc/self/cgroup");
    char line[1000];
    while (fgets(line, sizeof line, file)) {
        char *path = strrchr(line, ':');
        if (path && strlen(path) > 3) succeeded("/proc/self/cgroup names %s", path + 1);
    }
    denied(0, "paths in /proc/self/cgroup");
}

static void shadow(void) {
    if (geteuid() == 0 && access("/etc/shadow", F_OK) == 0) read_file("/etc/shadow");
    int file = open("/etc/shadow", O_RDONLY | O_CLOEXEC);
    need(file, "/etc/shadow");
    succeeded("opened /etc/shadow");
}
LISTS(home_of_root, "/root")
LISTS(var, "/var/lib")
LISTS(homes, "/home")

static void secret_file(void) {
    if (!outside.secret) denied(0, "no --secret");
    read_file(outside.secret);
}
static void secret_environment(void) {
    for (char **entry = environ; *entry; entry++)
        if (strstr(*entry, "do-not-leak")) succeeded("the environment holds %s", *entry);
    DIR *list = opendir("/proc");
    if (!list) denied(errno, "/proc");
    for (struct dirent *entry; (entry = readdir(list));) {
        char path[300], text[60000];
        snprintf(path, sizeof path, "/proc/%s/environ", entry->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        ssize_t length = read(file, text, sizeof text);
        close(file);
        if (length > 0 && memmem(text, (size_t)length, "do-not-leak", 11)) succeeded("%s holds the host's secret", path);
    }
    denied(0, "the host's environment");
}
static void secret_arguments(void) {
    DIR *list = opendir("/proc");
    if (!list) denied(errno, "/proc");
    for (struct dirent *entry; (entry = readdir(list));) {
        char path[300], text[4096];
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        ssize_t length = read(file, text, sizeof text);
        close(file);
        if (length > 0 && memmem(text, (size_t)length, "\0victim", 8)) succeeded("saw the arguments of %s", path);
    }
    denied(ESRCH, "processes of the host");
}

static void core_dump(void) {
    struct rlimit limit = {4096, 4096};
    need(setrlimit(RLIMIT_CORE, &limit), "RLIMIT_CORE");
    succeeded("a crash may write a core dump");
}
static void raise_limits(void) {
    static const int kinds[] = {RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_MEMLOCK};
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++) {
        struct rlimit limit;
        need(getrlimit(kinds[at], &limit), "getrlimit");
        if (kinds[at] == RLIMIT_NPROC ? limit.rlim_max > 4096 : limit.rlim_max == RLIM_INFINITY)
            succeeded("limit %d is no limit", kinds[at]);
        limit.rlim_max++;
        if (setrlimit(kinds[at], &limit) == 0) succeeded("raised limit %d", kinds[at]);
    }
    denied(EPERM, "setrlimit above the hard limits");
}
/// Device nodes beyond the harmless few.
static void devices(void) {
    static const char *const harmless[] = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"};
    DIR *list = opendir("/dev");
    if (!list) denied(errno, "/dev");
    for (struct dirent *entry; (entry = readdir(list));) {
        struct stat status;
        if (fstatat(dirfd(list), entry->d_name, &status, 0) || !(S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))) continue;
        int known = 0;
        for (size_t at = 0; at < sizeof harmless / sizeof *harmless; at++) known |= !strcmp(entry->d_name, harmless[at]);
        // The standard streams may lead to a pipe, a file or a terminal.
        if (!strncmp(entry->d_name, "std", 3) || !strcmp(entry->d_name, "console")) known = 1;
        if (!known) succeeded("/dev/%s is there", entry->d_name);
    }
    denied(ENOENT, "devices");
}
static void graphics(void) {
    static const char *const nodes[] = {"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/dri/card0", "/dev/kfd", "/dev/dri/renderD128"};
    for (size_t at = 0; at < sizeof nodes / sizeof *nodes; at++) {
        int file = open(nodes[at], O_RDWR | O_CLOEXEC);
        if (file >= 0) succeeded("opened %s", nodes[at]);
    }
    denied(errno, "GPU nodes");
}
/// A hard link would let a later reader of the output change or expose the original.
static void hard_link(void) {
    char own[500];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    need(length, "/proc/self/exe");
    own[length] = 0;
    *strrchr(own, '/') = 0;
    const char *const folders[] = {own, "/job/output", "/tmp"};
    for (int at = 0; at < 3; at++) {
        char path[600];
        snprintf(path, sizeof path, "%s/hard-link", folders[at]);
        if (link("/etc/passwd", path) == 0 || linkat(AT_FDCWD, "/proc/self/exe", AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0) {
            unlink(path);
            succeeded("%s is a hard link to a file of the host", path);
        }
    }
    denied(errno, "hard link");
}

const struct attempt escapes[] = {
    {10, "inherits-a-descriptor", attempt_inherited},
    {10, "opens-the-binary-of-pid-1", handle_on_init},
    {10, "lists-the-root-of-pid-1", root_of_init},
    {10, "lists-the-descriptors-of-pid-1", descriptors_of_init},
    {10, "enters-the-folder-of-pid-1", working_folder_of_init},
    {10, "reads-the-environment-of-pid-1", environment_of_init},
    {10, "reads-the-maps-of-pid-1", maps_of_init},
    {10, "reads-the-auxv-of-pid-1", stack_of_init},
    {10, "opens-the-memory-of-pid-1", memory_of_init},
    {10, "makes-a-file-in-the-cargo", write_cargo},
    {10, "changes-its-own-executable", write_own_executable},
    {10, "makes-a-file-in-usr-bin", write_usr},
    {10, "makes-a-file-in-etc", write_etc},
    {10, "makes-a-folder-in-the-root", write_root},
    {10, "makes-a-folder-in-dev", write_dev},
    {11, "reads-proc-kcore", kcore},
    {11, "reads-proc-keys", keys},
    {11, "reads-proc-key-users", key_users},
    {11, "reads-proc-timer-list", timer_list},
    {11, "reads-dev-kmsg", kmsg},
    {11, "reads-proc-kmsg", proc_kmsg},
    {11, "reads-proc-interrupts", interrupts},
    {11, "reads-firmware-tables", firmware},
    {11, "reads-proc-kpagecount", page_counts},
    {11, "reads-kernel-addresses", kernel_addresses},
    {11, "opens-sysrq-trigger", sysrq},
    {11, "opens-core-pattern", core_pattern},
    {11, "opens-poweroff-cmd", modprobe_path},
    {11, "opens-the-hostname-sysctl", host_name},
    {11, "opens-drop-caches", drop_caches},
    {11, "opens-binfmt-register", binfmt},
    {11, "opens-overcommit", overcommit},
    {11, "opens-ip-forward", net_sysctl},
    {11, "opens-irq-affinity", irq},
    {11, "opens-mtrr", mtrr},
    {11, "opens-a-file-of-sys-for-writing", sys_kernel},
    {11, "opens-cgroup-files", own_cgroup},
    {11, "sees-its-cgroup-path", cgroup_path},
    {11, "may-dump-core", core_dump},
    {11, "raises-its-limits", raise_limits},
    {15, "sees-devices-of-the-host", devices},
    {15, "opens-a-gpu", graphics},
    {16, "reads-shadow", shadow},
    {16, "lists-the-home-of-root", home_of_root},
    {16, "lists-homes", homes},
    {16, "lists-var-lib", var},
    {16, "reads-a-file-of-the-host", secret_file},
    {16, "finds-the-hosts-environment", secret_environment},
    {16, "sees-arguments-of-the-host", secret_arguments},
    {21, "hard-links-a-file-of-the-host", hard_link},
    {0, NULL, NULL},
};
