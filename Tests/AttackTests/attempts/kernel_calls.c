// Line 14: doors of the kernel that no computation needs, and other architectures' ways to them.
#include "attempt.h"
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/quota.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/timex.h>
#include <time.h>

#define CALL(name, ...) static void name(void) { judge(syscall(__VA_ARGS__), #name); }

static void bpf_map(void) {
    union bpf_attr attribute = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    judge(syscall(SYS_bpf, BPF_MAP_CREATE, &attribute, sizeof attribute), "bpf(MAP_CREATE)");
}
static void perf(void) {
    struct perf_event_attr attribute = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attribute, .config = PERF_COUNT_SW_CPU_CLOCK};
    judge(syscall(SYS_perf_event_open, &attribute, 0, -1, -1, 0), "perf_event_open");
}
static void uring(void) {
    struct io_uring_params parameters = {0};
    judge(syscall(SYS_io_uring_setup, 4, &parameters), "io_uring_setup");
}
CALL(uring_enter, SYS_io_uring_enter, -1, 0, 0, 0, 0, 0)
CALL(uring_register, SYS_io_uring_register, -1, 0, 0, 0)
CALL(fault_handler, SYS_userfaultfd, O_CLOEXEC)
CALL(add_key, SYS_add_key, "user", "longshore-attempt", "x", 1, -1 /* thread keyring */)
CALL(request_key, SYS_request_key, "user", "longshore-no-such-key", NULL, 0)
CALL(keyctl, SYS_keyctl, 0 /* GET_KEYRING_ID */, -3, 0)
CALL(kexec, SYS_kexec_load, 0, 0, NULL, 0xffffUL)
CALL(kexec_file, SYS_kexec_file_load, -1, -1, 0UL, "", 0xffffUL)
CALL(load_module, SYS_init_module, NULL, 0UL, "")
CALL(load_module_file, SYS_finit_module, -1, "", 0)
CALL(unload_module, SYS_delete_module, "longshore_no_such_module", O_NONBLOCK)
CALL(swap_on, SYS_swapon, "/longshore-no-such-file", 0)
CALL(accounting, SYS_acct, "/longshore-no-such-file")
CALL(quota, SYS_quotactl, QCMD(Q_GETINFO, 0), "/longshore-no-such-device", 0, NULL)
CALL(restart, SYS_reboot, 0, 0, 0, NULL)
CALL(port_access, SYS_iopl, 3)
CALL(port_permission, SYS_ioperm, 0x80, 1, 1)
CALL(kernel_log, SYS_syslog, 9 /* SIZE_UNREAD */, NULL, 0)
CALL(watch_everything, SYS_fanotify_init, FAN_CLASS_CONTENT, O_RDONLY)
CALL(hang_up, SYS_vhangup)
CALL(set_host_name, SYS_sethostname, "longshore", 9)
CALL(set_domain_name, SYS_setdomainname, "longshore", 9)
CALL(mount_list, 458 /* listmount */, NULL, NULL, 0, 0)
CALL(mount_status, 457 /* statmount */, NULL, NULL, 0, 0)
CALL(release_memory, SYS_process_mrelease, -1, 0)
CALL(move_memory, SYS_migrate_pages, 1, 0, NULL, NULL)
CALL(process_advice, SYS_process_madvise, -1, NULL, 0UL, 0, 0)
CALL(memory_policy, SYS_set_mempolicy_home_node, 0, 0, 0, 1)
CALL(security_attribute, 460 /* lsm_set_self_attr */, 0, NULL, 0, 0)
CALL(local_descriptors, SYS_modify_ldt, 0, NULL, 0)

static void open_handle(void) {
    struct {
        struct file_handle handle;
        unsigned char bytes[MAX_HANDLE_SZ];
    } made = {.handle = {.handle_bytes = 8, .handle_type = 1}};
    judge(open_by_handle_at(AT_FDCWD, &made.handle, O_RDONLY), "open_by_handle_at");
}
static void set_clock(void) {
    struct timex now = {0};
    if (adjtimex(&now) < 0) denied(errno, "adjtimex");
    struct timex same = {.modes = ADJ_TICK, .tick = now.tick};
    judge(adjtimex(&same), "adjtimex with the clock's own tick");
}
static void secret_memory(void) {
    judge(syscall(447 /* memfd_secret */, O_CLOEXEC), "memfd_secret");
}

/// Its own terminal: what it would push into a terminal that it shares.
static void terminal_input(unsigned long request, const char *what) {
    int leader, follower;
    if (openpty(&leader, &follower, NULL, NULL, NULL) < 0) {
        // Without any terminal the filter still has to answer before the device does.
        if (ioctl(0, request, "x") < 0 && (errno == EPERM || errno == ENOSYS)) denied(errno, what);
        succeeded("%s went past the filter (%s)", what, strerrorname_np(errno));
    }
    judge(syscall(SYS_ioctl, follower, request, "x"), what);
}
static void push_input(void) { terminal_input(TIOCSTI, "ioctl(TIOCSTI)"); }
/// The kernel looks at the low half alone; a filter that compares 64 bits does not.
static void push_input_upper(void) { terminal_input(0x7fffffff00000000UL | TIOCSTI, "ioctl(TIOCSTI, upper half set)"); }
static void paste(void) {
    int leader, follower;
    char kind[1] = {10 /* blank screen: not our console */};
    if (openpty(&leader, &follower, NULL, NULL, NULL) < 0) {
        if (ioctl(0, TIOCLINUX, kind) < 0 && (errno == EPERM || errno == ENOSYS)) denied(errno, "ioctl(TIOCLINUX)");
        succeeded("TIOCLINUX went past the filter (%s)", strerrorname_np(errno));
    }
    judge(syscall(SYS_ioctl, follower, TIOCLINUX, kind), "ioctl(TIOCLINUX)");
}
/// Line disciplines are a list of old drivers, loaded on demand.
static void line_discipline(void) {
    int discipline = 21; // GSM multiplexer
    if (ioctl(0, TIOCSETD, &discipline) < 0 && (errno == EPERM || errno == ENOSYS)) denied(errno, "ioctl(TIOCSETD)");
    succeeded("TIOCSETD went past the filter");
}

#ifdef __x86_64__
/// The 32-bit entry of the kernel numbers its calls otherwise: 21 there is mount, 20 getpid.
static void old_entry(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "r8", "r9", "r10", "r11", "memory");
    if (result < 0) denied((int)-result, "int 0x80");
    succeeded("int 0x80 answered %ld", result);
}
static void x32_call(void) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(0x40000000L | SYS_getpid) : "rcx", "r11", "memory");
    if (result < 0) denied((int)-result, "x32 getpid");
    succeeded("x32 getpid answered %ld", result);
}
#else
static void old_entry(void) { denied(0, "int 0x80 on this processor"); }
static void x32_call(void) { denied(0, "x32 on this processor"); }
#endif

/// A filter of one's own that allows everything must not loosen the one above it.
static void nested_filter(void) {
    struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {1, all};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    judge(syscall(SYS_acct, "/longshore-no-such-file"), "acct after a filter that allows all");
}

const struct attempt kernel_calls[] = {
    {14, "makes-a-bpf-map", bpf_map},
    {14, "opens-a-performance-counter", perf},
    {14, "sets-up-io-uring", uring},
    {14, "enters-io-uring", uring_enter},
    {14, "registers-with-io-uring", uring_register},
    {14, "handles-page-faults", fault_handler},
    {14, "adds-a-key", add_key},
    {14, "requests-a-key", request_key},
    {14, "reads-a-keyring", keyctl},
    {14, "loads-a-kernel", kexec},
    {14, "loads-a-kernel-file", kexec_file},
    {14, "loads-a-module", load_module},
    {14, "loads-a-module-file", load_module_file},
    {14, "unloads-a-module", unload_module},
    {14, "adds-swap", swap_on},
    {14, "switches-accounting", accounting},
    {14, "asks-for-quotas", quota},
    {14, "reboots", restart},
    {14, "opens-io-ports", port_access},
    {14, "opens-one-io-port", port_permission},
    {14, "reads-the-kernel-log", kernel_log},
    {14, "watches-all-files", watch_everything},
    {14, "hangs-up-the-terminal", hang_up},
    {14, "renames-the-host", set_host_name},
    {14, "renames-the-domain", set_domain_name},
    {14, "lists-mounts", mount_list},
    {14, "asks-for-a-mount", mount_status},
    {14, "releases-anothers-memory", release_memory},
    {14, "moves-anothers-memory", move_memory},
    {14, "advises-anothers-memory", process_advice},
    {14, "sets-a-home-node", memory_policy},
    {14, "sets-a-security-attribute", security_attribute},
    {14, "reads-local-descriptors", local_descriptors},
    {14, "opens-a-file-by-handle", open_handle},
    {14, "sets-the-clock", set_clock},
    {14, "makes-secret-memory", secret_memory},
    {14, "pushes-terminal-input", push_input},
    {14, "pushes-terminal-input-by-the-upper-half", push_input_upper},
    {14, "pastes-into-a-console", paste},
    {14, "changes-a-line-discipline", line_discipline},
    {14, "calls-by-int-80", old_entry},
    {14, "calls-by-x32", x32_call},
    {14, "nests-a-filter", nested_filter},
    {0, NULL, NULL},
};
